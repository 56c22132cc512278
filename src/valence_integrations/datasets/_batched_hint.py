"""The hint that ``batched=True`` is faster, once a process has made many live calls one after the other."""

from __future__ import annotations

import itertools
import warnings

from valence_integrations.results import EmotionPrediction

__all__ = ["warn_sequential_calls"]

#: Sequential live calls after which a warning recommends ``batched=True``.
_CALLS_UNTIL_WARNING = 30

_sequential_calls = itertools.count(1)


def warn_sequential_calls(prediction: EmotionPrediction) -> None:
    """Count the call behind a prediction, and warn once there are many."""
    live = prediction.source is not None and not prediction.cached
    if live and next(_sequential_calls) == _CALLS_UNTIL_WARNING:
        warnings.warn(
            f"{_CALLS_UNTIL_WARNING} calls were made one after the other. map(..., batched=True) makes them in "
            "parallel, several times as fast.",
            UserWarning,
            stacklevel=5,
        )
