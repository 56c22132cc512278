"""Shared by the Ray tests: a cluster of three nodes on this machine, and its processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DATA_DISABLE_PROGRESS_BARS="1", RAY_AUTH_MODE="disabled")

import ray
from ray.cluster_utils import Cluster

from valence_integrations.sandbox import Sandbox

KEY = "key-of-the-nodes"
MEBIBYTE = 2**20


class Nodes:
    """A head that runs only the limiter, and nodes with a cache directory and the key in their environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={**self._args("head"), "num_cpus": 0, "include_dashboard": False},
        )
        self.address = self._cluster.address
        self._workers: list[Any] = []
        self._number = 0

    def cache(self, name: str) -> Path:
        return self.folder / name

    def scale_to(self, count: int) -> None:
        """Add nodes until there are `count` workers."""
        while len(self._workers) < count:
            self._number += 1
            self._workers.append(self._cluster.add_node(**self._args(f"node{self._number}"), num_cpus=1))
        self._cluster.wait_for_nodes()

    def kill_node(self) -> None:
        """Remove a node without a graceful shutdown."""
        self._cluster.remove_node(self._workers.pop(), allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()

    def _args(self, name: str) -> dict[str, Any]:
        environment = {"VALENCE_API_KEY": KEY, "VALENCE_CACHE_DIR": str(self.cache(name))}
        environment["VALENCE_STATE_DIR"] = environment["VALENCE_CACHE_DIR"]
        return {"object_store_memory": 100 * MEBIBYTE, "env_vars": environment}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    nodes = Nodes(tmp_path_factory.mktemp("nodes"))
    ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    cluster.scale_to(2)
    return cluster


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", KEY)


@pytest.fixture
def make_sandbox() -> Iterator[Callable[..., Sandbox]]:
    started: list[Sandbox] = []

    def make(**options: Any) -> Sandbox:
        started.append(Sandbox(api_key=KEY, **options).start())
        return started[-1]

    yield make
    for sandbox in started:
        sandbox.stop()


def processes(title: str) -> list[int]:
    """Return the descendants of this process that have `title` in their command line."""
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,command="], check=True, capture_output=True, text=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    descendants = {os.getpid()}
    while more := {int(pid) for pid, parent, *_ in lines if int(parent) in descendants} - descendants:
        descendants |= more
    return [int(pid) for pid, _, *command in lines if int(pid) in descendants and title in "".join(command)]
