"""Run through many items: yield predictions in order, show progress, write the log, keep paid answers at the end."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TypeAlias

from valence_integrations.engine._exit import INTERRUPT_SECONDS
from valence_integrations.engine._futures import PredictionFuture
from valence_integrations.engine._job import Job
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._progress import Progress
from valence_integrations.errors import ValenceError
from valence_integrations.results import EmotionPrediction

__all__ = ["OnDone", "run"]

#: Called with the position and the prediction of each finished item.
OnDone: TypeAlias = "Callable[[int, EmotionPrediction], object]"

#: The AsynchAPI takes no model parameter; its answers have the emotions of this model.
_ASYNCH_MODEL = "4emotions"
_NO_MODEL = (
    "The AsynchAPI takes no model: long items are not answered by {!r}, but by the account's own. "
    'Use long_audio="chunk" (command line: --long chunk) for the same model everywhere.'
)

_log = logging.getLogger("valence_integrations")

_run_numbers = itertools.count(1)


def run(
    resources: ProcessResources,
    items: Iterator[object],
    total: int | None,
    progress: bool | Progress,
    ahead: int,
    failed: dict[int, ValenceError],
    on_done: OnDone | None = None,
) -> Generator[EmotionPrediction, None, int]:
    """Annotate items lazily; return their number.

    Parameters
    ----------
    resources : ProcessResources
        Resources of the engine in this process.
    items : iterator
        Read lazily, at most `ahead` items ahead of the awaited one.
    total : int or None
        Number of items, if known.
    progress : bool or Progress
        Whether to show a bar, or a bar shared by several runs.
    ahead : int
        Items to start ahead of the awaited one.
    failed : dict
        Filled with the error of each failed item, by position.
    on_done : callable, optional
        See `Engine.iter_predict`.
    """
    resources.check_process()
    job = Job(resources)
    number, model = next(_run_numbers), resources.settings.model
    shared = progress if isinstance(progress, Progress) else None
    tracker = shared or Progress(total, resources.stats, windows=lambda: resources.windows, show=bool(progress))
    pending: deque[PredictionFuture] = deque()
    more, submitted = True, 0
    _log.info("job %d begins: %s items, model %s at %s", number, total, model, resources.settings.base_url)
    try:
        for index in itertools.count():
            while more and len(pending) < ahead:
                try:
                    item = next(items)
                except StopIteration:
                    more = False
                    break
                future = job.submit(item)
                if on_done is not None:
                    future.add_done_callback(partial(_report, on_done, submitted))
                # Last: what the tracker has counted is reported.
                pending.append(tracker.watch(future))
                submitted += 1
            if not pending:
                break
            prediction = job.wait(pending.popleft())
            if prediction.error is not None:
                failed[index] = prediction.error
                _log.warning("job %d, item %d: %s: %s", number, index, *_describe(prediction.error))
            if prediction.source == "asynch" and model != _ASYNCH_MODEL:
                warnings.warn(_NO_MODEL.format(model), stacklevel=4)
            yield prediction
            resources.check_process()
        tracker.finish()
        _log.info("job %d ends: %s", number, tracker.summary())
    except GeneratorExit:
        _log.info("job %d is left: %s", number, tracker.summary())
        raise
    except KeyboardInterrupt:
        unanswered = _drain(job, tracker, INTERRUPT_SECONDS)
        message = tracker.interrupted(unanswered, kept=resources.cache is not None and resources.cache.is_persistent)
        _log.warning("job %d: %s", number, message)
        # The message is the last line of the traceback, and available to code that catches the exception.
        raise KeyboardInterrupt(message) from None
    except BaseException as error:
        if not resources.is_forked:
            _drain(job, tracker, resources.settings.timeout[1])
        _log.error("job %d stops: %s: %s; %s", number, *_describe(error), tracker.summary())
        raise
    else:
        return submitted
    finally:
        if not resources.is_forked:  # another thread may have held their locks at the fork
            job.stop()
            if shared is None:
                tracker.close()


def _report(on_done: OnDone, position: int, future: PredictionFuture) -> None:
    if not future.cancelled() and future.exception() is None:
        on_done(position, future.result())


def _drain(job: Job, tracker: Progress, seconds: float) -> int:
    """Stop the job and wait for calls in flight and for their items; return how many were not answered."""
    job.stop()
    unanswered = job.drain(seconds)
    tracker.finish()
    return unanswered


def _describe(error: BaseException) -> tuple[str, str]:
    """Type and message of an error; only messages of this library are free of secrets."""
    return type(error).__name__, str(error) if isinstance(error, ValenceError) else "not an error of this library"
