from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
from datasets import Audio, Dataset, DatasetDict, IterableDataset, Value
from huggingface_hub import AudioClassificationOutputElement, InferenceClient

import valence_integrations
from tests.conftest import EXAMPLES, voice
from valence_integrations import (
    EmotionPrediction,
    EmotionSegment,
    Engine,
    Settings,
    ValenceEmotionPipeline,
    errors,
    register_pipeline,
)
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


def labels(prediction: EmotionPrediction | EmotionSegment) -> list[dict[str, Any]]:
    ranked = sorted(prediction.scores.items(), key=lambda pair: -pair[1])
    return [{"score": score, "label": label} for label, score in ranked]


def labels_of(*items: object) -> list[list[dict[str, Any]]]:
    return [labels(prediction) for prediction in Engine().predict_many(items, on_error="null")]


def wav_of(wave: np.ndarray, rate: int) -> io.BytesIO:
    soundfile.write(file := io.BytesIO(), wave, rate, format="WAV")
    file.seek(0)
    return file


WAVE = voice(5)


class Decoder:
    """Imitates torchcodec's ``AudioDecoder``."""

    def get_all_samples(self) -> Any:
        return SimpleNamespace(data=WAVE[None], sample_rate=16_000)


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
    "file of pyarrow": pa.scalar(Path(SPEECH[0]).read_bytes()),
    "decoder": Decoder(),
}


@pytest.mark.parametrize("item", ONE.values(), ids=ONE)
def test_one_item(item: Any) -> None:
    (expected,) = labels_of(item)
    assert ValenceEmotionPipeline()(item) == expected
    assert [label["score"] for label in expected] == sorted((label["score"] for label in expected), reverse=True)
    assert {label["label"] for label in expected} == {"angry", "happy", "neutral", "sad"}


def test_one_file_object() -> None:
    file = wav_of(WAVE, 16_000)
    assert ValenceEmotionPipeline()(file) == labels_of(file)[0]


def test_list_returns_list() -> None:
    classify = ValenceEmotionPipeline()
    for items in (SPEECH, tuple(SPEECH), [SPEECH[0]], [WAVE.tolist(), WAVE], [(WAVE, 16_000), (WAVE, 8_000)], []):
        assert classify(items) == labels_of(*items)


class Indexed:
    """A torch dataset, which can be indexed beyond its end and is not iterable."""

    __iter__ = None

    def __len__(self) -> int:
        return len(SPEECH)

    def __getitem__(self, index: int) -> str:
        return (SPEECH * 2)[index]


class KeyDataset:
    """Imitates transformers' class of this name."""

    def __init__(self, dataset: Dataset, key: str) -> None:
        self.dataset = dataset
        self.key = key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index][self.key]


class DatasetColumn(list[Any]):
    """Imitates evaluate's class of this name: a list subclass without elements."""

    def __init__(self, dataset: Dataset, key: str) -> None:
        self.dataset = dataset
        self.key = key

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[index][self.key] for index in range(len(self)))


# No decoder is installed here: decoding an Audio() column would fail.
PATHS = Dataset.from_dict({"audio": SPEECH, "number": range(3)})
ENCODED = PATHS.cast_column("audio", Audio())
MANY: dict[str, Any] = {
    "array of paths": np.array(SPEECH),
    "Series": pd.Series(SPEECH, index=[7, 8, 9]),
    "pyarrow": pa.array(SPEECH),
    "torch dataset": Indexed(),
    "column of paths": PATHS["audio"],
    "column of audio": ENCODED["audio"],
    "column in a format": ENCODED.with_format("numpy")["audio"],
    "dataset": ENCODED,
    "dataset in a format": ENCODED.with_format("numpy"),
    "dataset with other columns": ENCODED.add_column("other", SPEECH).rename_column("audio", "speech"),
    "KeyDataset of paths": KeyDataset(PATHS, "audio"),
    "KeyDataset of audio": KeyDataset(ENCODED, "audio"),
}
UNSIZED: dict[str, Any] = {
    "generator": lambda: (path for path in SPEECH),
    "map": lambda: map(str, SPEECH),
    "stream": ENCODED.to_iterable_dataset,
    "column of a stream": lambda: ENCODED.to_iterable_dataset()["audio"],
    "column of a stream of unknown types": lambda: IterableDataset.from_generator(rows)["audio"],
}


def rows() -> Iterator[dict[str, str]]:
    yield from ({"audio": path} for path in SPEECH)


@pytest.mark.parametrize("items", MANY.values(), ids=MANY)
def test_sized_collection_returns_sized_iterator(items: Any) -> None:
    found = ValenceEmotionPipeline()(items)
    assert iter(found) is found
    assert len(found) == 3
    assert list(found) == labels_of(*SPEECH)


