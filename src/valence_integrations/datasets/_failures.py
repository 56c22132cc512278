"""Failed rows of ``map`` calls: predicted without an exception, and warned of at most once a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from valence_integrations.engine import Engine, Progress, calling_line, warn_partial_failure
from valence_integrations.errors import BatchError
from valence_integrations.results import EmotionPrediction

__all__ = ["FailureWarnings", "predict_all", "warn_failures"]

#: ``map`` calls its function for each row or batch, and does not tell it when the last one is done.
_SECONDS_BETWEEN_WARNINGS = 60.0


def predict_all(engine: Engine, items: Sequence[object], progress: bool | Progress = False) -> list[EmotionPrediction]:
    """Annotate items; failed ones neither raise nor warn."""
    try:
        return engine.predict_many(items, "raise", progress)
    except BatchError as error:
        return error.predictions


class FailureWarnings:
    """Warn of the failed rows of a batch: the first time for a line that calls ``map``, then once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._line: object = None
        self._again = 0.0

    def __call__(self, predictions: Sequence[EmotionPrediction]) -> None:
        errors = {index: found.error for index, found in enumerate(predictions) if found.error is not None}
        if not errors:
            return
        line, now = calling_line(), self._clock()
        if line != self._line or now >= self._again:
            self._line, self._again = line, now + _SECONDS_BETWEEN_WARNINGS
            warn_partial_failure(errors, len(predictions))


#: For all annotators of this process.
warn_failures = FailureWarnings()
