"""
scikit-learn: train a classifier
================================

Combine Valence's emotion scores and librosa's MFCCs in a FeatureUnion, and cross-validate with separate speakers. With
the sandbox, the scores come from an acoustic rule: the results below show how to use the transformer, and say nothing
about the service.

Requires the extras ``sandbox`` and ``report``.
"""

from __future__ import annotations

import librosa
import numpy as np
import pandas as pd
import soundfile
from matplotlib import pyplot as plt
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from _service import AUDIO, service
from valence_integrations import ValenceEmotionTransformer

clips = pd.read_csv(AUDIO / "clips.csv")
clips["audio"] = [str(AUDIO / file) for file in clips["file"]]
print(f"{len(clips)} clips, {clips['speaker'].nunique()} speakers, {clips['label'].nunique()} classes")

# %%
# Scores as a table
# -----------------
# The table has one column for each emotion, named after the audio column.

table = ColumnTransformer([("valence", ValenceEmotionTransformer(output="both"), "audio")])
table.set_output(transform="pandas")
with service():
    scores = table.fit_transform(clips).set_axis(["angry", "happy", "neutral", "sad", "emotion"], axis="columns")
print(scores.assign(label=clips["label"]).head(5).round(2).to_string())

# %%
# How well do the scores separate the manners of speaking?

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for label, marker in zip(sorted(set(clips["label"])), "^oXs", strict=True):
    of_label = scores[clips["label"] == label]
    ax.scatter(of_label["happy"], of_label["sad"], 60, marker=marker, label=label, alpha=0.8)
ax.set(xlabel="score of happy", ylabel="score of sad", title="One point per clip, by manner of speaking")
ax.legend(title="spoken", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# Three sets of features
# ----------------------
# No speaker is in both the training and the test part of a fold. Each fold computes the scores again; they come from
# the cache.


def mfcc(paths: pd.Series) -> np.ndarray:
    """Mean and standard deviation of 13 MFCCs for each file."""
    rows = []
    for path in paths:
        waveform, rate = soundfile.read(path, always_2d=True)
        waveform = librosa.resample(waveform.mean(axis=1), orig_sr=rate, target_sr=16_000)
        coefficients = librosa.feature.mfcc(y=waveform, sr=16_000, n_mfcc=13)
        rows.append(np.concatenate([coefficients.mean(axis=1), coefficients.std(axis=1)]))
    return np.stack(rows)


features = {
    "emotion scores": ValenceEmotionTransformer(),
    "MFCCs": FunctionTransformer(mfcc),
    "both": FeatureUnion([("emotion", ValenceEmotionTransformer()), ("mfcc", FunctionTransformer(mfcc))]),
}
predictions = {}
with service():
    for name, feature in features.items():
        model = make_pipeline(
            ColumnTransformer([("audio", feature, "audio")]), StandardScaler(), LogisticRegression(max_iter=1000)
        )
        predictions[name] = cross_val_predict(
            model, clips[["audio"]], clips["label"], groups=clips["speaker"], cv=GroupKFold(n_splits=4)
        )

# %%
# The confusion matrices: rows are the manners of speaking, columns the predictions of the classifier.

figure, axes = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained", sharey=True)
for ax, (name, predicted) in zip(axes, predictions.items(), strict=True):
    accuracy = accuracy_score(clips["label"], predicted)
    print(f"{name:<16} accuracy {accuracy:.2f}")
    ConfusionMatrixDisplay.from_predictions(clips["label"], predicted, ax=ax, cmap="Blues", colorbar=False)
    ax.set(title=f"{name}: {accuracy:.0%} accuracy", xlabel="", ylabel="")
    ax.tick_params(axis="x", rotation=45)
axes[0].set_ylabel("spoken")
figure.supxlabel("predicted")
plt.show()