@pytest.mark.parametrize("make", UNSIZED.values(), ids=UNSIZED)
def test_unsized_collection_returns_iterator(make: Any) -> None:
    found = ValenceEmotionPipeline()(make())
    assert not hasattr(found, "__len__")
    assert [next(found), *found] == labels_of(*SPEECH)


@pytest.mark.parametrize("dataset", [PATHS, ENCODED], ids=["paths", "audio"])
def test_evaluate_column_returns_list(dataset: Dataset) -> None:
    assert ValenceEmotionPipeline()(DatasetColumn(dataset, "audio")) == labels_of(*SPEECH)


def test_dataset_transform_is_applied() -> None:
    def louder(batch: dict[str, Any]) -> dict[str, Any]:
        return {"audio": [(WAVE / (number + 1), 8_000) for number in batch["number"]]}

    transformed = ENCODED.with_transform(louder, columns=["number"])
    expected = labels_of(*((WAVE / number, 8_000) for number in (1, 2, 3)))
    assert list(ValenceEmotionPipeline()(KeyDataset(transformed, "audio"))) == expected


def test_dataset_needs_exactly_one_audio_column() -> None:
    classify = ValenceEmotionPipeline()
    two = ENCODED.add_column("other", SPEECH).cast_column("other", Audio())
    for dataset, count in ((PATHS, 0), (two, 2), (IterableDataset.from_generator(rows), 0)):
        with pytest.raises(TypeError, match=rf"one Audio column, not {count}: give the column .* dataset\['audio'\]"):
            classify(dataset)
    with pytest.raises(errors.UnreadableAudioError, match=r"keys \['test', 'train'\]"):
        classify(DatasetDict(train=ENCODED, test=ENCODED))
    assert two.features["other"] == Audio()
    assert two.features["number"] == Value("int64")


def test_iterator_is_lazy_and_sends_items_in_parallel() -> None:
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
    assert first == labels_of(*(voice(5, seed=seed) for seed in range(10)))


def test_top_k() -> None:
    (expected,) = labels_of(SPEECH[0])
    assert ValenceEmotionPipeline(top_k=2)(SPEECH[0]) == expected[:2]
    assert ValenceEmotionPipeline("4emotions", 2)(SPEECH[0], top_k=1) == expected[:1]
    assert ValenceEmotionPipeline(top_k=2)(SPEECH[0], top_k=None) == expected
    assert ValenceEmotionPipeline()([SPEECH[0]], top_k=3) == [expected[:3]]
    assert list(ValenceEmotionPipeline()(iter(SPEECH[:1]), top_k=100)) == [expected]
    assert ValenceEmotionPipeline(top_k=np.int64(1))(SPEECH[0]) == expected[:1]
    assert ValenceEmotionPipeline()(SPEECH[0], top_k=0) == []


def test_softmax() -> None:
    (expected,) = labels_of(SPEECH[0])
    total = sum(math.exp(label["score"]) for label in expected)
    softmax = [{"score": math.exp(label["score"]) / total, "label": label["label"]} for label in expected]
    assert ValenceEmotionPipeline(function_to_apply="softmax")(SPEECH[0]) == softmax
    assert sum(label["score"] for label in softmax) == pytest.approx(1.0)
    assert sum(label["score"] for label in expected) != pytest.approx(1.0, abs=1e-3)
    # Softmax over all labels, before top_k is applied.
    assert ValenceEmotionPipeline()([SPEECH[0]], function_to_apply="softmax", top_k=1) == [softmax[:1]]
    assert ValenceEmotionPipeline(function_to_apply="softmax")(SPEECH[0], function_to_apply="none") == expected
    assert ValenceEmotionPipeline(function_to_apply="softmax")(SPEECH[0], function_to_apply=None) == softmax


@pytest.mark.parametrize("seconds", [2, 6, 40])
def test_timestamps(seconds: int) -> None:
    engine = Engine(Settings(long_audio="chunk"))
    wave = voice(seconds)
    found = engine.predict(wave)
    assert len(found.segments) == {2: 1, 6: 1}.get(seconds, len(found.segments))
    expected = {
        "labels": labels(found),
        "chunks": [
            {"labels": labels(segment), "timestamp": (segment.start, segment.end)} for segment in found.segments
        ],
    }
    classify = ValenceEmotionPipeline(engine=engine)
    assert classify(wave, return_timestamps=True) == expected
    assert classify([wave], return_timestamps=True) == [expected]
    assert list(classify(iter([wave]), return_timestamps=True)) == [expected]
    assert classify(wave) == expected["labels"]
    assert expected["chunks"][0]["timestamp"][0] == 0.0
    assert expected["chunks"][-1]["timestamp"][1] == pytest.approx(seconds)
    shorter = ValenceEmotionPipeline(engine=engine, return_timestamps=True, top_k=1, function_to_apply="softmax")(wave)
    assert [label["label"] for label in shorter["labels"]] == [expected["labels"][0]["label"]]
    assert [len(chunk["labels"]) for chunk in shorter["chunks"]] == [1] * len(expected["chunks"])
    assert all(0.25 < chunk["labels"][0]["score"] < 0.5 for chunk in shorter["chunks"])


