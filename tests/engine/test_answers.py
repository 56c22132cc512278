"""Single flight, claims and receipts, without threads: the test itself completes the calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from valence_integrations import Settings
from valence_integrations._limits.limiter import StoppedError
from valence_integrations._service.asynch import KEPT_SECONDS
from valence_integrations._store.cache import ResultCache, cache_key
from valence_integrations.engine._answers import Answers, CachedAnswer
from valence_integrations.engine._receipts import UploadReceipts
from valence_integrations.engine._stats import Stats

SAD: CachedAnswer = {"response": {"main_emotion": "sad"}, "request_id": "r1"}


class Service:
    """Record the futures that are started; the test completes them."""

    def __init__(self) -> None:
        self.begun: list[Future[CachedAnswer]] = []
        self.has_begun = threading.Event()

    def __call__(self, fresh: Future[CachedAnswer]) -> None:
        self.begun.append(fresh)
        self.has_begun.set()


@pytest.fixture
def stats() -> Stats:
    return Stats()


@pytest.fixture
def cache() -> ResultCache:
    return ResultCache(None)


@pytest.fixture
def service() -> Service:
    return Service()


def at_once(work: Callable[[], None]) -> None:
    work()


def answers_of(cache: ResultCache, stats: Stats) -> Answers:
    return Answers(cache, stats, wait=lambda seconds: True, submit=at_once)


def test_concurrent_requests_for_a_key_share_one_call(cache: ResultCache, stats: Stats, service: Service) -> None:
    answers = answers_of(cache, stats)
    first, second = answers.find("key", service), answers.find("key", service)
    assert (len(service.begun), first.done(), second.done()) == (1, False, False)
    service.begun[0].set_result(answers.keep("key", SAD))
    assert (first.result(), second.result()) == (SAD, {**SAD, "cached": True})
    assert stats.cache_hits == 1


def test_cached_answer_makes_no_call(cache: ResultCache, stats: Stats, service: Service) -> None:
    answers = answers_of(cache, stats)
    answers.keep("key", SAD)
    assert answers.find("key", service).result() == {**SAD, "cached": True}
    assert (service.begun, stats.cache_hits) == ([], 1)


def test_failure_reaches_all_waiters_and_the_next_request_retries(
    cache: ResultCache, stats: Stats, service: Service
) -> None:
    answers = answers_of(cache, stats)
    waiting = [answers.find("key", service), answers.find("key", service)]
    service.begun[0].set_exception(OSError("gone"))
    assert [str(future.exception()) for future in waiting] == ["gone", "gone"]
    assert cache.claim("key"), "the claim is released"
    cache.release("key")
    answers.find("key", service)
    assert len(service.begun) == 2


def test_exception_in_begin_is_set_on_the_future(cache: ResultCache, stats: Stats) -> None:
    def begin(fresh: Future[CachedAnswer]) -> None:
        raise OSError("no thread")

    assert str(answers_of(cache, stats).find("key", begin).exception()) == "no thread"


def test_answer_stored_by_another_process_is_used(tmp_path: Path, stats: Stats, service: Service) -> None:
    other, waits = ResultCache(tmp_path), []
    assert other.claim("key")

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 3:
            other.put("key", SAD)
        return False

    answers = Answers(ResultCache(tmp_path), stats, wait, at_once)
    assert answers.find("key", service).result(5) == {**SAD, "cached": True}
    assert (waits[:3], service.begun, stats.cache_hits) == ([0.05] * 3, [], 1)


def test_claim_released_by_another_process_is_acquired(tmp_path: Path, stats: Stats, service: Service) -> None:
    other, waits = ResultCache(tmp_path), []
    assert other.claim("key")

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 2:
            other.release("key")
        return False

    answers = Answers(ResultCache(tmp_path), stats, wait, at_once)
    fresh = answers.find("key", service)
    assert service.has_begun.wait(5)
    assert not other.claim("key")
    service.begun[0].set_result(answers.keep("key", SAD))
    assert (len(service.begun), fresh.result(5)) == (1, SAD)


def test_waiting_for_other_claims_takes_one_thread(tmp_path: Path, stats: Stats, service: Service) -> None:
    other = ResultCache(tmp_path)
    keys = [f"key {number}" for number in range(20)]
    assert all(other.claim(key) for key in keys)
    before = threading.active_count()
    answers = Answers(ResultCache(tmp_path), stats, threading.Event().wait, at_once)
    found = [answers.find(key, service) for key in keys]
    assert not any(future.done() for future in found)
    assert threading.active_count() == before + 1
    for key in keys:
        other.put(key, SAD)
    assert [future.result(5) for future in found] == [{**SAD, "cached": True}] * 20
    assert service.begun == []


def test_stopped_job_does_not_wait_for_a_claim(cache: ResultCache, stats: Stats, service: Service) -> None:
    assert cache.claim("key")
    assert isinstance(answers_of(cache, stats).find("key", service).exception(5), StoppedError)
    assert service.begun == []


def test_drain_counts_a_call_until_begin_returns(cache: ResultCache, stats: Stats) -> None:
    answers, left = answers_of(cache, stats), []
    answers.find("key", lambda fresh: left.append(answers.drain(0.0)))
    assert (left, answers.drain(0.0)) == ([1], 0)


def test_receipts_are_per_service_and_expire_with_its_results(cache: ResultCache) -> None:
    now = 1_000.0
    here = Settings(api_key="key", base_url="https://here.example")
    receipts = UploadReceipts(cache, here, clock=lambda: now)
    receipts.put("digest", "r1", complete=True)
    assert (receipts.find("digest"), receipts.find("another")) == (("r1", True), None)
    assert UploadReceipts(cache, Settings(base_url="https://there.example"), lambda: now).find("digest") is None
    now += KEPT_SECONDS
    assert receipts.find("digest") == ("r1", True)
    now += 1
    assert receipts.find("digest") is None


def test_forget_removes_a_receipt(cache: ResultCache) -> None:
    settings = Settings(api_key="key")
    receipts = UploadReceipts(cache, settings)
    receipts.put("digest", "r1", complete=True)
    receipts.forget("digest")
    assert receipts.find("digest") is None
    assert cache.get(cache_key(settings, "upload", "digest")) is None
