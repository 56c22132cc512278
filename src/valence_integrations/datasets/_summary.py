"""What becomes of the rows of a dataset: a bar while they are annotated, and a summary at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from valence_integrations.engine import Engine, Progress
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import OnError

__all__ = ["Report"]

_LABELLED, _UNSURE, _EMPTY, _FAILED = "labelled", "under min_confidence", "missing or skipped", "failed"


class Report:
    """Counts rows, over all splits.

    Parameters
    ----------
    engine : Engine
        Makes the predictions.
    rows : int
        How many rows there are.
    show : bool
        Whether there is to be a bar.

    Attributes
    ----------
    split : str or None
        Name of the split that is annotated.
    seen : int
        Rows that were annotated until now.
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
        self._show = show
        self._bar: Progress | None = None
        self._begun = time.monotonic()

    def predict_many(
        self, items: Sequence[object], on_error: OnError, indices: Sequence[int]
    ) -> list[EmotionPrediction]:
        """Annotate the rows with these indices."""
        if self._show and self._bar is None:
            self._bar = self._engine.progress(self._rows - self._kept)
        predictions = self._engine.predict_many(items, on_error, progress=self._bar or False)
        for index, prediction in zip(indices, predictions, strict=True):
            self._count(index, prediction)
        return predictions

    def keep(self, rows: int) -> None:
        """Say that rows were not annotated, since `datasets` has kept them."""
        self._kept += rows
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= rows

    def close(self) -> None:
        """Show the bar no longer."""
        if self._bar is not None:
            self._bar.close()

    def __str__(self) -> str:
        seconds = time.monotonic() - self._begun
        span = f"{seconds:.1f} s" if seconds < 60 else tqdm.format_interval(seconds)
        counts = [
            f"{count:,} {state}" for state, count in self._states.items() if count or state in (_LABELLED, _FAILED)
        ]
        if self._kept:
            counts.append(f"{self._kept:,} kept by datasets")
        rows = "1 row" if self._rows == 1 else f"{self._rows:,} rows"
        lines = [f"emotions: {rows} in {span}: {', '.join(counts)}; {self._cached:,} from the cache"]
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
        elif prediction.emotion is not None:
            self._states[_LABELLED] += 1
        else:
            self._states[_EMPTY if prediction.source is None else _UNSURE] += 1
