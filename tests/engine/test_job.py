"""Scheduling of a job's steps without threads: the test runs the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.conftest import clips, voice
from valence_integrations import Engine, errors
from valence_integrations.engine._job import Job
from valence_integrations.engine._pool import Priority
from valence_integrations.engine._process import ProcessResources
from valence_integrations.sandbox import Sandbox


class Pool:
    """Queue of work, run by priority."""

    def __init__(self) -> None:
        self.work: list[tuple[Priority, Callable[[], None]]] = []

    def submit(self, priority: Priority, work: Callable[[], None]) -> None:
        self.work.append((priority, work))

    def grow(self, size: int) -> None:
        """Ignore the size: there is one thread."""

    def close(self) -> None:
        """Do nothing: there are no threads."""

    def run(self) -> None:
        while self.work:
            _, work = self.work.pop(min(range(len(self.work)), key=lambda number: self.work[number][0]))
            work()


@pytest.fixture
def resources(engine: Engine) -> Iterator[ProcessResources]:
    made = ProcessResources(engine.settings, engine.stats)
    made.pool.close()
    made.pool = Pool()  # type: ignore[assignment]
    yield made
    made.close()


def run(resources: ProcessResources) -> None:
    resources.pool.run()  # type: ignore[attr-defined]


def test_item_starts_when_a_thread_is_free(resources: ProcessResources, sandbox: Sandbox) -> None:
    job = Job(resources)
    future = job.submit(clips(1)[0])
    assert (future.done(), sandbox.calls) == (False, 0)
    run(resources)
    assert (job.wait(future).source, sandbox.calls) == ("discrete", 1)


def test_chunks_run_before_the_next_item(resources: ProcessResources, sandbox: Sandbox) -> None:
    resources.settings = replace(resources.settings, long_audio="chunk")
    job = Job(resources)
    calls: dict[str, int] = {}
    for name, item in {"long": voice(40.0, 8_000), "short": voice(6.0, 8_000)}.items():
        job.submit((item, 8_000)).add_done_callback(lambda _, name=name: calls.update({name: sandbox.calls}))
    run(resources)
    assert list(calls) == ["long", "short"]
    assert calls["long"] == calls["short"] - 1 >= 3


def test_item_error_ends_only_the_item(resources: ProcessResources) -> None:
    job = Job(resources)
    bad, good = job.submit("missing.wav"), job.submit(clips(1)[0])
    run(resources)
    error = job.wait(bad).error
    assert isinstance(error, errors.AudioNotFoundError)
    assert error.__traceback__ is None
    assert job.wait(good).error is None
    assert resources.stats.failures == 1


def test_job_error_ends_the_job(resources: ProcessResources, sandbox: Sandbox) -> None:
    resources.settings = replace(resources.settings, max_calls=1)
    job = Job(resources)
    first, second, third = (job.submit(clip) for clip in clips(3))
    run(resources)
    assert job.wait(first).error is None
    assert (second.cancelled(), third.cancelled(), sandbox.calls) == (True, True, 1)
    with pytest.raises(errors.BudgetExceededError):
        job.wait(third)


def test_stopped_job_starts_no_call(resources: ProcessResources, sandbox: Sandbox) -> None:
    job = Job(resources)
    future = job.submit(clips(1)[0])
    job.stop()
    run(resources)
    assert (future.cancelled(), sandbox.calls) == (True, 0)


def test_equal_items_share_an_answer(resources: ProcessResources, sandbox: Sandbox) -> None:
    job = Job(resources)
    futures = [job.submit(clips(1)[0]) for _ in range(3)]
    run(resources)
    assert [job.wait(future).cached for future in futures] == [False, True, True]
    assert sandbox.calls == 1
