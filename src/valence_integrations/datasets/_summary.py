"""Progress bar and final summary of annotated rows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from valence_integrations._format import counted, span
from valence_integrations.datasets._failures import predict_all
from valence_integrations.engine import Engine, Progress, warn_partial_failure, warn_unknown_emotions
from valence_integrations.errors import ValenceError
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import OnError

__all__ = ["Summary"]

_LABELLED, _UNSURE, _EMPTY, _FAILED = "labelled", "under min_confidence", "missing or skipped", "failed"


class Summary:
    """Counts the rows of all splits by result.

    Parameters
    ----------
    engine : Engine
        Engine that makes the predictions.
    rows : int
        Total number of rows.
    show : bool
        Whether to show a bar.

    Attributes
    ----------
    split : str or None
        Name of the current split.
    seen : int
        Rows annotated so far.
    """

    def __init__(self, engine: Engine, rows: int, *, show: bool) -> None:
        self.split: str | None = None
        self.seen = 0
        self._engine = engine
        self._rows = rows
        self._kept = self._cached = 0
        self._states = Counter({_LABELLED: 0, _UNSURE: 0, _EMPTY: 0, _FAILED: 0})
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}
        self._errors: dict[int | tuple[str, int], ValenceError] = {}
        self._show = show
        self._bar: Progress | None = None
        self._started = time.monotonic()

    def predict_many(
        self, items: Sequence[object], on_error: OnError, indices: Sequence[int]
    ) -> list[EmotionPrediction]:
        """Annotate and count the rows with these indices."""
        if self._show and self._bar is None:
            self._bar = self._engine.progress(self._rows - self._kept)
        bar = self._bar or False
        if on_error == "raise":
            predictions = self._engine.predict_many(items, progress=bar)
        else:
            predictions = predict_all(self._engine, items, bar)
        warn_unknown_emotions(predictions, self._engine.settings)
        for index, prediction in zip(indices, predictions, strict=True):
            self._count(index, prediction)
        return predictions

    def skip(self, rows: int) -> None:
        """Count rows that were not annotated, because `datasets` had cached their result."""
        self._kept += rows
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= rows

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def warn(self) -> None:
        """Warn of the failed rows, if there are any."""
        warn_partial_failure(self._errors, self.seen)

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started
        duration = f"{seconds:.1f} s" if seconds < 60 else span(seconds)
        counts = [
            f"{count:,} {state}" for state, count in self._states.items() if count or state in (_LABELLED, _FAILED)
        ]
        if self._kept:
            counts.append(f"{self._kept:,} kept by datasets")
        rows = counted(self._rows, "row")
        lines = [f"emotions: {rows} in {duration}: {', '.join(counts)}; {self._cached:,} from the cache"]
        lines += [
            f"  {count:,} {reason}, such as {self._examples[reason]}" for reason, count in self._reasons.most_common()
        ]
        return "\n".join(lines)

    def _count(self, index: int, prediction: EmotionPrediction) -> None:
        self.seen += 1
        self._cached += prediction.cached
        if prediction.error is not None:
            reason = prediction.error.code
            self._reasons[reason] += 1
            split = f" of {self.split}" if self.split else ""
            self._examples.setdefault(reason, f"row {index}{split}: {prediction.error}")
            self._states[_FAILED] += 1
            self._errors[index if self.split is None else (self.split, index)] = prediction.error
        elif prediction.emotion is not None:
            self._states[_LABELLED] += 1
        else:
            self._states[_EMPTY if prediction.source is None else _UNSURE] += 1
