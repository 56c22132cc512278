"""Resources that an engine holds in one process and never pickles: sockets, threads, locks, the cache connection."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from functools import partial
from pathlib import Path

from valence_integrations import errors
from valence_integrations._cluster.client import ClusterCache, ClusterClient
from valence_integrations._format import counted
from valence_integrations._limits.limiter import Limiter
from valence_integrations._limits.permits import Permits
from valence_integrations._limits.place import account, places
from valence_integrations._limits.policy import Policy, Window
from valence_integrations._limits.shared import SharedLedger
from valence_integrations._service.asynch import AsynchClient
from valence_integrations._service.discrete import DiscreteClient
from valence_integrations._service.poller import Poller
from valence_integrations._service.probe import rate_limit_status
from valence_integrations._service.transport import Transport
from valence_integrations._store.cache import ResultCache, cache_directory, state_directory
from valence_integrations.engine._circuit import Circuit
from valence_integrations.engine._exit import end_at_exit
from valence_integrations.engine._pool import Pool
from valence_integrations.engine._stats import Stats
from valence_integrations.settings import DEFAULT_CONCURRENCY, RateLimits, Settings, revealed

_log = logging.getLogger("valence_integrations")

#: Extra threads that read and prepare the next items, if that is slow.
_PREPARATION_THREADS = 3

#: Connections to a host that are kept open; more simultaneous calls open connections of their own.
_POOLED_CONNECTIONS = 512


class ProcessResources:
    """Resources of one engine in one process; with `cluster`, rate limits are shared by the cluster."""

    def __init__(self, settings: Settings, stats: Stats, cluster: ClusterClient | None = None) -> None:
        self._pid = os.getpid()
        self.settings = settings
        self.stats = stats
        self._cluster = cluster
        self.transport = Transport(settings, _POOLED_CONNECTIONS)
        self.discrete = DiscreteClient(settings, self.transport)
        self.asynch = AsynchClient(settings, self.transport)
        self.poller = Poller(self.asynch.poll)
        self.pool = Pool(DEFAULT_CONCURRENCY)
        # Threads reference the pool, not the resources, so the pool closes when the resources are collected.
        weakref.finalize(self, self.pool.close).atexit = False
        end_at_exit(self.pool)
        end_at_exit(self.poller)
        #: Cache of answers, or None if disabled.
        self.cache = self._make_cache()
        self._lock = threading.Lock()
        self._limiters: dict[str, Limiter] = {}
        self._circuit = Circuit()

    @property
    def limiter(self) -> Limiter:
        """Limiter of the account whose key is in use now; ``VALENCE_API_KEY`` may change between two calls.

        It is created at the account's first call because it may request the account's policy.

        Raises
        ------
        MissingKeyError
            If there is no key.
        """
        key = self.settings.require_key()
        with self._lock:
            if key not in self._limiters:
                self._limiters[key] = self._make_limiter(key)
                self.pool.grow(self._limiters[key].concurrency)
            return self._limiters[key]

    @property
    def is_forked(self) -> bool:
        """Whether this is a child that was forked after the resources were made: they have no threads here."""
        return os.getpid() != self._pid

    def check_process(self) -> None:
        """Raise a JobError in a forked child, where threads that do not exist would never answer."""
        if self.is_forked:
            raise errors.JobError(
                "this job was begun before the process was forked, and cannot go on in the child.",
                code="forked_job",
                remedy="Begin it in the child: an engine can be used in both processes, an iterator in one.",
            )

    @property
    def windows(self) -> tuple[Window, ...]:
        """Rate-limit windows of the account; empty before the first call."""
        limiter = self._current_limiter
        return () if limiter is None else limiter.windows

    def prepare_ahead(self) -> None:
        """Allow extra threads that prepare items while others wait for answers."""
        limiter = self._current_limiter
        concurrency = DEFAULT_CONCURRENCY if limiter is None else limiter.concurrency
        self.pool.grow(concurrency + _PREPARATION_THREADS)

    def spend(self, size: int, seconds: float) -> None:
        """Count a call that is about to be made.

        Raises
        ------
        BudgetExceededError
            If it would exceed the budget.
        """
        settings, stats = self.settings, self.stats
        with self._lock:
            if settings.max_calls is not None and stats.calls >= settings.max_calls:
                raise errors.BudgetExceededError(
                    f"the budget of {counted(settings.max_calls, 'call')} is spent.",
                    setting="max_calls",
                    remedy="What is done is kept in the cache; raise max_calls and run again to go on.",
                )
            if settings.max_audio_seconds is not None and stats.audio_seconds + seconds > settings.max_audio_seconds:
                raise errors.BudgetExceededError(
                    f"the next call would exceed the budget of {settings.max_audio_seconds:g} s of audio "
                    f"({stats.audio_seconds:.1f} s are sent).",
                    setting="max_audio_seconds",
                    remedy="What is done is kept in the cache; raise max_audio_seconds and run again to go on.",
                )
            stats.add(calls=1, bytes_sent=size, audio_seconds=seconds)

    def record_success(self) -> None:
        """Record that a call was answered."""
        self._circuit.record_success()

    def record_failure(self, error: Exception) -> None:
        """Record that a call failed.

        Raises
        ------
        ServiceUnavailableError
            If the service counts as down.
        """
        limiter = self._current_limiter
        self._circuit.record_failure(error, DEFAULT_CONCURRENCY if limiter is None else limiter.concurrency)

    def close(self) -> None:
        """Close the pool, the connections and the cache."""
        self.pool.close()
        self.transport.close()
        for limiter in self._limiters.values():
            limiter.close()
        if self.cache is not None:
            self.cache.close()

    @property
    def _current_limiter(self) -> Limiter | None:
        return self._limiters.get(revealed(self.settings.api_key or ""))

    def _make_cache(self) -> ResultCache | ClusterCache | None:
        if self._cluster is not None:
            return self._cluster.cache(self.settings)
        directory: Path | None = cache_directory(self.settings)
        return None if directory is None else ResultCache(directory)

    def _make_limiter(self, key: str) -> Limiter:
        settings = self.settings
        ledger = self._ledger(key)
        if settings.limits == "auto":
            refresh = partial(self._account_policy, key, ledger)
            return Limiter(ledger, refresh() or Policy.from_limits(RateLimits()), settings.concurrency, refresh)
        policy = Policy() if settings.limits is None else Policy.from_limits(settings.limits)
        return Limiter(ledger, policy, settings.concurrency)

    def _ledger(self, key: str) -> Permits:
        if self._cluster is not None:
            return self._cluster.ledger(lambda: self._limiters[key].waiting if key in self._limiters else 0)
        return SharedLedger(account(self.settings.service, key), places(state_directory(self.settings)))

    def _account_policy(self, key: str, ledger: Permits) -> Policy | None:
        """Request the account's policy; None if unavailable (the first call reports a wrong key)."""
        try:
            status = rate_limit_status(self.transport, self.settings.base_url, key)
            policy = Policy.from_status(status, ledger.started, ledger.clock())
        except (errors.ItemError, errors.AuthenticationError, errors.RedirectError, TypeError, ValueError):
            return None
        _log.info("the account's policy: %s", status["limits"])
        return policy
