"""Long calls: a timeline, by two ways.

``long_audio="asynch"`` (the default) uploads the file to the AsynchAPI: one emotion for each 5 s, and the vendor keeps
the file for a while. ``long_audio="chunk"`` cuts it at pauses into clips of 5 to 15 s for the DiscreteAPI: nothing is
stored at the vendor, and each clip is a call.
"""

from __future__ import annotations

import csv
from pathlib import Path

from _service import service
from valence_integrations import EmotionPrediction, Engine, Settings

AUDIO = Path(__file__).parent / "audio"


def speaker_at(turns: list[dict[str, str]], seconds: float) -> str:
    return next((t["speaker"] for t in turns if float(t["start"]) <= seconds < float(t["end"])), "(pause)")


def timeline(prediction: EmotionPrediction, turns: list[dict[str, str]]) -> None:
    print(f"\n{prediction.source}: {len(prediction.segments)} segments, {prediction.duration:.0f} s")
    print(f"{'from':>8}{'to':>8}  {'speaker':<9}{'emotion':<10}confidence")
    for segment in prediction.segments:
        middle = (segment.start + segment.end) / 2
        print(
            f"{segment.start:>8.1f}{segment.end:>8.1f}  {speaker_at(turns, middle):<9}"
            f"{segment.emotion:<10}{segment.confidence:.2f}"
        )
    means = ", ".join(f"{emotion} {score:.2f}" for emotion, score in prediction.scores.items())
    print(f"Over the whole call: {prediction.emotion} ({means})")


def main() -> None:
    with (AUDIO / "call.csv").open(newline="") as file:
        turns = list(csv.DictReader(file))
    with service():
        for way in ("asynch", "chunk"):
            with Engine(Settings(long_audio=way)) as engine:
                timeline(engine.predict(AUDIO / "call.mp3"), turns)
                print(f"{engine.stats.calls} calls")


if __name__ == "__main__":
    main()
