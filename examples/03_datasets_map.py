"""
datasets: annotate an audio column
==================================

The column is an ``Audio()`` feature, and is not decoded on the way: a WAV file that the service takes travels byte for
byte, and torchcodec is not needed.

It needs the extras ``sandbox``, ``datasets`` and ``report``.
"""

from __future__ import annotations

import pandas as pd
from datasets import Audio, Dataset
from matplotlib import pyplot as plt

from _service import AUDIO, service
from valence_integrations import valence_annotate

clips = pd.read_csv(AUDIO / "clips.csv")
dataset = Dataset.from_dict(
    {"audio": [str(AUDIO / file) for file in clips["file"]], "label": list(clips["label"])}
).cast_column("audio", Audio())

with service():
    dataset = dataset.map(valence_annotate, batched=True)

# %%
# The new columns are typed, whatever the first rows hold.

for name, feature in dataset.features.items():
    print(f"{name:<20} {feature}")

# %%
# Scores are a struct, and become columns of a table.

rows = dataset.remove_columns("audio").to_pandas()
print(rows[["label", "emotion", "emotion_confidence", "emotion_source"]].head(6).round(2).to_string())

scores = pd.DataFrame(list(rows["emotion_scores"])).assign(label=rows["label"]).groupby("label").mean()

# %%
# The dataset at a glance: what is heard in the clips of each label, and how sure of it the service is. Under the
# dashed line lie the emotions that the vendor recommends to drop (``min_confidence=0.38``).

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
image = left.imshow(scores, vmin=0, vmax=1, cmap="viridis")
left.set(xticks=range(scores.shape[1]), xticklabels=scores.columns, yticks=range(len(scores)), yticklabels=scores.index)
left.set(xlabel="mean score of", ylabel="label", title="Scores by label")
for place, score in ((place, scores.iloc[place]) for place in ((i, j) for i in range(4) for j in range(4))):
    left.text(*reversed(place), f"{score:.2f}", ha="center", va="center", color="white" if score < 0.6 else "black")

emotions = sorted(set(rows["emotion"]))
right.boxplot([rows.loc[rows["emotion"] == emotion, "emotion_confidence"] for emotion in emotions], widths=0.5)
for place, emotion in enumerate(emotions, start=1):
    sure = rows.loc[rows["emotion"] == emotion, "emotion_confidence"]
    right.scatter([place] * len(sure), sure, s=16, alpha=0.6)
counts = rows["emotion"].value_counts()
right.set_xticks(range(1, len(emotions) + 1), [f"{emotion}\n{counts[emotion]} clips" for emotion in emotions])
right.axhline(0.38, linestyle="--", color="0.5")
right.set(ylim=(0, 1), ylabel="confidence", title="Confidence by emotion")
right.spines[["top", "right"]].set_visible(False)
plt.show()
