"""Faults of the ledger's file while a job runs, made by SQLite and the file system themselves."""

from __future__ import annotations

import os
import re
import resource
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import clips
from tests.limits.test_limiter import Clock, exactly, never
from valence_integrations import Engine
from valence_integrations._limits.ledger import Ledger
from valence_integrations._limits.limiter import Limiter
from valence_integrations._limits.place import Place
from valence_integrations._limits.policy import Policy, Window
from valence_integrations._limits.shared import _RETRY_SECONDS, SharedLedger
from valence_integrations._store.renewals import HELD_SECONDS
from valence_integrations.sandbox import Sandbox

WINDOW = (Window(3, 100.0),)
Fault = Callable[[SharedLedger], Callable[[], object]]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._limits.ledger._BUSY_SECONDS", 0.05)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "state", for_all_users=True)


@contextmanager
def recorded(pattern: str) -> Iterator[list[str]]:
    """Record warnings, all of which must match."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
        messages += [str(warning.message) for warning in caught]
    assert messages
    assert [message for message in messages if not re.search(pattern, message)] == []


def open_shared(place: Place, clock: Clock) -> SharedLedger:
    return SharedLedger("account", [place], clock)


def path_of(ledger: SharedLedger) -> Path:
    assert ledger._path is not None
    return ledger._path


# Each causes a fault, and returns what ends it.


def damaged(ledger: SharedLedger) -> Callable[[], object]:
    run = ledger._ledger._connection.execute
    run("PRAGMA wal_checkpoint(TRUNCATE)")
    with path_of(ledger).open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * (path_of(ledger).stat().st_size - 4096))
    run("PRAGMA shrink_memory")  # else SQLite would not read it again
    return lambda: None


def locked(ledger: SharedLedger) -> Callable[[], object]:
    other = sqlite3.connect(path_of(ledger), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    return other.close


def deleted(ledger: SharedLedger) -> Callable[[], object]:
    path_of(ledger).unlink()
    return lambda: None


def directory_deleted(ledger: SharedLedger) -> Callable[[], object]:
    for path in path_of(ledger).parent.iterdir():
        path.unlink()
    path_of(ledger).parent.rmdir()
    return lambda: None


def replaced_by_a_directory(ledger: SharedLedger) -> Callable[[], object]:
    path = path_of(ledger)
    path.unlink()
    path.mkdir()
    return path.rmdir


def replaced_by_another_file(ledger: SharedLedger) -> Callable[[], object]:
    path = path_of(ledger)
    path.with_name("other").write_text("something else " * 1_000)
    path.with_name("other").replace(path)
    return lambda: None


def disk_full(ledger: SharedLedger) -> Callable[[], object]:
    """Let no file of this process grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


FAULTS = [
    damaged,
    locked,
    deleted,
    directory_deleted,
    replaced_by_a_directory,
    replaced_by_another_file,
    disk_full,
]


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.__name__)
def fault(request: pytest.FixtureRequest) -> Fault:
    made: Fault = request.param
    return made


def test_job_goes_on_within_the_policy_and_the_file_is_used_again(place: Place, clock: Clock, fault: Fault) -> None:
    ledger = open_shared(place, clock)
    permit, _ = ledger.take(WINDOW, 2, exactly)
    assert permit
    end = fault(ledger)
    with recorded(r"limits in .*state .*exceed") as caught:
        second, _ = ledger.take(WINDOW, 2, exactly)
        assert second
        assert ledger.take(WINDOW, 2, exactly)[0] == 0, "the first permit is still in use"
        ledger.give_back(permit)
        third, _ = ledger.take(WINDOW, 2, exactly)
        assert third
        assert ledger.started(50.0) == 3
        assert ledger.hold(1.0, clock.now)
        clock.now += 1.0
        ledger.give_back(second)
        assert ledger.take(WINDOW, 2, exactly) == (0, pytest.approx(98.5)), "three starts in 100 s"
        end()
        clock.now += _RETRY_SECONDS
        ledger.take(WINDOW, 2, exactly)
    assert len(caught) == 1
    other = Ledger(path_of(ledger), clock, processes=place.processes)
    assert other.started(50.0) == 3
    assert other.take(WINDOW, 2, exactly) == (0, pytest.approx(68.5))
    assert other.take((), 1, exactly)[0] == 0, "the third permit is in use"
    ledger.give_back(third)
    assert other.take((), 1, exactly)[0]


def test_each_method_survives_each_fault(place: Place, clock: Clock, fault: Fault) -> None:
    methods: list[Callable[[SharedLedger, int], object]] = [
        lambda ledger, permit: ledger.confirm(permit),
        lambda ledger, permit: ledger.give_back(permit),
        lambda ledger, permit: ledger.give_back(permit, clock.now),
        lambda ledger, permit: ledger.hold(1.0, clock.now),
        lambda ledger, permit: ledger.started(50.0),
        lambda ledger, permit: ledger.renew([permit]),
    ]
    for method in methods:
        ledger = open_shared(place, clock)
        permit, _ = ledger.take((), 10**6, exactly)
        end = fault(ledger)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method(ledger, permit)
            ledger.take((), 10**6, exactly)
        end()
        for path in place.directory.glob("limits-*"):
            path.unlink()


