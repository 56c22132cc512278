"""Warnings of a job, issued at the line that called this library."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from valence_integrations.errors import PartialFailureWarning, ValenceError
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import EMOTIONS, Settings

__all__ = ["calling_line", "warn_outside", "warn_partial_failure", "warn_unknown_emotions"]

#: Packages whose frames are between the caller's line and the place of a warning.
_PASSED = (__name__.partition(".")[0], "sklearn", "datasets", "transformers", "joblib")


def warn_unknown_emotions(
    predictions: Sequence[EmotionPrediction], settings: Settings, *, labelled: bool = True
) -> None:
    """Warn of emotions without a column, and of columns that no answer can fill.

    Parameters
    ----------
    predictions : sequence of EmotionPrediction
        Predictions of a job, or of a batch.
    settings : Settings
        Settings with the columns.
    labelled : bool, default=True
        Whether the output has labels. Otherwise an emotion without a column matters only if it leaves zeros in a row.
    """
    columns = settings.columns
    unknown = {
        found.emotion
        for found in predictions
        if found.emotion is not None
        and found.emotion not in columns
        and (labelled or found.scores.keys().isdisjoint(columns))
    }
    if unknown:
        names = sorted(unknown)
        message = f"Some items have emotions without a column: {', '.join(names)}."
        warn_outside(UserWarning(f"{message} Pass emotions={(*columns, *names)!r} to get them."))
    answered = {name for found in predictions for name in found.scores}
    empty = [name for name in columns if name not in (*answered, *EMOTIONS.get(settings.model, ()))]
    if answered and empty:
        warn_outside(
            UserWarning(
                f"No answer names {', '.join(empty)}: these columns are 0. The answers name "
                f"{', '.join(sorted(answered))}; check emotions."
            )
        )


def warn_partial_failure(errors: Mapping[Any, ValenceError], total: int) -> None:
    """Warn of the failed items of a job, if there are any."""
    if errors:
        warn_outside(PartialFailureWarning(errors, total))


def warn_outside(warning: Warning) -> None:
    """Issue a warning at the line that called this library, directly or through a framework."""
    warnings.warn(warning, stacklevel=_outside()[1] + 1)


def calling_line() -> tuple[int, int]:
    """Return a value that identifies the call of this library, directly or through a framework, while it lasts."""
    frame, _ = _outside()
    return id(frame), frame.f_lasti


def _outside() -> tuple[FrameType, int]:
    """First frame outside of this library and of frameworks, and its level above the caller of this function."""
    frame, level = sys._getframe(1), 0
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED:
        frame, level = frame.f_back, level + 1
    return frame, level
