"""Where answers are cached, and that tasks that Ray reruns are not billed again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import ray

from tests.conftest import clips
from tests.with_ray.conftest import Nodes
from valence_integrations.ray import annotate_ray_dataset
from valence_integrations.sandbox import Sandbox

CLIPS = 40


def answers_in(directory: Path) -> int:
    path = directory / "answers.sqlite3"
    if not path.exists():
        return 0
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM answers WHERE value NOTNULL").fetchone()[0])
    finally:
        connection.close()


def answers(nodes: Nodes) -> dict[str, int]:
    return {folder.name: answers_in(folder) for folder in nodes.folder.iterdir()}


def dataset() -> ray.data.Dataset:
    items = clips(CLIPS)
    return ray.data.from_arrow([pa.table({"number": range(n, CLIPS, 4), "audio": items[n::4]}) for n in range(4)])


def test_each_node_has_its_own_cache(nodes: Nodes, make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox(latency=0.1)
    before = answers(nodes)
    for _ in range(2):
        ds = annotate_ray_dataset(dataset(), base_url=sandbox.url, batch_size=5, workers=2, num_cpus=1)
        assert len(ds.take_all()) == CLIPS
    kept = {name: count - before.get(name, 0) for name, count in answers(nodes).items()}
    assert kept.pop("head") == 0
    assert sum(kept.values()) == sandbox.calls >= CLIPS
    assert max(kept.values()) <= CLIPS


def test_shared_cache_keeps_answers_of_a_lost_node(nodes: Nodes, make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox(latency=0.1)
    before = answers(nodes)
    done = annotate_ray_dataset(
        dataset(), base_url=sandbox.url, batch_size=5, workers=2, num_cpus=1, cache="shared"
    ).materialize()
    assert sandbox.calls == CLIPS
    nodes.kill_node()
    nodes.scale_to(2)
    rows = done.take_all()
    assert sorted(row["number"] for row in rows) == list(range(CLIPS))
    assert {row["emotion_source"] for row in rows} == {"discrete"}
    assert sandbox.calls == CLIPS
    kept = {name: count - before.get(name, 0) for name, count in answers(nodes).items()}
    assert kept.pop("head") == CLIPS
    assert set(kept.values()) == {0}
