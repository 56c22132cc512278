"""Compare this library's pipelines with the genuine `AudioClassificationPipeline`, case by case.

Scores differ, because the genuine one has random weights. Types, lengths, names, order and errors must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from transformers.pipelines.pt_utils import KeyDataset

from tests.conftest import voice
from valence_integrations import ValenceEmotionPipeline, ValenceModel, errors

WAVES = [voice(5, seed=seed) for seed in range(3)]
WAVE = WAVES[0]

#: This library's two pipelines: name and a function that makes one with parameters.
OURS: dict[str, Callable[..., Any]] = {
    "ValenceEmotionPipeline": ValenceEmotionPipeline,
    "registered": lambda **parameters: transformers.pipeline("valence-emotion", model=ValenceModel(), **parameters),
}


class Sized(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return len(WAVES)

    def __getitem__(self, index: int) -> np.ndarray:
        return WAVES[index]


class Streamed(torch.utils.data.IterableDataset):
    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(WAVES)


COLUMN = Dataset.from_dict({"audio": [wave.tolist() for wave in WAVES]}).with_format("numpy")

ACCEPTED: dict[str, Callable[[Any], Any]] = {
    "waveform": lambda pipe: pipe(WAVE),
    "float64": lambda pipe: pipe(WAVE.astype(np.float64)),
    "int16": lambda pipe: pipe((WAVE * 32767).astype(np.int16)),
    "tensor": lambda pipe: pipe(torch.tensor(WAVE)),
    "raw": lambda pipe: pipe({"raw": WAVE, "sampling_rate": 16_000}),
    "array": lambda pipe: pipe({"array": WAVE, "sampling_rate": 16_000, "path": "a.wav"}),
    "raw tensor": lambda pipe: pipe({"raw": WAVE, "sampling_rate": np.int64(16_000)}),
    "list": lambda pipe: pipe(WAVES),
    "list of one": lambda pipe: pipe([WAVE]),
    "list of dicts": lambda pipe: pipe([{"raw": wave, "sampling_rate": 16_000} for wave in WAVES]),
    "generator": lambda pipe: pipe(wave for wave in WAVES),
    "KeyDataset": lambda pipe: pipe(KeyDataset(COLUMN, "audio")),
    "dataset": lambda pipe: pipe(Sized()),
    "stream": lambda pipe: pipe(Streamed()),
    "no generator": lambda pipe: list(pipe(wave for wave in ())),
    **{f"top_k={k}": lambda pipe, k=k: pipe(WAVE, top_k=k) for k in (None, 0, 1, 2, 4, 5, 100)},
    "top_k of a list": lambda pipe: pipe(WAVES, top_k=2),
    "top_k of a generator": lambda pipe: pipe((wave for wave in WAVES), top_k=2),
    "softmax": lambda pipe: pipe(WAVE, function_to_apply="softmax"),
    "none": lambda pipe: pipe(WAVE, function_to_apply="none"),
    "None": lambda pipe: pipe(WAVE, function_to_apply=None),
    "batch_size": lambda pipe: pipe(WAVES, batch_size=2),
    "batch_size and num_workers of a generator": lambda pipe: pipe(
        (wave for wave in WAVES), batch_size=2, num_workers=0
    ),
}

REFUSED: dict[str, Callable[[Any], Any]] = {
    "number": lambda pipe: pipe(3.5),
    "whole number": lambda pipe: pipe(3),
    "bool": lambda pipe: pipe(True),
    "numpy number": lambda pipe: pipe(np.float32(3)),
    "object": lambda pipe: pipe(object()),
    "no such file": lambda pipe: pipe("/nowhere/a.wav"),
    "no audio": lambda pipe: pipe(b"junk"),
    "dict without audio": lambda pipe: pipe({"speech": WAVE, "sampling_rate": 16_000}),
    "three dimensions": lambda pipe: pipe(np.zeros((3, 3, 3), "float32")),
    "function_to_apply": lambda pipe: pipe(WAVE, function_to_apply="tanh"),
    "batch_size": lambda pipe: pipe(WAVES, batch_size=0),
    "num_workers": lambda pipe: pipe(WAVES, num_workers=-1),
}


@pytest.fixture(params=OURS.values(), ids=OURS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param


def shape_of(result: Any) -> Any:
    """Return the structure of an answer: everything but the scores and the order of the labels."""
    if hasattr(result, "__next__"):
        return ["iterator", [shape_of(one) for one in result]]
    assert type(result) is list
    if result and type(result[0]) is dict:
        assert [type(label["score"]) for label in result] == [float] * len(result)
        assert [label["score"] for label in result] == sorted((label["score"] for label in result), reverse=True)
        assert {label["label"] for label in result} <= {"angry", "happy", "neutral", "sad"}
        assert len({label["label"] for label in result}) == len(result)
        return [list(label) for label in result]
    return [shape_of(one) for one in result]


@pytest.mark.parametrize("case", ACCEPTED.values(), ids=ACCEPTED)
def test_inputs_that_both_accept(case: Callable[[Any], Any], make: Callable[..., Any], genuine: Any) -> None:
    assert shape_of(case(make())) == shape_of(case(genuine))


def test_iterators_have_the_same_length(make: Callable[..., Any], genuine: Any) -> None:
    for pipe in (make(), genuine):
        assert len(pipe(KeyDataset(COLUMN, "audio"))) == len(pipe(Sized())) == 3


def test_softmax_is_the_same_function(make: Callable[..., Any]) -> None:
    pipe = make()
    labels = pipe(WAVE)
    expected = torch.tensor([label["score"] for label in labels], dtype=torch.float64).softmax(-1).tolist()
    assert [label["score"] for label in pipe(WAVE, function_to_apply="softmax")] == pytest.approx(expected)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_inputs_that_both_refuse(case: Callable[[Any], Any], make: Callable[..., Any], genuine: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        case(genuine)
    with pytest.raises(theirs.type):
        case(make())


@pytest.mark.parametrize("top_k", [-1, 1.5, True, "all"])
def test_invalid_top_k(top_k: Any, make: Callable[..., Any], genuine: Any) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        genuine(WAVE, top_k=top_k)
    with pytest.raises(errors.SettingsError, match="top_k must be a whole number"):
        make()(WAVE, top_k=top_k)


def test_intended_differences_from_genuine_pipeline(make: Callable[..., Any], genuine: Any) -> None:
    parts = {"model": genuine.model, "feature_extractor": genuine.feature_extractor, "device": -1}
    # In the genuine pipeline, a call without top_k resets the constructor's top_k to the default.
    assert len(transformers.pipeline("audio-classification", top_k=2, **parts)(WAVE)) == 4
    assert len(make(top_k=2)(WAVE)) == 2
    assert len(make(top_k=2)(WAVE, top_k=None)) == 4
    # The genuine pipeline ignores a misspelled parameter.
    assert len(genuine(WAVE, top=2)) == 4
    with pytest.raises(TypeError, match="unexpected keyword argument 'top'"):
        make()(WAVE, top=2)


def test_inputs_that_only_this_library_accepts(make: Callable[..., Any], genuine: Any) -> None:
    pipe = make()
    only = [None, WAVE.tolist(), (WAVE, 16_000), np.stack([WAVE, WAVE]), {"array": WAVE}]
    for inputs in only:
        with pytest.raises((TypeError, ValueError)):
            genuine(inputs)
        assert len(pipe(inputs)) == (0 if inputs is None else 4)
    for inputs in (COLUMN["audio"], tuple(WAVES), map(np.asarray, WAVES)):
        with pytest.raises((TypeError, ValueError)):
            genuine(inputs)
    assert pipe(tuple(WAVES)) == list(pipe(COLUMN["audio"])) == list(pipe(map(np.asarray, WAVES))) == pipe(WAVES)
    assert pipe([]) == []
