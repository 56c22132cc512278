"""Scheduling without threads and without a service: the pool runs the steps when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from valence_integrations import EmotionPrediction, errors
from valence_integrations.engine._futures import PredictionFuture
from valence_integrations.engine._pool import Priority
from valence_integrations.engine._schedule import Schedule


class Pool:
    def __init__(self) -> None:
        self.work: list[tuple[Priority, Callable[[], None]]] = []

    def submit(self, priority: Priority, work: Callable[[], None]) -> None:
        self.work.append((priority, work))

    def run(self) -> None:
        while self.work:
            self.work.pop(0)[1]()


def answer(future: PredictionFuture) -> None:
    future.set_result(EmotionPrediction("sad", 0.5))


def raising(error: BaseException) -> Callable[[PredictionFuture], None]:
    def step(future: PredictionFuture) -> None:
        raise error

    return step


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def schedule(pool: Pool) -> Schedule:
    return Schedule(pool, lambda error: EmotionPrediction(model="m", error=error))


def test_step_starts_with_its_priority_when_a_thread_is_free(schedule: Schedule, pool: Pool) -> None:
    future = schedule.start(Priority.CALL, answer)
    assert ([priority for priority, _ in pool.work], future.done()) == ([Priority.CALL], False)
    pool.run()
    assert schedule.wait(future).emotion == "sad"


def test_item_error_becomes_the_prediction_of_its_item(schedule: Schedule, pool: Pool) -> None:
    bad = schedule.start(Priority.ITEM, raising(errors.AudioError("no.")))
    good = schedule.start(Priority.ITEM, answer)
    pool.run()
    error = schedule.wait(bad).error
    assert (type(error), str(error)) == (errors.AudioError, "no.")
    assert error is not None
    assert error.__traceback__ is None
    assert schedule.wait(good).emotion == "sad"


def test_item_error_gets_the_name_of_the_item(schedule: Schedule) -> None:
    future = Future[EmotionPrediction]()
    schedule.run(future, "a.wav", lambda: raising(errors.AudioError("no."))(future))
    assert str(future.result().error) == "a.wav: no."


def test_job_error_ends_the_job_but_not_what_is_done(schedule: Schedule, pool: Pool) -> None:
    done = schedule.start(Priority.ITEM, answer)
    failing = schedule.start(Priority.ITEM, raising(errors.BudgetExceededError("spent.")))
    later = schedule.start(Priority.ITEM, answer)
    pool.run()
    assert schedule.wait(done).emotion == "sad"
    assert (failing.cancelled(), later.cancelled(), schedule.stopped.is_set()) == (True, True, True)
    for future in (failing, later):
        with pytest.raises(errors.BudgetExceededError, match="spent"):
            schedule.wait(future)


def test_first_job_error_is_the_one_that_is_raised(schedule: Schedule, pool: Pool) -> None:
    first = schedule.start(Priority.ITEM, raising(errors.MissingKeyError("no key.")))
    future = Future[EmotionPrediction]()
    pool.run()
    schedule.run(future, None, lambda: raising(errors.BudgetExceededError("spent."))(future), paid=True)
    with pytest.raises(errors.MissingKeyError):
        schedule.wait(first)


def test_stopped_job_runs_only_steps_that_complete_what_is_paid(schedule: Schedule) -> None:
    schedule.stopped.set()
    free, paid = Future[EmotionPrediction](), Future[EmotionPrediction]()
    schedule.run(free, None, lambda: answer(free))
    schedule.run(paid, None, lambda: answer(paid), paid=True)
    assert (free.cancelled(), paid.result().emotion) == (True, "sad")


def test_lack_of_memory_is_an_error_of_the_item(schedule: Schedule) -> None:
    future = Future[EmotionPrediction]()
    schedule.run(future, "a.wav", lambda: raising(MemoryError())(future))
    error = future.result().error
    assert error is not None
    assert (error.code, error.headline) == ("no_memory", "a.wav: there is not enough memory for it.")


def test_item_of_a_stopped_job_needs_no_thread(schedule: Schedule, pool: Pool) -> None:
    schedule.stopped.set()
    assert schedule.start(Priority.ITEM, answer).cancelled()
    assert pool.work == []


def test_bug_of_the_library_is_raised_as_it_is(schedule: Schedule, pool: Pool) -> None:
    future = schedule.start(Priority.ITEM, raising(ZeroDivisionError("ours")))
    pool.run()
    with pytest.raises(ZeroDivisionError, match="ours"):
        schedule.wait(future)
