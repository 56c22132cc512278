"""Answers by key: single flight within a job, claims between processes, and the cache."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from valence_integrations._cluster.client import ClusterCache
from valence_integrations._store.cache import ResultCache
from valence_integrations.engine._claims import OtherClaims
from valence_integrations.engine._futures import complete
from valence_integrations.engine._stats import Stats

__all__ = ["Answers", "CachedAnswer"]

#: A cached value: {"response": ...}, and for an upload its "request_id"; has "cached" if no call was billed for it.
CachedAnswer: TypeAlias = "dict[str, Any]"

Begin: TypeAlias = "Callable[[Future[CachedAnswer]], None]"


class Answers:
    """Answers of one job.

    Parameters
    ----------
    cache : ResultCache or ClusterCache
        Store of answers and claims.
    stats : Stats
        Counters; cache hits are added.
    wait : callable
        Called with seconds to wait; returns whether the job was stopped.
    submit : callable
        Runs work in another thread.

    Examples
    --------
    >>> from valence_integrations._store.cache import ResultCache
    >>> from valence_integrations.engine._answers import Answers
    >>> from valence_integrations.engine._stats import Stats
    >>> answers = Answers(ResultCache(None), Stats(), lambda seconds: False, lambda work: work())
    >>> answers.find("key", lambda fresh: fresh.set_result(answers.keep("key", {"response": {}}))).result()
    {'response': {}}
    >>> answers.find("key", lambda fresh: None).result()
    {'response': {}, 'cached': True}
    """

    def __init__(
        self,
        cache: ResultCache | ClusterCache,
        stats: Stats,
        wait: Callable[[float], bool],
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        self._cache = cache
        self._stats = stats
        self._submit = submit
        self._others = OtherClaims(wait)
        self._in_flight: dict[str, Future[CachedAnswer]] = {}
        self._lock = threading.Lock()
        self._active = 0
        self._idle = threading.Condition()

    def find(self, key: str, begin: Begin, begin_later: Begin | None = None) -> Future[CachedAnswer]:
        """Return a future of the answer to a key: cached, in flight, or started now.

        Parameters
        ----------
        key : str
            See `cache_key`.
        begin : callable
            Called with a new future if no other call, job or process provides the answer. Must complete the future, at
            once or later.
        begin_later : callable, optional
            Called instead, in another thread and after this method has returned, if another process had claimed the
            key; by default `begin`.
        """
        with self._lock:
            known = self._in_flight.get(key)
            kept = self._cache.get(key) if known is None else None
            if known is None and kept is None:
                fresh = self._in_flight[key] = Future[CachedAnswer]()
        if known is not None or kept is not None:
            self._stats.add(cache_hits=1)
            answer = Future[CachedAnswer]()
            if kept is not None:
                answer.set_result({**kept, "cached": True})
            else:
                assert known is not None
                known.add_done_callback(lambda done: complete(answer, lambda: {**done.result(), "cached": True}))
            return answer
        fresh.add_done_callback(lambda _: self._in_flight.pop(key, None))
        try:
            if self._cache.claim(key):
                self._begin(key, fresh, begin)
            else:
                self._others.add(lambda: self._is_claim_over(key, fresh, begin_later or begin), fresh.set_exception)
        except BaseException as error:
            fresh.set_exception(error)
        return fresh

    def cached(self, key: str) -> CachedAnswer | None:
        """Return an answer from the cache, or None."""
        return self._cache.get(key)

    def keep(self, key: str, answer: CachedAnswer) -> CachedAnswer:
        """Store an answer and return it."""
        self._cache.put(key, answer)
        return answer

    def drain(self, seconds: float) -> int:
        """Wait until the answers to calls in flight, which may be billed, are stored; return how many calls remain."""
        with self._idle:
            self._idle.wait_for(lambda: not self._active, seconds)
            return self._active

    def _begin(self, key: str, fresh: Future[CachedAnswer], begin: Begin) -> None:
        fresh.add_done_callback(partial(self._release_claim, key))
        with self._count_active():
            try:
                begin(fresh)
            except BaseException as error:
                fresh.set_exception(error)

    def _is_claim_over(self, key: str, fresh: Future[CachedAnswer], begin: Begin) -> bool:
        """Use the answer of another job or process, or take over its claim."""
        if self._cache.claim(key):
            self._submit(lambda: self._begin(key, fresh, begin))
            return True
        if (answer := self._cache.get(key)) is None:
            return False
        self._stats.add(cache_hits=1)
        fresh.set_result({**answer, "cached": True})
        return True

    def _release_claim(self, key: str, done: Future[CachedAnswer]) -> None:
        if done.cancelled() or done.exception():
            self._cache.release(key)

    @contextmanager
    def _count_active(self) -> Iterator[None]:
        with self._idle:
            self._active += 1
        try:
            yield
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()
