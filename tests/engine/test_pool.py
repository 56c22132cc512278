"""The pool of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from valence_integrations import errors
from valence_integrations.engine._pool import Pool, Priority


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(2)
    yield made
    made.close()
    made.join(5)
    assert not made._threads


def test_calls_run_before_items(pool: Pool) -> None:
    order: list[int] = []
    release, done = threading.Event(), threading.Event()
    single = Pool(1)
    single.submit(Priority.ITEM, lambda: release.wait(5) and None)
    for number, priority in enumerate((Priority.ITEM, Priority.CALL, Priority.ITEM, Priority.CALL)):
        single.submit(priority, lambda number=number: order.append(number))  # type: ignore[misc]
    single.submit(Priority.ITEM, done.set)
    release.set()
    assert done.wait(5)
    assert order == [1, 3, 0, 2]
    single.close()
    single.join(5)


def test_threads_than_needed_or_allowed(pool: Pool) -> None:
    release = threading.Event()
    pool.submit(Priority.ITEM, lambda: release.wait(5) and None)
    assert len(pool._threads) == 1
    for _ in range(3):
        pool.submit(Priority.ITEM, lambda: release.wait(5) and None)
    assert len(pool._threads) == 2
    pool.grow(3)
    assert len(pool._threads) == 3
    release.set()


def test_closed_pool_finishes_its_work_and_takes_more(pool: Pool) -> None:
    done: list[int] = []
    for number in range(20):
        pool.submit(Priority.ITEM, lambda number=number: done.append(number))  # type: ignore[misc]
    pool.close()
    pool.join(5)
    assert sorted(done) == list(range(20))
    pool.submit(Priority.ITEM, lambda: done.append(20))
    pool.join(5)
    assert done[-1] == 20
    assert not pool._threads


def test_pool_is_closed_within_its_own_lock(pool: Pool) -> None:
    # As the garbage collector does, if it runs in a thread of the pool.
    with pool._changed:
        pool.close()


def test_work_goes_on_with_the_threads_there_are(pool: Pool, threads: list[int]) -> None:
    threads.append(1)
    done = threading.Semaphore(0)
    for _ in range(10):
        pool.submit(Priority.ITEM, lambda: done.release())
    for _ in range(10):
        assert done.acquire(timeout=5)
    assert len(pool._threads) <= 1


def test_no_thread_at_all_is_an_error(pool: Pool, threads: list[int]) -> None:
    with pytest.raises(
        errors.JobError, match=r"no thread can be started: can't start new thread\. Close other"
    ) as caught:
        pool.submit(Priority.ITEM, lambda: None)
    assert caught.value.code == "no_threads"
    threads.append(1)
    done = threading.Event()
    pool.submit(Priority.ITEM, done.set)
    assert done.wait(5)
