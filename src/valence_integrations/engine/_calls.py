"""Calls to the service: one per distinct clip, within rate limits and budget, with retries and resumed uploads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from valence_integrations import errors
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.routing import Part
from valence_integrations._service.answers import read_discrete, read_timeline
from valence_integrations._service.asynch import temporary_wav
from valence_integrations._service.retry import call_with_retries, may_have_been_billed
from valence_integrations._store.cache import ResultCache, cache_key
from valence_integrations.engine._answers import Answers, CachedAnswer
from valence_integrations.engine._futures import complete
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._receipts import UploadReceipts
from valence_integrations.engine._recipes import Recipe, Sent, file_digest
from valence_integrations.results import EmotionSegment

__all__ = ["Calls"]

_log = logging.getLogger("valence_integrations")


class Calls:
    """Calls of one job.

    Parameters
    ----------
    resources : ProcessResources
        Clients, limiter, budget and cache of this process.
    stopped : threading.Event
        Set when no further call may start.
    """

    def __init__(self, resources: ProcessResources, stopped: threading.Event) -> None:
        self._resources = resources
        self._settings = resources.settings
        self._stats = resources.stats
        self._stopped = stopped
        self._cache = resources.cache or ResultCache(None)
        self._receipts = UploadReceipts(self._cache, self._settings)
        self.answers = Answers(self._cache, self._stats, stopped.wait)

    def discrete(self, part: Part, answer: Future[CachedAnswer]) -> None:
        """Complete `answer` with the DiscreteAPI's answer for one clip."""
        key = cache_key(self._settings, "discrete", part.digest)
        client = self._resources.discrete

        def call() -> CachedAnswer:
            body = client.body(part.wav)
            response = self._call(lambda: client.send(body), sum(map(len, body)), part.seconds)
            return _cached([read_discrete(response, part.start, part.end)], response.get("request_id"))

        try:
            known = self.answers.find(key, lambda fresh: complete(fresh, lambda: self.answers.keep(key, call())))
        except BaseException as error:
            answer.set_exception(error)
        else:
            known.add_done_callback(lambda done: complete(answer, done.result))

    def asynch(self, clip: Clip, duration: float, recipe_key: str | None) -> Future[CachedAnswer]:
        """Upload a clip and return a future of its answer, which the poller completes."""
        with temporary_wav(clip) as wav:
            digest = file_digest(wav)
            if recipe_key is not None:
                sent = Sent(digest, wav.stat().st_size, 0.0, duration)
                self.keep_recipe(recipe_key, Recipe("asynch", duration, padded=False, parts=(sent,)))
            return self.answers.find(
                cache_key(self._settings, "asynch", digest),
                lambda fresh: self._upload(wav, duration, digest, fresh),
            )

    def recipe(self, key: str) -> Recipe | None:
        """Return the recipe of a file that was sent before, or None."""
        kept = self._cache.recipe(key)
        return None if kept is None else Recipe.from_value(kept)

    def keep_recipe(self, key: str, recipe: Recipe) -> None:
        """Store the recipe of a file."""
        self._cache.put_recipe(key, vars(recipe))

    def _upload(self, wav: Path, duration: float, digest: str, fresh: Future[CachedAnswer]) -> None:
        try:
            request_id = self._unfinished(digest)
            if request_id is None:
                request_id = self._call(lambda: self._resources.asynch.upload(wav), wav.stat().st_size, duration)
                self._receipts.put(digest, request_id)
        except BaseException as error:
            fresh.set_exception(error)
            return
        key = cache_key(self._settings, "asynch", digest)

        def finish(polled: Future[dict[str, Any]]) -> None:
            complete(
                fresh, lambda: self.answers.keep(key, _cached(read_timeline(polled.result(), duration), request_id))
            )
            if not polled.cancelled() and not isinstance(polled.exception(), errors.AsynchTimeoutError):
                self._receipts.forget(digest)

        self._resources.poller.add(request_id, duration, self._stopped.is_set).add_done_callback(finish)

    def _unfinished(self, digest: str) -> str | None:
        """Return the request id of an earlier upload without a fetched result, or None if the service dropped it."""
        request_id = self._receipts.find(digest)
        if request_id is None:
            return None
        try:
            self._resources.asynch.poll(request_id)
        except errors.BadRequestError:
            return None
        except errors.ItemError:
            pass
        _log.info("waiting for the result of upload %s, made earlier", request_id)
        return request_id

    def _call(self, send: Callable[[], Any], size: int, seconds: float) -> Any:
        """Make a call with retries; each attempt takes a permit and counts against the budget."""
        limiter = self._resources.limiter

        def attempt() -> Any:
            with limiter.permit(self._stopped.is_set) as waited:
                self._stats.add(seconds_waited=waited)
                self._resources.spend(size, seconds)
                try:
                    response = send()
                except errors.ValenceError as error:
                    _log.info("a call failed: %s: %s", type(error).__name__, error)
                    self._resources.record_failure(error)
                    raise
                self._resources.record_success()
                return response

        def on_failure(error: Exception) -> None:
            if isinstance(error, errors.RateLimitError):
                self._stats.add(rate_limited=1)
            elif may_have_been_billed(error):
                self._stats.add(possibly_double_billed=1)

        return call_with_retries(
            attempt,
            max_attempts=self._settings.max_attempts,
            hold=limiter.hold,
            on_failure=on_failure,
            on_retry=lambda: self._stats.add(retries=1),
        )


def _cached(segments: Sequence[EmotionSegment], request_id: object) -> CachedAnswer:
    return {
        "segments": [vars(segment) for segment in segments],
        "request_id": str(request_id) if request_id is not None else None,
    }
