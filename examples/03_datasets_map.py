"""Hugging Face datasets: annotate an audio column with ``dataset.map``.

The column is an ``Audio()`` feature, and is not decoded on the way: a WAV file that the service takes travels byte for
byte, and torchcodec is not needed.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from datasets import Audio, Dataset

from _service import service
from valence_integrations import valence_annotate

AUDIO = Path(__file__).parent / "audio"


def main() -> None:
    with (AUDIO / "clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    dataset = Dataset.from_dict(
        {"audio": [str(AUDIO / row["file"]) for row in rows], "label": [row["label"] for row in rows]}
    ).cast_column("audio", Audio())

    with service():
        dataset = dataset.map(valence_annotate, batched=True)

    print("New columns:")
    for name, feature in dataset.features.items():
        print(f"  {name:<20} {feature}")
    print("\nThe first rows:")
    for row in dataset.select_columns(["label", "emotion", "emotion_confidence", "emotion_source"]).select(range(6)):
        print(f"  {row['label']:<9} -> {row['emotion']:<9} {row['emotion_confidence']:.2f}  {row['emotion_source']}")
    print("\nLabels against emotions:")
    for (label, emotion), count in sorted(Counter(zip(dataset["label"], dataset["emotion"], strict=True)).items()):
        print(f"  {label:<9} {emotion:<9} {'█' * count} {count}")


if __name__ == "__main__":
    main()
