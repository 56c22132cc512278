from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset

from tests.conftest import EXAMPLES, voice
from valence_integrations import EmotionPrediction, Engine, Settings, ValenceEmotionPipeline, errors
from valence_integrations.sandbox import Sandbox

SPEECH = [str(EXAMPLES / "audio" / name) for name in ("ben_happy.wav", "ben_sad.ogg", "carl_angry.flac")]
BROKEN = "/nowhere/a.wav"


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_BASE_URL", service.url)
    monkeypatch.setenv("VALENCE_API_KEY", service.api_key)


def labels(prediction: EmotionPrediction) -> list[dict[str, Any]]:
    ranked = sorted(prediction.scores.items(), key=lambda pair: -pair[1])
    return [{"score": score, "label": label} for label, score in ranked]


def said(*items: object) -> list[list[dict[str, Any]]]:
    return [labels(prediction) for prediction in Engine().predict_many(items, on_error="null")]


def wav_of(wave: np.ndarray, rate: int) -> io.BytesIO:
    soundfile.write(file := io.BytesIO(), wave, rate, format="WAV")
    file.seek(0)
    return file


WAVE = voice(5)
ONE: dict[str, Any] = {
    "path": SPEECH[0],
    "Path": Path(SPEECH[0]),
    "bytes": Path(SPEECH[0]).read_bytes(),
    "memoryview": memoryview(Path(SPEECH[0]).read_bytes()),
    "waveform": WAVE,
    "list of numbers": WAVE.tolist(),
    "tuple of numbers": tuple(WAVE.tolist()),
    "list of numpy numbers": list(WAVE),
    "channels": np.stack([WAVE, WAVE / 2], axis=1),
    "waveform and rate": (WAVE[::2], 8_000),
    "list and rate": (WAVE[::2].tolist(), np.int64(8_000)),
    "array": {"array": WAVE, "sampling_rate": 16_000},
    "raw": {"raw": WAVE, "sampling_rate": 16_000},
    "file of datasets": {"bytes": None, "path": SPEECH[0]},
}


@pytest.mark.parametrize("item", ONE.values(), ids=ONE)
def test_one_item(item: Any) -> None:
    (expected,) = said(item)
    assert ValenceEmotionPipeline()(item) == expected
    assert [label["score"] for label in expected] == sorted((label["score"] for label in expected), reverse=True)
    assert {label["label"] for label in expected} == {"angry", "happy", "neutral", "sad"}


def test_one_file_object() -> None:
    file = wav_of(WAVE, 16_000)
    assert ValenceEmotionPipeline()(file) == said(file)[0]


def test_a_list_gives_a_list() -> None:
    classify = ValenceEmotionPipeline()
    for items in (SPEECH, tuple(SPEECH), [SPEECH[0]], [WAVE.tolist(), WAVE], [(WAVE, 16_000), (WAVE, 8_000)], []):
        assert classify(items) == said(*items)


class Indexed:
    """A torch dataset, such as a ``KeyDataset``: it can be indexed beyond its end, and not iterated over."""

    __iter__ = None

    def __len__(self) -> int:
        return len(SPEECH)

    def __getitem__(self, index: int) -> str:
        return (SPEECH * 2)[index]


def test_other_iterables_give_an_iterator() -> None:
    classify = ValenceEmotionPipeline()
    dataset = Dataset.from_dict({"audio": SPEECH})
    decoded = dataset.cast_column("audio", Audio())
    for items in (iter(SPEECH), np.array(SPEECH), Indexed(), dataset["audio"], decoded["audio"]):
        found = classify(items)
        assert isinstance(found, types.GeneratorType)
        assert list(found) == said(*SPEECH)


def test_the_iterator_is_lazy_and_its_items_are_sent_side_by_side() -> None:
    read = []

    def items() -> Iterator[np.ndarray]:
        for seed in range(60):
            read.append(seed)
            yield voice(5, seed=seed)

    with Sandbox(latency=0.05) as sandbox:
        classify = ValenceEmotionPipeline(base_url=sandbox.url, api_key=sandbox.api_key, concurrency=4, cache=False)
        found = classify(items())
        assert read == []
        first = [next(found) for _ in range(10)]
        assert 10 < len(read) <= 30
        assert sandbox.max_in_flight >= 3
        found.close()
    assert first == said(*(voice(5, seed=seed) for seed in range(10)))


