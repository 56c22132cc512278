"""
scikit-learn: train a classifier
================================

Valence's emotion scores and librosa's MFCCs stand side by side in a FeatureUnion; speakers are kept apart in the
cross-validation. With the sandbox, the scores come from an acoustic rule: the figures below then say how the pieces
fit together, and nothing about the service.

It needs the extras ``sandbox``, which brings librosa, and ``report``.
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
# One column for each emotion, named after the column of audio.

table = ColumnTransformer([("valence", ValenceEmotionTransformer(output="both"), "audio")])
table.set_output(transform="pandas")
with service():
    heard = table.fit_transform(clips).set_axis(["angry", "happy", "neutral", "sad", "emotion"], axis="columns")
print(heard.assign(label=clips["label"]).head(5).round(2).to_string())

# %%
# How far do they tell the manners of speaking apart?

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for label, marker in zip(sorted(set(clips["label"])), "^oXs", strict=True):
    of_label = heard[clips["label"] == label]
    ax.scatter(of_label["happy"], of_label["sad"], 60, marker=marker, label=label, alpha=0.8)
ax.set(xlabel="score of happy", ylabel="score of sad", title="One point a clip, by how it was spoken")
ax.legend(title="spoken", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# Three sets of features
# ----------------------
# No speaker is in both the training and the test part of a fold. The scores are asked for again in each fold; the
# cache answers.


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
guesses = {}
with service():
    for name, feature in features.items():
        model = make_pipeline(
            ColumnTransformer([("audio", feature, "audio")]), StandardScaler(), LogisticRegression(max_iter=1000)
        )
        guesses[name] = cross_val_predict(
            model, clips[["audio"]], clips["label"], groups=clips["speaker"], cv=GroupKFold(n_splits=4)
        )

# %%
# What is taken for what: a row is how clips were spoken, a column what the classifier says.

figure, axes = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained", sharey=True)
for ax, (name, guessed) in zip(axes, guesses.items(), strict=True):
    accuracy = accuracy_score(clips["label"], guessed)
    print(f"{name:<16} accuracy {accuracy:.2f}")
    ConfusionMatrixDisplay.from_predictions(clips["label"], guessed, ax=ax, cmap="Blues", colorbar=False)
    ax.set(title=f"{name}: {accuracy:.0%} right", xlabel="", ylabel="")
    ax.tick_params(axis="x", rotation=45)
axes[0].set_ylabel("spoken")
figure.supxlabel("guessed")
plt.show()
