"""One job: the way of each item from its audio to its prediction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from valence_integrations import errors
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.open import is_file_object, open_clip
from valence_integrations._audio.routing import Part, Route, prepare
from valence_integrations._service.answers import read_discrete, read_timeline
from valence_integrations._store.cache import cache_key
from valence_integrations.engine._answers import CachedAnswer
from valence_integrations.engine._calls import Calls
from valence_integrations.engine._futures import PredictionFuture, when_all
from valence_integrations.engine._pool import Priority
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._recipes import Recipe, recipe_key
from valence_integrations.engine._schedule import Schedule
from valence_integrations.engine._segmented import Segmented, combine_segments, excerpts
from valence_integrations.results import EmotionPrediction

__all__ = ["Job"]

#: If reading and preparing an item takes longer, more threads start. Calls take 100 ms or more: this is at most 3 %.
_SLOW_SECONDS = 0.003


class Job:
    """Items that are annotated together."""

    def __init__(self, resources: ProcessResources) -> None:
        self._resources = resources
        self._settings = resources.settings
        self._schedule = Schedule(resources.pool, self._failed)
        self._calls = Calls(resources, self._schedule.stopped)

    def submit(self, item: object) -> PredictionFuture:
        """Start an item. Item errors are set on the prediction; an exception of the future is a bug of this library."""
        # A file object may be closed or read further before a thread starts on it.
        if is_file_object(item):
            item = self._open_now(item)
        elif isinstance(item, Segmented) and is_file_object(item.audio):
            item = replace(item, audio=self._open_now(item.audio))
        return self._start(item, Priority.ITEM)

    def wait(self, future: PredictionFuture) -> EmotionPrediction:
        """Wait for an item.

        Raises
        ------
        JobError
            As soon as the job fails, unless the item is done.
        """
        return self._schedule.wait(future)

    def stop(self) -> None:
        """Start no further calls."""
        self._schedule.stopped.set()

    def drain(self, seconds: float) -> int:
        """Wait until the answers to calls in flight, which may be billed, are stored; return how many calls remain."""
        return self._calls.answers.drain(seconds)

    def _start(self, item: object, priority: Priority) -> PredictionFuture:
        return self._schedule.start(priority, lambda future: self._annotate(item, future))

    def _failed(self, error: errors.ItemError) -> EmotionPrediction:
        self._resources.stats.add(failures=1)
        return EmotionPrediction(model=self._settings.model, error=error)

    def _open_now(self, item: object) -> object:
        try:
            return open_clip(item, self._settings.sampling_rate)
        except errors.ItemError as error:
            return error

    def _annotate(self, item: object, future: PredictionFuture) -> None:
        begin_time = time.perf_counter()
        audio = item.audio if isinstance(item, Segmented) else item
        if isinstance(audio, errors.ItemError):
            raise audio
        clip = audio if isinstance(audio, Clip) else open_clip(audio, self._settings.sampling_rate)
        if clip is None:
            future.set_result(EmotionPrediction(model=self._settings.model))
        elif isinstance(item, Segmented):
            self._schedule.run(future, clip.name, lambda: self._annotate_segments(clip, item, future))
        else:
            self._schedule.run(future, clip.name, lambda: self._annotate_clip(clip, begin_time, future))

    def _annotate_segments(self, clip: Clip, item: Segmented, future: PredictionFuture) -> None:
        """Annotate each segment as a separate item."""
        times, cut, duration = excerpts(item, clip)
        if not cut:
            future.set_result(EmotionPrediction(duration=duration, model=self._settings.model))
            return
        self._resources.prepare_ahead()
        started = [self._start(audio, Priority.CALL) for audio in cut]

        def finish() -> None:
            predictions = [each.result() for each in started]
            future.set_result(combine_segments(times, predictions, duration, self._settings.model))

        when_all(started, lambda: self._schedule.run(future, clip.name, finish, paid=True))

    def _annotate_clip(self, clip: Clip, begin_time: float, future: PredictionFuture) -> None:
        key = recipe_key(clip, self._settings)
        known = self._cached_prediction(key)
        if known is not None:
            future.set_result(known)
            return
        clip, route, parts = prepare(clip, self._settings)
        if time.perf_counter() - begin_time > _SLOW_SECONDS:
            self._resources.prepare_ahead()
        if key is not None and parts:
            self._calls.keep_recipe(key, Recipe.from_route(route, parts))
        self._send(clip, route, parts, key, future)

    def _cached_prediction(self, key: str | None) -> EmotionPrediction | None:
        """Prediction for a file that was sent before, without decoding it; None unless all its answers are cached."""
        recipe = None if key is None else self._calls.recipe(key)
        if recipe is None:
            return None
        kept = [self._calls.answers.cached(cache_key(self._settings, recipe.api, part.digest)) for part in recipe.parts]
        answers = [{**answer, "cached": True} for answer in kept if answer is not None]
        if len(answers) < len(kept):
            return None
        self._resources.stats.add(cache_hits=len(answers))
        return self._prediction(answers, recipe, [(part.start, part.end) for part in recipe.parts])

    def _send(
        self, clip: Clip, route: Route, parts: Sequence[Part], recipe_key: str | None, future: PredictionFuture
    ) -> None:
        if route.source is None:
            future.set_result(EmotionPrediction(duration=route.duration, model=self._settings.model))
            return
        if route.source == "asynch":
            answer = self._calls.asynch(clip, route.duration, recipe_key)
            self._finish_when_answered([answer], clip, route, parts, future)
            return
        answers = [Future[CachedAnswer]() for _ in parts]
        self._finish_when_answered(list(answers), clip, route, parts, future)
        for part, answer in zip(parts[1:], answers[1:], strict=True):
            self._resources.pool.submit(Priority.CALL, partial(self._calls.discrete, part, answer))
        self._calls.discrete(parts[0], answers[0])

    def _finish_when_answered(
        self,
        answers: list[Future[CachedAnswer]],
        clip: Clip,
        route: Route,
        parts: Sequence[Part],
        future: PredictionFuture,
    ) -> None:
        """Set the prediction once all answers are available."""
        times = [(part.start, part.end) for part in parts]

        def finish() -> None:
            future.set_result(self._prediction([answer.result() for answer in answers], route, times))

        when_all(answers, lambda: self._schedule.run(future, clip.name, finish, paid=True))

    def _prediction(
        self, answers: Sequence[CachedAnswer], route: Route | Recipe, times: Sequence[tuple[float, float]]
    ) -> EmotionPrediction:
        if route.source == "asynch":
            segments = list(read_timeline(answers[0]["response"], route.duration))
        else:
            segments = [
                read_discrete(answer["response"], start, end)
                for answer, (start, end) in zip(answers, times, strict=True)
            ]
        request_id = answers[-1].get("request_id") or answers[-1]["response"].get("request_id")
        return EmotionPrediction.from_segments(
            segments,
            source=route.source,
            duration=route.duration,
            padded=route.padded,
            cached=all(answer.get("cached", False) for answer in answers),
            request_id=None if request_id is None else str(request_id),
            model=self._settings.model,
        ).with_min_confidence(self._settings.min_confidence)