def test_top_k() -> None:
    (expected,) = said(SPEECH[0])
    assert ValenceEmotionPipeline(top_k=2)(SPEECH[0]) == expected[:2]
    assert ValenceEmotionPipeline("4emotions", 2)(SPEECH[0], top_k=1) == expected[:1]
    assert ValenceEmotionPipeline()([SPEECH[0]], top_k=3) == [expected[:3]]
    assert list(ValenceEmotionPipeline()(iter(SPEECH[:1]), top_k=100)) == [expected]
    for top_k in (0, -1, 1.5, True, "all"):
        with pytest.raises(errors.SettingsError, match="top_k must be a number of labels"):
            ValenceEmotionPipeline()(SPEECH[0], top_k=top_k)


def test_failures_are_raised() -> None:
    classify = ValenceEmotionPipeline()
    with pytest.raises(errors.UnreadableAudioError, match=BROKEN):
        classify(BROKEN)
    with pytest.raises(errors.BatchError, match=f"1 of 2 items failed(.|\n)*item 1: {BROKEN}"):
        classify([SPEECH[0], BROKEN])
    found = classify(iter([BROKEN, SPEECH[0]]))
    assert [next(found), next(found)] == said(BROKEN, SPEECH[0])
    with pytest.raises(errors.BatchError, match=f"item 0: {BROKEN}"):
        next(found)


def test_failed_missing_and_skipped_items_have_no_labels() -> None:
    classify = ValenceEmotionPipeline(on_error="null", short_audio="skip")
    items = [BROKEN, None, voice(2), SPEECH[0]]
    assert [len(found) for found in classify(items)] == [0, 0, 0, 4]
    assert [len(classify(item)) for item in items] == [0, 0, 0, 4]
    assert [len(found) for found in classify(iter(items))] == [0, 0, 0, 4]
    assert ValenceEmotionPipeline()(None) == []


@pytest.mark.parametrize("inputs", [object(), 3.5])
def test_what_is_no_audio(inputs: object) -> None:
    with pytest.raises((TypeError, errors.UnreadableAudioError), match="audio"):
        ValenceEmotionPipeline()(inputs)


def test_settings(service: Sandbox) -> None:
    classify = ValenceEmotionPipeline("7emotions", cache=False, concurrency=2)
    assert {label["label"] for label in classify(SPEECH[0])} == set(Settings(model="7emotions").columns)
    engine = Engine(Settings(emotions=("happy", "curious")))
    assert [label["label"] for label in ValenceEmotionPipeline(engine=engine)(SPEECH[0])] == ["happy", "curious"]
    assert ValenceEmotionPipeline(engine=engine)(SPEECH[0])[1]["score"] == 0.0
    with pytest.raises(errors.SettingsError, match="set model, base_url there"):
        ValenceEmotionPipeline("7emotions", engine=engine, base_url=service.url)
    with pytest.raises(errors.SettingsError, match="emotions of the model 'mine' are not known"):
        ValenceEmotionPipeline("mine")
    with pytest.raises(errors.SettingsError, match="on_error must be one of"):
        ValenceEmotionPipeline(on_error="ignore")


def test_it_is_an_audio_classification_pipeline_that_can_be_pickled_without_its_key() -> None:
    classify = ValenceEmotionPipeline(top_k=2, api_key="very-secret")
    assert classify.task == "audio-classification"
    pickled = pickle.dumps(classify)
    assert b"very-secret" not in pickled
    assert "very-secret" not in repr(classify)
    assert copy.deepcopy(classify).engine.settings.api_key == "very-secret"
    assert pickle.loads(pickled)(SPEECH[0]) == said(SPEECH[0])[0][:2]


def test_the_import_needs_neither_transformers_nor_torch() -> None:
    code = "import sys, valence_integrations.transformers; print({'transformers', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
