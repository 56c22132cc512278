"""scikit-learn: train a classifier on emotion features beside MFCCs.

Valence's emotion scores and librosa's MFCCs stand side by side in a FeatureUnion; speakers are kept apart in the
cross-validation. With the sandbox, the scores come from an acoustic rule: the accuracies below then say how the
pieces fit together, and nothing about the service.
"""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import soundfile
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from _service import service
from valence_integrations import ValenceEmotionTransformer

AUDIO = Path(__file__).parent / "audio"


def mfcc(paths: pd.Series) -> np.ndarray:
    """Mean and standard deviation of 13 MFCCs for each file."""
    rows = []
    for path in paths:
        waveform, rate = soundfile.read(path, always_2d=True)
        waveform = librosa.resample(waveform.mean(axis=1), orig_sr=rate, target_sr=16_000)
        coefficients = librosa.feature.mfcc(y=waveform, sr=16_000, n_mfcc=13)
        rows.append(np.concatenate([coefficients.mean(axis=1), coefficients.std(axis=1)]))
    return np.stack(rows)


def main() -> None:
    clips = pd.read_csv(AUDIO / "clips.csv")
    clips["audio"] = [str(AUDIO / file) for file in clips["file"]]

    features = {
        "emotion scores": ValenceEmotionTransformer(),
        "MFCCs": FunctionTransformer(mfcc),
        "both": FeatureUnion([("emotion", ValenceEmotionTransformer()), ("mfcc", FunctionTransformer(mfcc))]),
    }
    print(f"{len(clips)} clips, {clips['speaker'].nunique()} speakers, {clips['label'].nunique()} classes; by speaker:")
    with service():
        for name, feature in features.items():
            model = make_pipeline(
                ColumnTransformer([("audio", feature, "audio")]), StandardScaler(), LogisticRegression(max_iter=1000)
            )
            folds = GroupKFold(n_splits=4)
            scores = cross_val_score(model, clips[["audio"]], clips["label"], groups=clips["speaker"], cv=folds)
            print(f"  {name:<16} accuracy {scores.mean():.2f} ± {scores.std():.2f}")

        table = ColumnTransformer([("valence", ValenceEmotionTransformer(output="both"), "audio")])
        table.set_output(transform="pandas")
        print("\n", table.fit_transform(clips.head(5)).round(2).to_string(), sep="")


if __name__ == "__main__":
    main()
