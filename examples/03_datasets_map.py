"""
datasets: annotate an audio column
==================================

The column is an ``Audio()`` feature. It is not decoded, so torchcodec is not needed, and a WAV file that the service
accepts is sent unchanged.

Requires the extras ``sandbox``, ``datasets`` and ``report``.
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
# The types of the new columns do not depend on the first rows.

for name, feature in dataset.features.items():
    print(f"{name:<20} {feature}")

# %%
# Scores are a struct. Expand them to the columns of a table.

rows = dataset.remove_columns("audio").to_pandas()
print(rows[["label", "emotion", "emotion_confidence", "emotion_source"]].head(6).round(2).to_string())

scores = pd.DataFrame(list(rows["emotion_scores"])).assign(label=rows["label"]).groupby("label").mean()

# %%
# Plot the mean scores by label, and the confidence by emotion. The vendor recommends dropping emotions below the dashed
# line (``min_confidence=0.38``).

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
image = left.imshow(scores, vmin=0, vmax=1, cmap="viridis")
left.set(xticks=range(scores.shape[1]), xticklabels=scores.columns, yticks=range(len(scores)), yticklabels=scores.index)
left.set(xlabel="mean score of", ylabel="label", title="Scores by label")
for place, score in ((place, scores.iloc[place]) for place in ((i, j) for i in range(4) for j in range(4))):
    left.text(*reversed(place), f"{score:.2f}", ha="center", va="center", color="white" if score < 0.6 else "black")

emotions = sorted(set(rows["emotion"]))
right.boxplot([rows.loc[rows["emotion"] == emotion, "emotion_confidence"] for emotion in emotions], widths=0.5)
for place, emotion in enumerate(emotions, start=1):
    confidences = rows.loc[rows["emotion"] == emotion, "emotion_confidence"]
    right.scatter([place] * len(confidences), confidences, s=16, alpha=0.6)
counts = rows["emotion"].value_counts()
right.set_xticks(range(1, len(emotions) + 1), [f"{emotion}\n{counts[emotion]} clips" for emotion in emotions])
right.axhline(0.38, linestyle="--", color="0.5")
right.set(ylim=(0, 1), ylabel="confidence", title="Confidence by emotion")
right.spines[["top", "right"]].set_visible(False)
plt.show()
