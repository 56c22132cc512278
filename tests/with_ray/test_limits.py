"""The account's limits hold for the whole cluster by the server's clock, even if processes are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import ray

from tests.conftest import clips
from tests.with_ray.conftest import Nodes, processes
from valence_integrations._cluster.server import account_of
from valence_integrations.ray import _limiter, annotate_ray_dataset
from valence_integrations.sandbox import Policy, Sandbox
from valence_integrations.settings import Settings

CLIPS, PER_SECOND, CONCURRENCY = 120, 20, 6


def annotated(sandbox: Sandbox, **settings: Any) -> list[dict[str, Any]]:
    items = clips(CLIPS)
    blocks = [pa.table({"number": range(n, CLIPS, 6), "audio": items[n::6]}) for n in range(6)]
    ds = annotate_ray_dataset(
        ray.data.from_arrow(blocks), base_url=sandbox.url, batch_size=10, workers=2, num_cpus=1, **settings
    )
    return sorted(ds.drop_columns(["audio"]).take_all(), key=lambda row: row["number"])


def most_within(times: list[float], seconds: float) -> int:
    return max(sum(start <= time < start + seconds for time in times) for start in times)


def kill_a_worker(sandbox: Sandbox) -> None:
    os.kill(processes("ray::MapWorker(MapBatches(ValenceActor))")[0], signal.SIGKILL)


def kill_the_limiter(sandbox: Sandbox) -> None:
    for pid in processes("ray::ClusterServer"):
        os.kill(pid, signal.SIGKILL)


def kill_the_limiter_without_restart(sandbox: Sandbox) -> None:
    ray.kill(_limiter.limiter(Settings(base_url=sandbox.url)), no_restart=True)


def kill_nothing(sandbox: Sandbox) -> None:
    pass


@pytest.mark.parametrize("kill", [kill_nothing, kill_a_worker, kill_the_limiter, kill_the_limiter_without_restart])
def test_limits_hold_across_nodes(
    kill: Callable[[Sandbox], None], nodes: Nodes, make_sandbox: Callable[..., Sandbox]
) -> None:
    policy = Policy(requests_per_second=PER_SECOND, max_concurrent_requests=CONCURRENCY)
    sandbox = make_sandbox(latency=0.2, policy=policy)

    def kill_in_the_middle() -> None:
        while sandbox.calls < CLIPS / 3:
            time.sleep(0.02)
        kill(sandbox)

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    rows = annotated(sandbox)
    killer.join()
    calls = [record for record in sandbox.requests if record.sha256]
    assert [row["number"] for row in rows] == list(range(CLIPS))
    assert {row["emotion_error"] for row in rows} == {None}
    assert {record.status for record in calls} == {200}
    assert len({record.sha256 for record in calls}) == CLIPS
    # Only answers in flight to a killed process are lost.
    assert len(calls) <= CLIPS + (CONCURRENCY if kill is kill_a_worker else 0)
    assert most_within([record.time for record in calls], 1.0) <= PER_SECOND
    assert sandbox.max_in_flight <= CONCURRENCY


def test_next_job_uses_the_same_limiter(nodes: Nodes, sandbox: Sandbox) -> None:
    limiter = _limiter.limiter(Settings(base_url=sandbox.url))
    assert limiter == _limiter.limiter(Settings(base_url=sandbox.url, concurrency=2))
    named = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    (name,) = [name for name in named if name.startswith(account_of(Settings(base_url=sandbox.url)))]
    assert ray.get_actor(name, _limiter.NAMESPACE) == limiter
    node = ray.get(limiter.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()))
    assert {"node:__internal_head__"} <= next(n["Resources"].keys() for n in ray.nodes() if n["NodeID"] == node)