def test_asynch_timeline_has_5_second_segments() -> None:
    found = ValenceEmotionPipeline()(voice(17), return_timestamps=True, top_k=1)
    assert [chunk["timestamp"] for chunk in found["chunks"]] == [(0.0, 5.0), (5.0, 10.0), (10.0, 15.0), (15.0, 17.0)]


def test_batch_size_and_num_workers_change_nothing() -> None:
    (expected,) = labels_of(SPEECH[0])
    classify = ValenceEmotionPipeline(batch_size=8, num_workers=4)
    assert classify(SPEECH[0]) == expected
    assert classify([SPEECH[0]], batch_size=1, num_workers=0) == [expected]
    assert list(classify(iter(SPEECH[:1]), batch_size=64, num_workers=64)) == [expected]


@pytest.mark.parametrize(
    "parameter",
    [
        *({"top_k": value} for value in (-1, 1.5, True, "all")),
        *({"function_to_apply": value} for value in ("sigmoid", "tanh", "")),
        *({"return_timestamps": value} for value in ("word", 1)),
        *({"batch_size": value} for value in (0, -1, 2.0, "8", True)),
        *({"num_workers": value} for value in (-1, "2")),
    ],
    ids=str,
)
def test_invalid_parameters_raise(parameter: dict[str, Any], service: Sandbox) -> None:
    (name,) = parameter
    calls = service.calls
    with pytest.raises(errors.SettingsError, match=f"^{name} must be "):
        ValenceEmotionPipeline()(voice(5, seed=99), **parameter)
    with pytest.raises(errors.SettingsError, match=f"^{name} must be "):
        ValenceEmotionPipeline(**parameter)
    assert service.calls == calls


def test_inference_client_interface() -> None:
    (expected,) = labels_of(SPEECH[0])
    client = ValenceEmotionPipeline(top_k=3, return_timestamps=True)
    found = client.audio_classification(SPEECH[0])
    assert found == [AudioClassificationOutputElement(**label) for label in expected[:3]]
    assert (found[0].label, found[0].score) == (expected[0]["label"], expected[0]["score"])
    assert client.audio_classification(Path(SPEECH[0]).read_bytes(), top_k=1) == found[:1]
    softmax = client.audio_classification(Path(SPEECH[0]), function_to_apply="softmax")
    assert softmax == ValenceEmotionPipeline(function_to_apply="softmax", top_k=3)(SPEECH[0])


def test_audio_classification_has_parameters_of_inference_client() -> None:
    ours, genuine = (
        inspect.signature(cls.audio_classification).parameters for cls in (ValenceEmotionPipeline, InferenceClient)
    )
    # Older versions have fewer.
    assert {"audio", "model"} <= genuine.keys() <= ours.keys()
    for name in genuine:
        assert (ours[name].kind, ours[name].default) == (genuine[name].kind, genuine[name].default)


def test_audio_classification_with_another_model() -> None:
    client = ValenceEmotionPipeline(emotions=("happy", "sad"))
    by_seven = Engine(Settings(model="7emotions")).predict(SPEECH[0])
    seven = client.audio_classification(SPEECH[0], model="7emotions")
    assert {element.label for element in seven} == set(Settings(model="7emotions").columns)
    assert {element.label: element.score for element in seven} == by_seven.scores
    assert {element.label for element in client.audio_classification(SPEECH[0])} == {"happy", "sad"}
    with pytest.raises(errors.SettingsError, match="emotions of the model 'superb/hubert' are unknown"):
        ValenceEmotionPipeline().audio_classification(SPEECH[0], model="superb/hubert")


@pytest.mark.parametrize("many", [SPEECH, iter(SPEECH), ENCODED, object()], ids=["list", "iterator", "dataset", "none"])
def test_audio_classification_accepts_one_item_only(many: Any) -> None:
    with pytest.raises(TypeError, match=r"audio must be one item, not .*call the pipeline"):
        ValenceEmotionPipeline().audio_classification(many)


def test_audio_classification_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(errors.MissingDependencyError, match="pip install huggingface_hub"):
        ValenceEmotionPipeline().audio_classification(SPEECH[0])


