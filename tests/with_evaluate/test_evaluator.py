"""Use the pipeline with ``evaluate.evaluator("audio-classification")``."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import pandas as pd
import pytest
from datasets import Audio, ClassLabel, Dataset

from tests.conftest import EXAMPLES
from valence_integrations import ValenceEmotionPipeline, errors
from valence_integrations.sandbox import Sandbox

CLIPS = pd.read_csv(EXAMPLES / "audio" / "clips.csv").head(12)
PATHS = [str(EXAMPLES / "audio" / name) for name in CLIPS["file"]]
EMOTIONS = ["angry", "happy", "neutral", "sad"]


class Accuracy(evaluate.Metric):
    """Share of correct labels, without a metric from the Hub."""

    kind = "string"

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value(self.kind)
        features = datasets.Features({"predictions": value, "references": value})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        correct = [found == label for found, label in zip(predictions, references, strict=True)]
        return {"accuracy": sum(correct) / len(correct)}


class AccuracyOfNumbers(Accuracy):
    kind = "int64"


@pytest.fixture
def pipe(sandbox: Sandbox) -> ValenceEmotionPipeline:
    return ValenceEmotionPipeline(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)


@pytest.fixture
def accuracy(pipe: ValenceEmotionPipeline) -> float:
    found = [labels[0]["label"] for labels in pipe(PATHS)]
    return sum(one == label for one, label in zip(found, CLIPS["label"], strict=True)) / len(found)


def test_paths(pipe: ValenceEmotionPipeline, accuracy: float) -> None:
    data = Dataset.from_dict({"file": PATHS, "label": list(CLIPS["label"])})
    result = evaluate.evaluator("audio-classification").compute(pipe, data, metric=Accuracy())
    assert result["accuracy"] == pytest.approx(accuracy)
    assert 0 < accuracy <= 1
    assert result["samples_per_second"] > 0


def test_items_are_sent_concurrently() -> None:
    data = Dataset.from_dict({"file": PATHS, "label": list(CLIPS["label"])})
    with Sandbox(latency=0.05) as sandbox:
        pipe = ValenceEmotionPipeline(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
        evaluate.evaluator("audio-classification").compute(pipe, data, metric=Accuracy())
        assert sandbox.max_in_flight == 5


def test_undecoded_audio_and_integer_labels(pipe: ValenceEmotionPipeline, accuracy: float) -> None:
    data = Dataset.from_dict({"audio": PATHS, "label": list(CLIPS["label"])})
    data = data.cast_column("audio", Audio()).cast_column("label", ClassLabel(names=EMOTIONS))
    result = evaluate.evaluator("audio-classification").compute(
        pipe,
        data,
        metric=AccuracyOfNumbers(),
        input_column="audio",
        label_mapping={emotion: number for number, emotion in enumerate(EMOTIONS)},
    )
    assert result["accuracy"] == pytest.approx(accuracy)


def test_bootstrap_confidence_interval(pipe: ValenceEmotionPipeline, accuracy: float) -> None:
    data = Dataset.from_dict({"file": PATHS, "label": list(CLIPS["label"])})
    result = evaluate.evaluator("audio-classification").compute(
        pipe, data, metric=Accuracy(), strategy="bootstrap", n_resamples=20, random_state=0
    )
    assert result["accuracy"]["score"] == pytest.approx(accuracy)
    low, high = result["accuracy"]["confidence_interval"]
    assert 0 <= low <= high <= 1


def test_failed_items_are_listed(pipe: ValenceEmotionPipeline) -> None:
    data = Dataset.from_dict({"file": [PATHS[0], "/nowhere/a.wav"], "label": ["angry", "sad"]})
    with pytest.raises(errors.BatchError, match=r"1 of 2 items failed(.|\n)*item 1: /nowhere/a.wav"):
        evaluate.evaluator("audio-classification").compute(pipe, data, metric=Accuracy())
