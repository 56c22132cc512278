"""Ends of processes, forks, and the lack of threads and memory."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import endings
from tests.conftest import clips, voice
from valence_integrations import Engine, Settings, errors
from valence_integrations._audio import routing
from valence_integrations.engine import _exit, _process
from valence_integrations.sandbox import Sandbox

MakeEngine = Callable[..., Engine]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def place() -> Iterator[Any]:
    with endings.place() as made:
        yield made


@pytest.mark.parametrize("name", endings.ENDINGS)
def test_process_ends_cleanly(place: Any, name: str) -> None:
    # A few runs; ``make chaos`` runs more.
    assert endings.run(name, 2, *place) == [[], []]


def in_child(work: Callable[[], object]) -> object:
    """Return the result of `work` in a forked child, or its exception."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except BaseException as error:
            results.put((type(error).__name__, getattr(error, "code", None), str(error)))

    child = context.Process(target=run)
    child.start()
    child.join(20)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()
    return results.get()


def test_job_that_the_end_of_the_process_stops_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a thread that multiprocessing does not wait for in its workers.
    monkeypatch.setattr(_exit, "_registry", _exit._Registry())
    with Sandbox(latency=0.3) as slow:
        with Engine(Settings(base_url=slow.url, api_key=slow.api_key, concurrency=2)) as slower:
            answers = slower.iter_predict(clips(12))
            next(answers)
            _exit._registry.end()
            with pytest.raises(errors.JobError, match="the process ends, so the job was stopped") as caught:
                list(answers)
        assert caught.value.code == "process_ended"
        assert slow.answered < 12


class TestFork:
    @pytest.mark.parametrize("begun", [False, True])
    def test_iterator_of_the_parent_is_an_error_in_the_child(self, engine: Engine, *, begun: bool) -> None:
        answers = engine.iter_predict(clips(12))
        if begun:
            next(answers)
        name, code, message = in_child(lambda: next(answers))  # type: ignore[misc]
        assert (name, code) == ("JobError", "forked_job")
        assert message == (
            "this job was begun before the process was forked, and cannot go on in the child. Begin it in the child: "
            "an engine can be used in both processes, an iterator in one."
        )
        assert len(list(answers)) == 12 - begun

    def test_engine_works_in_a_child_forked_in_mid_job(self, engine: Engine, sandbox: Sandbox) -> None:
        answers = engine.iter_predict(clips(12))
        expected = [next(answers).emotion]
        assert in_child(lambda: [engine.predict(clips(1)[0]).emotion]) == expected
        assert len(list(answers)) == 11
        assert sandbox.calls == 12

    def test_locks_held_at_the_fork_do_not_matter_in_the_child(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Another thread is within all of them at the moment of the fork.
        engine.predict(clips(1)[0])
        resources = engine._resources
        cache: Any = resources.cache
        locks = [
            resources._lock,
            resources.stats._lock,
            resources.pool._changed,
            resources.poller._changed,
            cache._guard._lock,
        ]
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            for lock in locks:
                lock.acquire()
            held.set()
            release.wait(30)
            for lock in locks:
                lock.release()

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(5)
        try:
            assert in_child(lambda: engine.predict(clips(1)[0]).cached) is True
        finally:
            release.set()
            holder.join()

    @pytest.mark.parametrize(
        ("module", "name"), [(_process, "cache_directory"), (routing, "hashlib")], ids=["cache", "digest"]
    )
    def test_what_is_computed_at_the_fork_does_not_block_the_child(
        self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
    ) -> None:
        # A cached_property of Python before 3.12 has one lock for all objects.
        computing, release = threading.Event(), threading.Event()
        parent, real = os.getpid(), _process.cache_directory if module is _process else hashlib.sha256

        def slow(argument: Any) -> Any:
            if os.getpid() == parent:
                computing.set()
                release.wait(30)
            return real(argument)

        monkeypatch.setattr(module, name, slow if module is _process else SimpleNamespace(sha256=slow))
        engine = make_engine()
        thread = threading.Thread(target=lambda: engine.predict(clips(1)[0]))
        thread.start()
        assert computing.wait(5)
        try:
            assert in_child(lambda: engine.predict(clips(1)[0]).source) == "discrete"
        finally:
            release.set()
            thread.join()

    def test_worker_that_leaves_an_iterator_keeps_what_is_paid(self, make_engine: MakeEngine, tmp_path: Path) -> None:
        with Sandbox(latency=0.2) as slow:
            engine = make_engine(base_url=slow.url, concurrency=5, cache=tmp_path / "kept")
            in_child(lambda: next(engine.iter_predict(clips(12))).emotion)
            paid = slow.answered
            engine.predict_many(clips(12))
            assert paid > 1
            assert slow.answered == 12


class TestLack:
    def test_job_goes_on_with_one_thread(self, engine: Engine, threads: list[int]) -> None:
        threads.append(1)
        assert all(prediction.emotion for prediction in engine.predict_many(clips(8)))

    def test_job_without_any_thread_is_an_error(self, engine: Engine, threads: list[int]) -> None:
        with pytest.raises(errors.JobError) as caught:
            engine.predict_many(clips(3))
        assert caught.value.code == "no_threads"
        threads.extend(range(20))
        assert len(engine.predict_many(clips(3))) == 3

    @pytest.mark.parametrize(("left", "uploads"), [(3, 2), (4, 1)], ids=["to send parts", "to poll"])
    def test_no_thread_for_an_upload_is_an_error(
        self, engine: Engine, threads: list[int], sandbox: Sandbox, left: int, uploads: int
    ) -> None:
        threads.extend(range(left))  # the first three are of the pool, and renew the claim and the permit
        with pytest.raises(errors.JobError, match="no thread can be started for an upload") as caught:
            engine.predict_many([voice(16.0)])
        assert caught.value.code == "no_threads"
        threads.extend(range(20))
        assert engine.predict(voice(16.0)).source == "asynch"
        assert sandbox.uploads == uploads

    def test_lack_of_memory_is_an_error_of_the_item(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        from valence_integrations.engine import _job

        real = _job.open_clip

        def opening(item: object, *rest: Any) -> Any:
            if item == "large":
                raise MemoryError
            return real(item, *rest)

        monkeypatch.setattr(_job, "open_clip", opening)
        first, large, last = engine.predict_many([clips(2)[0], "large", clips(2)[1]], on_error="null")
        assert first.emotion
        assert last.emotion
        assert isinstance(large.error, errors.ItemError)
        assert (large.error.code, str(large.error)) == (
            "no_memory",
            "there is not enough memory for it. Free memory, or lower concurrency, and run again.",
        )