def test_failures_raise() -> None:
    classify = ValenceEmotionPipeline()
    with pytest.raises(FileNotFoundError, match=f"{BROKEN}: .*No such file") as caught:
        classify(BROKEN)
    assert isinstance(caught.value, errors.AudioNotFoundError)
    with pytest.raises(errors.BatchError, match=f"1 of 2 items failed(.|\n)*item 1: {BROKEN}"):
        classify([SPEECH[0], BROKEN])
    found = classify(iter([BROKEN, SPEECH[0]]))
    assert [next(found), next(found)] == labels_of(BROKEN, SPEECH[0])
    with pytest.raises(errors.BatchError, match=f"item 0: {BROKEN}"):
        next(found)


def test_failed_missing_and_skipped_items_have_no_labels() -> None:
    classify = ValenceEmotionPipeline(on_error="null", short_audio="skip")
    items = [BROKEN, None, voice(2), SPEECH[0]]
    assert [len(found) for found in classify(items)] == [0, 0, 0, 4]
    assert [len(classify(item)) for item in items] == [0, 0, 0, 4]
    assert [len(found) for found in classify(iter(items))] == [0, 0, 0, 4]
    assert ValenceEmotionPipeline()(None) == []


@pytest.mark.parametrize("inputs", [object(), 3.5, 3, True, np.float32(3), 1j], ids=repr)
def test_neither_audio_nor_collection_raises(inputs: object) -> None:
    with pytest.raises(TypeError, match=f"audio or a collection of audio, not {type(inputs).__name__}"):
        ValenceEmotionPipeline()(inputs)


@pytest.mark.parametrize("inputs", [{"audio": 1}, np.zeros((3, 3, 3)), b"junk", "https://example.com/a.wav"], ids=str)
def test_non_audio_item_raises(inputs: object) -> None:
    with pytest.raises(ValueError, match=r"keys|one dimension|readable audio file|not fetched") as caught:
        ValenceEmotionPipeline()(inputs)
    assert isinstance(caught.value, errors.UnreadableAudioError)


@pytest.mark.parametrize("missing", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT], ids=repr)
def test_missing_items(missing: object) -> None:
    assert ValenceEmotionPipeline()(missing) == []
    assert ValenceEmotionPipeline()([missing], return_timestamps=True) == [{"labels": [], "chunks": []}]


def test_settings(service: Sandbox) -> None:
    classify = ValenceEmotionPipeline("7emotions", cache=False, concurrency=2)
    assert {label["label"] for label in classify(SPEECH[0])} == set(Settings(model="7emotions").columns)
    engine = Engine(Settings(emotions=("happy", "curious")))
    classify = ValenceEmotionPipeline(engine=engine)
    for inputs, read in (
        (SPEECH[0], lambda outputs: outputs),
        (SPEECH[:1], lambda outputs: outputs[0]),
        (iter(SPEECH[:1]), lambda outputs: next(iter(outputs))),
    ):
        with pytest.warns(UserWarning, match="without a column|No answer names curious: these columns are 0"):
            labels = read(classify(inputs))
        assert [label["label"] for label in labels] == ["happy", "curious"]
        assert labels[1]["score"] == 0.0
    with pytest.raises(errors.SettingsError, match="Set model, base_url there"):
        ValenceEmotionPipeline("7emotions", engine=engine, base_url=service.url)
    with pytest.raises(errors.SettingsError, match="emotions of the model 'mine' are unknown"):
        ValenceEmotionPipeline("mine")
    with pytest.raises(errors.SettingsError, match="on_error must be one of"):
        ValenceEmotionPipeline(on_error="ignore")


def test_pipeline_pickles_without_key() -> None:
    classify = ValenceEmotionPipeline(top_k=2, api_key="very-secret")
    assert classify.task == "audio-classification"
    pickled = pickle.dumps(classify)
    assert b"very-secret" not in pickled
    assert "very-secret" not in repr(classify)
    assert repr(classify).endswith("batch_size=None, num_workers=None, on_error='raise')")
    assert copy.deepcopy(classify).engine.settings.api_key == "very-secret"
    assert pickle.loads(pickled)(SPEECH[0]) == labels_of(SPEECH[0])[0][:2]


def test_import_needs_neither_transformers_nor_torch() -> None:
    code = "import sys, valence_integrations.transformers; print({'transformers', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_missing_torch_error_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    remedy = r'needs transformers and torch. Install them: pip install "valence-integrations\[transformers\]" torch'
    with pytest.raises(errors.MissingDependencyError, match=rf"register_pipeline\(\) {remedy}"):
        register_pipeline()
    for module in (valence_integrations, valence_integrations.transformers):
        with pytest.raises(errors.MissingDependencyError, match=f"ValenceModel {remedy}"):
            _ = module.ValenceModel
        with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
            _ = module.Nothing
