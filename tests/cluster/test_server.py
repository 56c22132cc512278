"""Server and client of a cluster, connected in this process through an event loop in a thread."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clips
from valence_integrations import Engine, Settings
from valence_integrations._cluster import server
from valence_integrations._cluster.client import ClusterClient
from valence_integrations._cluster.server import ClusterServer, account_of
from valence_integrations._limits.policy import Window
from valence_integrations._limits.shared import SharedLedger
from valence_integrations.sandbox import Policy, Sandbox


class Wire:
    """Call a server in its event loop and record the calls."""

    def __init__(self, server: ClusterServer) -> None:
        self.server = server
        self.asked: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def tell(self, method: str, *args: Any) -> Any:
        self.asked.append(method)
        if self._loop.is_closed():
            raise ConnectionError("the wire is cut")
        return asyncio.run_coroutine_threadsafe(getattr(self.server, method)(*args), self._loop)

    def ask(self, method: str, *args: Any) -> Any:
        return self.tell(method, *args).result()

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def open_wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Wire]]:
    monkeypatch.setattr("valence_integrations._cluster.client._RENEW_SECONDS", 0.2)
    opened: list[Wire] = []

    def open_(settings: Settings) -> Wire:
        opened.append(Wire(ClusterServer(settings, account_of(settings))))
        return opened[-1]

    yield open_
    for wire in opened:
        wire.close()
    # Renewal threads log that the connection is closed; wait for them, so that they do not log during another test.
    for thread in threading.enumerate():
        if thread.name == "valence-leases":
            thread.join(10)


def settings_for(sandbox: Sandbox, **others: Any) -> Settings:
    return Settings(base_url=sandbox.url, api_key=sandbox.api_key, **others)


def most_within(times: list[float], seconds: float) -> int:
    return max(sum(start <= time < start + seconds for time in times) for start in times)


def test_engines_on_several_machines_share_the_limits(open_wire: Callable[..., Wire], tmp_path: Path) -> None:
    with Sandbox(latency=0.05, policy=Policy(requests_per_second=20, max_concurrent_requests=4)) as sandbox:
        wire = open_wire(settings_for(sandbox))
        engines = [
            Engine(
                settings_for(sandbox, cache=tmp_path / str(node)),
                cluster=ClusterClient(wire.ask, wire.tell, shares_answers=False),
            )
            for node in range(3)
        ]
        items = clips(60)
        jobs = [
            threading.Thread(target=engine.predict_many, args=(items[node::3],)) for node, engine in enumerate(engines)
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        calls = [record for record in sandbox.requests if record.sha256]
        assert [record.status for record in calls] == [200] * 60
        assert sandbox.max_in_flight == 4
        assert most_within([record.time for record in calls], 1.0) == 20
        for engine in engines:
            engine.close()


def test_permits_are_prefetched_and_unused_ones_given_back(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    wire = open_wire(settings_for(sandbox))
    waiting = 3
    ledger = ClusterClient(wire.ask, wire.tell, shares_answers=False).ledger(lambda: waiting)
    window = (Window(8, 60.0),)
    permit, start = ledger.take(window, 10, float)
    assert abs(start - ledger.clock()) < 0.05
    assert wire.ask("started", 60.0) == 3
    second = ledger.take(window, 10, float)
    assert wire.asked.count("take") == 1
    waiting = 0
    ledger.give_back(permit)
    ledger.give_back(*second)
    assert wire.ask("started", 60.0) == 1


def test_stale_prefetched_permit_is_not_used(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    wire = open_wire(settings_for(sandbox))
    ledger = ClusterClient(wire.ask, wire.tell, shares_answers=False).ledger(lambda: 2)
    window = (Window(8, 60.0),)
    ledger.take(window, 10, float)
    time.sleep(0.06)
    _, start = ledger.take(window, 10, float)
    assert abs(start - ledger.clock()) < 0.05
    assert wire.ask("started", 60.0) == 3


def test_longest_requested_window_applies_to_all(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    wire = open_wire(settings_for(sandbox))
    wire.ask("take", (Window(1, 0.9),), 10, 1)
    granted, now, _ = wire.ask("take", (Window(1, 0.5),), 10, 1)
    assert granted[0][1] - now > 0.3


def test_client_and_server_clocks_may_differ(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    wire = open_wire(settings_for(sandbox))
    wire.server._ledger = SharedLedger(clock=lambda: time.monotonic() + 5_000.0, remote=True)
    ledger = ClusterClient(wire.ask, wire.tell, shares_answers=False).ledger(lambda: 1)
    ledger.take((Window(1, 0.3),), 10, float)
    _, start = ledger.take((Window(1, 0.3),), 10, float)
    assert 0.2 < start - ledger.clock() <= 0.31


def test_prefetched_permits_are_not_used_after_a_429(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    wire = open_wire(settings_for(sandbox))
    client = ClusterClient(wire.ask, wire.tell, shares_answers=False)
    ledger, other = client.ledger(lambda: 4), client.ledger(lambda: 1)
    permit, start = ledger.take((Window(8, 60.0),), 10, float)
    second, _ = ledger.take((Window(8, 60.0),), 10, float)
    assert ledger.confirm(second)
    assert ledger.hold(0.3, start)
    assert not ledger.confirm(second)
    assert not other.hold(0.1, start), "under way at the same time"
    ledger.give_back(permit)
    ledger.give_back(second, start)
    end = time.monotonic() + 5
    while not (taken := ledger.take((Window(8, 60.0),), 10, float))[0] and time.monotonic() < end:
        time.sleep(0.02)
    assert taken[1] >= ledger.held[1] > start + 0.29
    assert ledger.held[0] > start
    assert ledger.confirm(taken[0])


def test_damaged_file_of_the_server_is_made_anew(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    wire = open_wire(settings_for(sandbox))
    window = (Window(2, 60.0),)
    ((permit, _),) = wire.ask("take", window, 1, 1)[0]
    assert wire.server._ledger._path is not None
    wire.server._ledger._path.unlink()
    with pytest.warns(UserWarning, match="made anew"):
        assert wire.ask("take", window, 1, 1)[0] == []
    wire.ask("give_back", permit)
    assert len(wire.ask("take", window, 1, 1)[0]) == 1


def test_new_server_continues_from_the_files(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    settings = settings_for(sandbox)
    ledger = ClusterClient((old := open_wire(settings)).ask, old.tell, shares_answers=False).ledger(lambda: 4)
    ledger.take((Window(4, 60.0),), 4, float)
    new = open_wire(settings)
    granted, _, _ = new.ask("take", (Window(4, 60.0),), 4, 1)
    assert granted == []
    assert new.ask("started", 60.0) == 4


def test_shared_answers_need_one_call(open_wire: Callable[..., Wire]) -> None:
    with Sandbox(latency=0.1) as sandbox:
        settings = settings_for(sandbox)
        wire = open_wire(settings)
        engines = [Engine(settings, cluster=ClusterClient(wire.ask, wire.tell, shares_answers=True)) for _ in range(3)]
        found: list[Any] = []
        jobs = [
            threading.Thread(target=lambda engine=engine: found.append(engine.predict_many(clips(4))))
            for engine in engines
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        assert sandbox.calls == 4
        assert len({tuple(prediction.scores.items()) for job in found for prediction in job}) == 4
        assert sum(engine.stats.cache_hits for engine in engines) == 8
        for engine in engines:
            engine.close()


def test_claim_is_renewed_during_the_call(
    open_wire: Callable[..., Wire], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valence_integrations._cluster.client._RENEW_SECONDS", 0.05)
    settings = settings_for(sandbox)
    wire = open_wire(settings)
    cache = ClusterClient(wire.ask, wire.tell, shares_answers=True).cache(settings)
    assert cache is not None
    assert cache.claim("key")
    while wire.asked.count("renew") < 2:
        time.sleep(0.01)
    cache.put("key", {"emotion": "sad"})
    assert cache.get("key") == {"emotion": "sad"}
    assert not cache.claim("key")
    assert cache.recipe("file") is None
    cache.put_recipe("file", {"source": "chunk"})
    assert cache.recipe("file") == {"source": "chunk"}


def test_closed_connection_ends_renewal(
    open_wire: Callable[..., Wire], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valence_integrations._cluster.client._RENEW_SECONDS", 0.01)
    wire = open_wire(settings_for(sandbox))
    remote = ClusterClient(wire.ask, wire.tell, shares_answers=False)
    remote.ledger(lambda: 1).take((), 1, float)
    (renewing,) = [thread for thread in threading.enumerate() if thread is remote._leases._thread]
    wire.close()
    renewing.join(5)
    assert remote._leases._thread is None


def test_files_are_never_on_a_network_file_system(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(server, "network_filesystem", lambda _: "nfs4")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    settings = settings_for(sandbox, cache=tmp_path / "home")
    with pytest.warns(UserWarning, match=r"home lies on a network file system \(nfs4\).*VALENCE_CACHE_DIR"):
        cache = ClusterClient(lambda *_: None, lambda *_: None, shares_answers=False).cache(settings)
    assert cache is not None
    cache.put("key", {"emotion": "sad"})
    assert not (tmp_path / "home").exists()
    assert [path.name for path in (tmp_path / "local").glob("*/*.sqlite3")] == ["answers.sqlite3"]
    cache.close()


def test_engine_with_a_cluster_cannot_be_pickled(open_wire: Callable[..., Wire], sandbox: Sandbox) -> None:
    wire = open_wire(settings_for(sandbox))
    engine = Engine(settings_for(sandbox), cluster=ClusterClient(wire.ask, wire.tell, shares_answers=False))
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(engine)


def test_account_name_reveals_neither_key_nor_host(sandbox: Sandbox) -> None:
    name = account_of(settings_for(sandbox))
    assert name.startswith("limits-")
    assert sandbox.api_key not in name
    assert name != account_of(Settings(base_url=sandbox.url, api_key="another"))
