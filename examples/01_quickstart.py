"""
Quickstart: audio files in, emotions out
========================================

Annotate the example clips, of any format and length. Short clips are padded, clips of 5 to 15 s take one call, and the
two-minute call goes to the AsynchAPI, which returns a timeline.
"""
# sphinx_gallery_thumbnail_path = "_static/scores.svg"

from __future__ import annotations

from pathlib import Path

from _service import AUDIO, service
from valence_integrations import EmotionPrediction, Engine

FORMATS = {".wav", ".flac", ".mp3", ".ogg", ".opus"}

paths = sorted(path for path in AUDIO.iterdir() if path.suffix in FORMATS)
with service(), Engine() as engine:
    predictions = engine.predict_many(paths, progress=True)
    stats = engine.stats

# %%
# Each file has one prediction, in order, with its emotion, its confidence and its route.

BAR = 12


def bar(score: float) -> str:
    filled = round(score * BAR)
    return "█" * filled + "·" * (BAR - filled)


def row(path: Path, prediction: EmotionPrediction) -> str:
    route = f"{prediction.source}{', padded' if prediction.padded else ''}"
    return (
        f"{path.name:<18}{prediction.duration:>7.1f} s  {route:<17}"
        f"{prediction.emotion:<9}{bar(prediction.confidence)} {prediction.confidence:.2f}"
    )


print(f"\n{'file':<18}{'length':>9}  {'route':<17}{'emotion':<9}confidence")
for path, prediction in zip(paths, predictions, strict=True):
    print(row(path, prediction))

# %%
# The longest file is a call of two minutes. Its segments show when the emotion changes.

path, longest = max(zip(paths, predictions, strict=True), key=lambda pair: pair[1].duration)
print(f"\n{path.name}, one emotion for each 5 s:")
for segment in longest.segments:
    minutes, seconds = divmod(segment.start, 60)
    print(f"  {minutes:.0f}:{seconds:02.0f}  {segment.emotion:<9}{bar(segment.confidence)} {segment.confidence:.2f}")

print(f"\n{len(paths)} files, {stats.audio_seconds / 60:.1f} minutes of audio sent in {stats.calls} calls.")

# %%
# In a notebook, a prediction at the end of a cell is displayed as a strip. Hover over it for details.

longest