def test_a_thousand_starts_are_seen_by_processes_that_share_the_new_file(place: Place, clock: Clock) -> None:
    ledgers = [open_shared(place, clock) for _ in range(2)]
    window = (Window(2_000, 1_000.0),)
    for ledger in ledgers:
        for _ in range(600):
            clock.now += 0.01
            ledger.give_back(ledger.take(window, 5, exactly)[0])
    deleted(ledgers[0])
    with recorded("made anew"):
        for ledger in ledgers:
            clock.now += 0.01
            ledger.give_back(ledger.take(window, 5, exactly)[0])
    assert [ledger.started(1_000.0) for ledger in ledgers] == [1_202, 1_202]


def test_unused_permit_does_not_count_after_a_fault(place: Place, clock: Clock) -> None:
    ledger = open_shared(place, clock)
    permit, start = ledger.take(WINDOW, 5, exactly)
    ledger.give_back(permit, start)
    ledger.take(WINDOW, 5, exactly)
    deleted(ledger)
    with pytest.warns(UserWarning, match="made anew"):
        ledger.take(WINDOW, 5, exactly)
    assert ledger.started(50.0) == 2


def test_hold_outlives_the_file(place: Place, clock: Clock) -> None:
    ledger = open_shared(place, clock)
    ledger.hold(20.0, clock.now)
    deleted(ledger)
    with pytest.warns(UserWarning, match="made anew"):
        assert ledger.take((), 5, exactly) == (0, pytest.approx(20.0))
    assert Ledger(path_of(ledger), clock, processes=place.processes).take((), 5, exactly) == (0, pytest.approx(20.0))


def test_deleted_salt_is_noticed(place: Place, clock: Clock) -> None:
    ledger = open_shared(place, clock)
    ledger.take(WINDOW, 5, exactly)
    (place.directory / "salt").unlink()
    newcomer = open_shared(place, clock)
    assert newcomer.started(50.0) == 0
    clock.now += _RETRY_SECONDS
    with pytest.warns(UserWarning, match="salt"):
        ledger.take(WINDOW, 5, exactly)
    assert newcomer.started(50.0) == 2


def test_lock_that_lasts_delays_a_permit_once_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._limits.ledger._BUSY_SECONDS", 0.3)
    ledger = SharedLedger("account", [place])
    limiter = Limiter(ledger, Policy())
    end = locked(ledger)
    begun = time.monotonic()
    with recorded("database is locked"):
        for _ in range(20):
            with limiter.permit(never):
                pass
    assert 0.3 <= time.monotonic() - begun < 3.0
    end()


def test_long_call_keeps_its_permit(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._limits.ledger.HELD_SECONDS", 0.4)
    monkeypatch.setattr("valence_integrations._limits.shared.RENEW_SECONDS", 0.05)
    ledger, other = (SharedLedger("account", [place]) for _ in range(2))
    with Limiter(ledger, Policy(), 1).permit(never):
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            assert other.take((), 1, exactly)[0] == 0
            time.sleep(0.02)
    assert other.take((), 1, exactly)[0]
    time.sleep(0.5)
    assert ledger.take((), 2, exactly)[0]
    assert HELD_SECONDS == 60.0


@pytest.fixture
def running(sandbox: Sandbox, make_engine: Callable[..., Engine]) -> tuple[Engine, Path]:
    engine = make_engine(cache=False)
    engine.predict(clips(1)[0])
    (path,) = Path(os.environ["VALENCE_STATE_DIR"]).glob("limits-*.sqlite3")
    return engine, path


@pytest.mark.parametrize("kind", ["deleted", "directory", "damaged", "locked"])
def test_engine_answers_all_items_and_warns_once(running: tuple[Engine, Path], sandbox: Sandbox, kind: str) -> None:
    engine, path = running
    other = sqlite3.connect(path, isolation_level=None) if kind == "locked" else None

    def break_() -> None:
        if kind == "damaged":
            path.write_bytes(b"x" * path.stat().st_size)
            Engine(engine.settings).predict(clips(1)[0])  # SQLite does not read it again here, but in a new connection
        elif other is not None:
            other.execute("BEGIN EXCLUSIVE")
        else:
            path.unlink()
            if kind == "directory":
                path.mkdir()

    with recorded("VALENCE_STATE_DIR|made anew") as caught:
        break_()
        predictions = engine.predict_many(clips(9)[1:])
    assert [prediction.error for prediction in predictions] == [None] * 8
    assert sandbox.answered == 9 + (kind == "damaged")
    assert len(caught) == 1 + (kind == "damaged"), "one of each engine"
    if other is not None:
        other.close()


def test_many_threads_during_faults(place: Place) -> None:
    ledger = SharedLedger("account", [place])
    limiter = Limiter(ledger, Policy((Window(10_000, 60.0),)), 4)
    failed: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            while not done.is_set():
                with limiter.permit(never):
                    pass
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for _ in range(10):
            time.sleep(0.03)
            for path in place.directory.glob("limits-*.sqlite3"):
                path.unlink(missing_ok=True)
        done.set()
        for thread in threads:
            thread.join(10)
    assert failed == []
    assert limiter._in_use == 0
    with ledger._lock:
        assert ledger._permits == {}
