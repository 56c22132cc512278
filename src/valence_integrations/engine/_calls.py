"""Calls to the service: one per distinct clip, within rate limits and budget, with retries and resumed uploads."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from valence_integrations import errors
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.routing import Part
from valence_integrations._service.answers import read_timeline
from valence_integrations._service.asynch import temporary_wav
from valence_integrations._service.retry import call_with_retries, may_have_been_billed
from valence_integrations._store.cache import ResultCache, cache_key
from valence_integrations.engine._answers import Answers, CachedAnswer
from valence_integrations.engine._futures import complete
from valence_integrations.engine._pool import Priority
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._receipts import UploadReceipts
from valence_integrations.engine._recipes import Recipe, Sent, file_digest

__all__ = ["Calls"]

S = TypeVar("S")
T = TypeVar("T")

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
        self._submit = partial(resources.pool.submit, Priority.CALL)
        self.answers = Answers(self._cache, self._stats, stopped.wait, self._submit)

    def discrete(self, part: Part, answer: Future[CachedAnswer]) -> None:
        """Complete `answer` with the DiscreteAPI's answer for one clip."""
        key = cache_key(self._settings, "discrete", part.digest)
        client = self._resources.discrete

        def call() -> CachedAnswer:
            body = client.body(part.wav)
            return self._call(
                lambda: client.send(body),
                sum(map(len, body)),
                part.seconds,
                keep=lambda response: self.answers.keep(key, {"response": response}),
            )

        try:
            known = self.answers.find(key, lambda fresh: complete(fresh, call))
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
                lambda fresh: self._fetch_timeline(clip, wav, duration, digest, fresh),
                lambda fresh: self._render_again(clip, duration, digest, fresh),
            )

    def recipe(self, key: str) -> Recipe | None:
        """Return the recipe of a file that was sent before, or None."""
        kept = self._cache.recipe(key)
        return None if kept is None else Recipe.from_value(kept)

    def keep_recipe(self, key: str, recipe: Recipe) -> None:
        """Store the recipe of a file."""
        self._cache.put_recipe(key, vars(recipe))

    def _render_again(self, clip: Clip, duration: float, digest: str, fresh: Future[CachedAnswer]) -> None:
        """Do the same as `_fetch_timeline` later, when the first temporary file is gone."""
        try:
            with temporary_wav(clip) as wav:
                if file_digest(wav) != digest:
                    raise errors.UnreadableAudioError(
                        "it was changed while it waited.", code="audio_changed", remedy="Run again when it is complete."
                    )
                self._fetch_timeline(clip, wav, duration, digest, fresh)
        except BaseException as error:
            fresh.set_exception(error)

    def _fetch_timeline(self, clip: Clip, wav: Path, duration: float, digest: str, fresh: Future[CachedAnswer]) -> None:
        """Complete `fresh` with the result of an upload: an earlier one, or one that is made now."""
        receipt = self._receipts.find(digest)
        is_earlier = receipt is not None and receipt.complete
        if receipt is not None and is_earlier:
            request_id = receipt.request_id
            _log.info("waiting for the result of upload %s, made earlier", request_id)
        else:
            request_id = self._upload(wav, duration, digest)
        key = cache_key(self._settings, "asynch", digest)

        def keep(polled: Future[dict[str, Any]]) -> CachedAnswer:
            response = polled.result()
            # If it makes no sense for this item, the next run polls again, which costs nothing.
            read_timeline(response, duration)
            answer = self.answers.keep(key, {"response": response, "request_id": request_id})
            self._receipts.forget(digest)
            return answer

        def finish(polled: Future[dict[str, Any]]) -> None:
            error = None if polled.cancelled() else polled.exception()
            if isinstance(error, (errors.AsynchFailedError, errors.AsynchExpiredError)):
                self._receipts.forget(digest)
            if is_earlier and isinstance(error, errors.AsynchExpiredError):
                self._submit(lambda: self._render_again(clip, duration, digest, fresh))
            else:
                complete(fresh, lambda: keep(polled))

        self._resources.poller.add(request_id, duration, self._stopped.is_set).add_done_callback(finish)

    def _upload(self, wav: Path, duration: float, digest: str) -> str:
        """Upload a file and return its request id; the receipt is kept from the first answer on."""

        def begun(request_id: str) -> None:
            self._receipts.put(digest, request_id, complete=False)

        def upload() -> str:
            # An earlier attempt, or one of a process that was killed, may have been complete without our knowing it.
            receipt = self._receipts.find(digest)
            if receipt is not None and self._resources.asynch.is_complete(receipt.request_id):
                return receipt.request_id
            return self._resources.asynch.upload(wav, begun)

        def keep(request_id: str) -> str:
            self._receipts.put(digest, request_id, complete=True)
            return request_id

        return self._call(upload, wav.stat().st_size, duration, keep)

    def _call(self, send: Callable[[], S], size: int, seconds: float, keep: Callable[[S], T]) -> T:
        """Make a call with retries; each attempt takes a permit and counts against the budget.

        `keep` stores the answer before anything that can fail, such as giving the permit back.
        """
        limiter = self._resources.limiter

        def attempt() -> T:
            with limiter.permit(self._stopped.is_set) as waited:
                self._stats.add(seconds_waited=waited)
                self._resources.spend(size, seconds)
                try:
                    response = send()
                except errors.ValenceError as error:
                    _log.info("a call failed: %s: %s", type(error).__name__, error)
                    self._resources.record_failure(error)
                    raise
                kept = keep(response)
                self._resources.record_success()
                return kept

        def on_failure(error: Exception) -> None:
            if isinstance(error, errors.RateLimitError):
                self._stats.add(rate_limited=1)
            elif may_have_been_billed(error):
                self._stats.add(possibly_double_billed=1)

        return call_with_retries(
            attempt,
            max_attempts=self._settings.max_attempts,
            max_billed_attempts=self._settings.max_billed_attempts,
            on_failure=on_failure,
            on_retry=lambda: self._stats.add(retries=1),
        )
