"""HTML report on the results of a job, in one file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from valence_integrations.report._page import page
from valence_integrations.report._summary import Summary
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import Settings

__all__ = ["write_report"]


def write_report(
    path: str | os.PathLike[str],
    items: Iterable[tuple[str | os.PathLike[str], EmotionPrediction]],
    *,
    settings: Settings | None = None,
    stats: Any = None,
    title: str = "Emotions",
) -> None:
    """Write an HTML report about a job: one self-contained file, without network access or scripts.

    It shows the distribution of emotions and confidences, a timeline of each long item, the least certain items, the
    failures by cause and how to fix them, the items that were padded, cut or uploaded, and the cost. It stays under
    2 MB for any number of items: long lists are cut off, with a note.

    Parameters
    ----------
    path : str or path
        The file to write. It is written atomically.
    items : iterable of (str or path, EmotionPrediction)
        Name and prediction of each item, such as ``zip(paths, predictions)``; read once.
    settings : Settings, optional
        The settings to list, without the API key.
    stats : engine.Stats or mapping of str to float, optional
        Counters of the engine, for the cost of the job.
    title : str, default="Emotions"
        Heading of the report.

    Raises
    ------
    TypeError
        If an item is not such a pair.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from valence_integrations import EmotionPrediction, EmotionSegment
    >>> from valence_integrations.report import write_report
    >>> happy = EmotionPrediction.from_segments([EmotionSegment(0.0, 6.0, "happy", 0.78, {"happy": 0.78, "sad": 0.1})])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = Path(folder) / "report.html"
    ...     write_report(report, [("greeting.wav", happy)], title="Greetings")
    ...     "<h1>Greetings</h1>" in report.read_text(encoding="utf-8")
    True
    """
    summary = Summary()
    for number, item in enumerate(items):
        name, prediction = _pair(item, number)
        summary.add(name, prediction)
    counters: Mapping[str, float] | None = stats.as_dict() if hasattr(stats, "as_dict") else stats
    # Python represents undecodable bytes of a file name as surrogates.
    _write(Path(path), page(summary, settings, counters, title).encode("utf-8", "backslashreplace"))


def _pair(item: Any, number: int) -> tuple[str, EmotionPrediction]:
    match item:
        case (str() | os.PathLike() as name, EmotionPrediction() as prediction):
            return os.fsdecode(name), prediction
    raise TypeError(
        f"item {number} must be a pair (name, EmotionPrediction), not {type(item).__name__}: "
        "pass zip(names, predictions)."
    )


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
