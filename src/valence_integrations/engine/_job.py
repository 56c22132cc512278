"""One job: the way of each item from its audio to its prediction."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from valence_integrations import errors
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.open import open_clip
from valence_integrations._audio.routing import Part, Plan, plan
from valence_integrations._limits.limiter import StoppedError
from valence_integrations._service.answers import read_discrete, read_timeline
from valence_integrations._service.asynch import KEPT_SECONDS, temporary_wav
from valence_integrations._service.retry import call_with_retries, may_have_been_billed
from valence_integrations._store.cache import ResultCache, cache_key
from valence_integrations.engine._futures import complete, when_all
from valence_integrations.engine._pool import Priority
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._recipes import Recipe, Sent, file_digest, recipe_key
from valence_integrations.engine._segmented import Segmented, combine_segments, excerpts
from valence_integrations.results import EmotionPrediction, EmotionSegment

#: On Windows, only a wait that ends lets Ctrl-C through.
_LOOK_AGAIN_SECONDS = 1.0

#: Seconds between two looks whether another process has the answer that this one needs too.
_OTHERS_SECONDS = 0.05

#: An item that takes longer to read and prepare keeps a thread from its calls, which take 100 ms or more: over 3 %.
_SLOW_SECONDS = 0.003

_log = logging.getLogger("valence_integrations")

PredictionFuture: TypeAlias = "Future[EmotionPrediction]"

#: A cached value: {"segments": [...], "request_id": ...}.
CachedAnswer: TypeAlias = "dict[str, Any]"


class Job:
    """Items that are annotated together.

    Nothing here waits for anything but its own call: what depends on another's result is a callback.
    """

    def __init__(self, resources: ProcessResources) -> None:
        self._resources = resources
        self._settings = resources.settings
        self._stats = resources.stats
        self._cache = resources.cache or ResultCache(None)
        self._under_way: dict[str, Future[CachedAnswer]] = {}
        self._lock = threading.Lock()
        self._calling = 0
        self._idle = threading.Condition()
        self._stopped = threading.Event()
        self._broken: Future[None] = Future()

    def submit(self, item: object) -> PredictionFuture:
        """Start on an item. Item errors are in the prediction; an exception of the future is a fault of ours."""
        # A file object may be closed, or read on, before a thread comes to it.
        if hasattr(item, "read"):
            item = self._opened(item)
        elif isinstance(item, Segmented) and hasattr(item.audio, "read"):
            item = replace(item, audio=self._opened(item.audio))
        return self._begin(item, Priority.ITEM)

    def wait(self, outcome: PredictionFuture) -> EmotionPrediction:
        """Wait for an item.

        Raises
        ------
        JobError
            As soon as the job cannot go on, unless the item is done.
        """
        waited: list[Future[Any]] = [outcome, self._broken]
        while not any(future.done() for future in waited):
            wait_for(waited, _LOOK_AGAIN_SECONDS, return_when="FIRST_COMPLETED")
        if self._broken.done() and (outcome.cancelled() or not outcome.done()):
            self._broken.result()
        return outcome.result()

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped.set()

    def drain(self, seconds: float) -> int:
        """Wait until the calls under way are answered, and their answers kept: they are paid; return what is left."""
        with self._idle:
            self._idle.wait_for(lambda: not self._calling, seconds)
            return self._calling

    def _begin(self, item: object, priority: Priority) -> PredictionFuture:
        outcome: PredictionFuture = Future()
        self._resources.pool.submit(priority, lambda: self._guarded(outcome, None, lambda: self._run(item, outcome)))
        return outcome

    def _opened(self, item: object) -> object:
        try:
            return open_clip(item, self._settings.sampling_rate)
        except errors.ItemError as error:
            return error

    def _run(self, item: object, outcome: PredictionFuture) -> None:
        begun = time.perf_counter()
        audio = item.audio if isinstance(item, Segmented) else item
        if isinstance(audio, errors.ItemError):
            raise audio
        clip = audio if isinstance(audio, Clip) else open_clip(audio, self._settings.sampling_rate)
        if clip is None:
            outcome.set_result(EmotionPrediction(model=self._settings.model))
            return

        def annotate() -> None:
            if isinstance(item, Segmented):
                self._send_segments(clip, item, outcome)
                return
            key = recipe_key(clip, self._settings)
            known = self._known(key)
            if known is not None:
                outcome.set_result(known)
                return
            todo = plan(clip, self._settings)
            if time.perf_counter() - begun > _SLOW_SECONDS:
                self._resources.prepare_ahead()
            if key is not None and todo.parts:
                self._cache.put_recipe(key, vars(Recipe.of(todo)))
            self._send(clip, todo, key, outcome)

        self._guarded(outcome, clip.name, annotate)

    def _send_segments(self, clip: Clip, item: Segmented, outcome: PredictionFuture) -> None:
        """Annotate each segment as an item of its own."""
        times, cut, duration = excerpts(item, clip)
        if not cut:
            outcome.set_result(EmotionPrediction(duration=duration, model=self._settings.model))
            return
        self._resources.prepare_ahead()
        begun = [self._begin(audio, Priority.CALL) for audio in cut]

        def finish() -> None:
            predictions = [own.result() for own in begun]
            outcome.set_result(combine_segments(times, predictions, duration, self._settings.model))

        when_all(begun, lambda: self._guarded(outcome, clip.name, finish, paid=True))

    def _known(self, key: str | None) -> EmotionPrediction | None:
        """Prediction for a file that was sent before, if all its answers are in the cache: it is not even decoded."""
        told = None if key is None else self._cache.recipe(key)
        if told is None:
            return None
        recipe = Recipe.from_value(told)
        kept = [self._cache.get(cache_key(self._settings, recipe.api, part.digest)) for part in recipe.parts]
        values = [{**value, "cached": True} for value in kept if value is not None]
        if len(values) < len(kept):
            return None
        self._stats.add(cache_hits=len(values))
        return self._prediction(values, recipe)

    def _send(self, clip: Clip, todo: Plan, recipe_key: str | None, outcome: PredictionFuture) -> None:
        if todo.upload is not None:
            self._finish_with([self._long_answer(todo.upload, todo.duration, recipe_key)], clip, todo, outcome)
            return
        answers = [Future[CachedAnswer]() for _ in todo.parts]
        self._finish_with(list(answers), clip, todo, outcome)
        for part, answer in zip(todo.parts[1:], answers[1:], strict=True):
            self._resources.pool.submit(Priority.CALL, partial(self._answer, part, answer))
        if todo.parts:
            self._answer(todo.parts[0], answers[0])

    def _finish_with(
        self, answers: list[Future[CachedAnswer]], clip: Clip, todo: Plan, outcome: PredictionFuture
    ) -> None:
        """Make the prediction as soon as every answer is there."""

        def finish() -> None:
            outcome.set_result(self._prediction([answer.result() for answer in answers], todo))

        when_all(answers, lambda: self._guarded(outcome, clip.name, finish, paid=True))
        if todo.source is None:
            outcome.set_result(EmotionPrediction(duration=todo.duration, model=self._settings.model))

    def _prediction(self, values: Sequence[CachedAnswer], way: Plan | Recipe) -> EmotionPrediction:
        segments = [EmotionSegment(**segment) for value in values for segment in value["segments"]]
        if way.source != "asynch":
            parts: Sequence[Part | Sent] = way.parts
            segments = [
                EmotionSegment(part.start, part.end, segment.emotion, segment.confidence, segment.scores)
                for part, segment in zip(parts, segments, strict=True)
            ]
        return EmotionPrediction.from_segments(
            segments,
            source=way.source,
            duration=way.duration,
            padded=way.padded,
            cached=all(value.get("cached", False) for value in values),
            request_id=values[-1]["request_id"],
            model=self._settings.model,
        ).with_min_confidence(self._settings.min_confidence)

    def _answer(self, part: Part, answer: Future[CachedAnswer]) -> None:
        """Get the answer to one discrete call: from another that is under way, the cache, or the service."""
        key = cache_key(self._settings, "discrete", part.digest)

        def call() -> CachedAnswer:
            body = self._resources.discrete.body(part.wav)
            said = self._call(lambda: self._resources.discrete.send(body), sum(map(len, body)), part.seconds)
            return _value([read_discrete(said, part.start, part.end)], said.get("request_id"))

        try:
            known = self._single_flight(key, lambda fresh: complete(fresh, lambda: self._keep(key, call())))
        except BaseException as error:
            answer.set_exception(error)
        else:
            known.add_done_callback(lambda done: complete(answer, done.result))

    def _long_answer(self, clip: Clip, duration: float, recipe_key: str | None) -> Future[CachedAnswer]:
        """Get the answer to one asynch job. The upload is made here; its result comes from the poller."""
        with temporary_wav(clip) as wav:
            digest = file_digest(wav)
            if recipe_key is not None:
                sent = Sent(digest, wav.stat().st_size, 0.0, duration)
                self._cache.put_recipe(recipe_key, vars(Recipe("asynch", duration, padded=False, parts=(sent,))))
            return self._single_flight(
                cache_key(self._settings, "asynch", digest),
                lambda fresh: self._upload(wav, duration, digest, fresh),
            )

    def _upload(self, wav: Path, duration: float, digest: str, fresh: Future[CachedAnswer]) -> None:
        key, upload_key = (cache_key(self._settings, what, digest) for what in ("asynch", "upload"))
        try:
            request_id = self._unfinished(upload_key)
            if request_id is None:
                request_id = self._call(lambda: self._resources.asynch.upload(wav), wav.stat().st_size, duration)
                self._cache.put(upload_key, {"request_id": request_id, "time": time.time()})
        except BaseException as error:
            fresh.set_exception(error)
            return

        def finish(said: Future[dict[str, Any]]) -> None:
            if not isinstance(said.cancelled() or said.exception(), (bool, errors.AsynchTimeoutError)):
                self._cache.remove(upload_key)
            complete(fresh, lambda: self._keep(key, _value(read_timeline(said.result(), duration), request_id)))

        self._resources.poller.add(request_id, duration, self._stopped.is_set).add_done_callback(finish)

    def _unfinished(self, upload_key: str) -> str | None:
        """Request id of an earlier upload whose result was never fetched, if the service still knows it."""
        upload = self._cache.get(upload_key)
        if upload is None or time.time() - upload["time"] > KEPT_SECONDS:
            return None
        request_id = str(upload["request_id"])
        try:
            self._resources.asynch.poll(request_id)
        except errors.BadRequestError:
            return None
        except errors.ItemError:
            pass
        _log.info("the result of upload %s, made earlier, is waited for", request_id)
        return request_id

    def _single_flight(self, key: str, begin: Callable[[Future[CachedAnswer]], None]) -> Future[CachedAnswer]:
        """Begin the work for `key`, unless its answer is there or on its way."""
        with self._lock:
            known = self._under_way.get(key)
            value = self._cache.get(key) if known is None else None
            if known is None and value is None:
                fresh = self._under_way[key] = Future[CachedAnswer]()
        if known is not None or value is not None:
            self._stats.add(cache_hits=1)
            answer = Future[CachedAnswer]()
            if value is not None:
                answer.set_result({**value, "cached": True})
            else:
                assert known is not None
                known.add_done_callback(lambda done: complete(answer, lambda: {**done.result(), "cached": True}))
            return answer
        fresh.add_done_callback(lambda _: self._under_way.pop(key, None))
        try:
            with self._at_work():
                found = self._await_other_claim(key)
                if found is None:
                    fresh.add_done_callback(partial(self._unclaim, key))
                    begin(fresh)
                else:
                    self._stats.add(cache_hits=1)
                    fresh.set_result({**found, "cached": True})
        except BaseException as error:
            fresh.set_exception(error)
        return fresh

    def _await_other_claim(self, key: str) -> CachedAnswer | None:
        """Wait while another job or process is at the same key; its answer, or None if it is now for us to find."""
        while not self._cache.claim(key):
            if (value := self._cache.get(key)) is not None:
                return value
            if self._stopped.wait(_OTHERS_SECONDS):
                raise StoppedError
        return None

    def _unclaim(self, key: str, done: Future[CachedAnswer]) -> None:
        if done.cancelled() or done.exception():
            self._cache.release(key)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._idle:
            self._calling += 1
        try:
            yield
        finally:
            with self._idle:
                self._calling -= 1
                self._idle.notify_all()

    def _keep(self, key: str, value: CachedAnswer) -> CachedAnswer:
        self._cache.put(key, value)
        return value

    def _call(self, send: Callable[[], Any], size: int, seconds: float) -> Any:
        """Make a call, with its retries; each attempt takes a permit and a unit of the budget."""
        limiter = self._resources.limiter

        def attempt() -> Any:
            with limiter.permit(self._stopped.is_set) as waited:
                self._stats.add(seconds_waited=waited)
                self._resources.spend(size, seconds)
                try:
                    said = send()
                except errors.ValenceError as error:
                    _log.info("a call failed: %s: %s", type(error).__name__, error)
                    self._resources.record_failure(error)
                    raise
                self._resources.record_success()
                return said

        def failed(error: Exception) -> None:
            if isinstance(error, errors.RateLimitError):
                self._stats.add(rate_limited=1)
            elif may_have_been_billed(error):
                self._stats.add(possibly_double_billed=1)

        return call_with_retries(
            attempt,
            max_attempts=self._settings.max_attempts,
            hold=limiter.hold,
            failed=failed,
            again=lambda: self._stats.add(retries=1),
        )

    def _guarded(
        self, outcome: PredictionFuture, name: str | None, work: Callable[[], None], *, paid: bool = False
    ) -> None:
        """Do a step of an item; whatever goes wrong ends the item, and a job error the job."""
        try:
            if self._stopped.is_set() and not paid:
                raise StoppedError
            work()
        except errors.ItemError as error:
            self._stats.add(failures=1)
            # A copy: without the traceback, whose frames hold audio, and with this item's name.
            own = copy.copy(error)
            outcome.set_result(EmotionPrediction(model=self._settings.model, error=own.named(name) if name else own))
        except errors.JobError as error:
            self._break(error)
            outcome.cancel()
        except (StoppedError, CancelledError):
            outcome.cancel()
        except BaseException as error:
            outcome.set_exception(error)

    def _break(self, error: errors.JobError) -> None:
        self._stopped.set()
        with self._lock:
            if not self._broken.done():
                self._broken.set_exception(copy.copy(error))


def _value(segments: Sequence[EmotionSegment], request_id: object) -> CachedAnswer:
    return {
        "segments": [vars(segment) for segment in segments],
        "request_id": str(request_id) if request_id is not None else None,
    }
