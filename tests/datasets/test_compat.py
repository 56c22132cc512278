"""Internals of `datasets` that are relied upon: its fingerprint pickler, and the caller of a mapped function."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import datasets
import dill
import joblib
import pytest
from datasets import Dataset
from datasets.fingerprint import Hasher
from datasets.utils import _dill

from tests.conftest import clips
from valence_integrations import Engine, Settings, ValenceAnnotator, valence_annotate
from valence_integrations.datasets import _compat
from valence_integrations.sandbox import Sandbox

Function = Callable[..., Any]


def closing_over(annotate: ValenceAnnotator) -> Function:
    def with_row(rows: dict[str, Any], indices: list[int]) -> dict[str, Any]:
        return {**annotate(rows), "index": indices}

    return with_row


def lambda_of(annotate: ValenceAnnotator) -> Function:
    return lambda rows, indices: {**annotate(rows), "index": indices}


def partial_of(annotate: ValenceAnnotator) -> Function:
    return functools.partial(annotate, on_error="raise")


def itself(annotate: ValenceAnnotator) -> Function:
    return annotate


def method_of(annotate: ValenceAnnotator) -> Function:
    return annotate.__call__


WRAPPED = [itself, partial_of, lambda_of, closing_over, method_of]


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_fingerprint_of_objects_that_contain_an_annotator(wrapped: Callable[[ValenceAnnotator], Function]) -> None:
    def hashed(**settings: Any) -> str:
        return str(Hasher.hash(wrapped(ValenceAnnotator(**settings))))

    same = [{}, {"api_key": "another"}, {"concurrency": 3}, {"cache": False}, {"cache": "/elsewhere"}]
    assert len({hashed(**settings) for settings in same}) == 1
    others = [{"model": "7emotions"}, {"base_url": "https://example.com"}, {"prefix": "mood"}, {"short_audio": "skip"}]
    assert len({hashed(), *(hashed(**settings) for settings in others)}) == 5


FINGERPRINTS = """
import functools, importlib, json, pickle, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from valence_integrations import ValenceAnnotator, valence_annotate
pickle.dumps(valence_annotate)
from datasets.fingerprint import Hasher
made = [valence_annotate, ValenceAnnotator(concurrency=len(sys.argv)), ValenceAnnotator(model="7emotions")]
print(json.dumps([[Hasher.hash(one), Hasher.hash(functools.partial(one)), Hasher.hash(lambda rows: one(rows))]
                  for one in made]))
"""


def test_fingerprint_does_not_depend_on_import_order() -> None:
    def run(seed: str, *imports: str) -> list[list[str]]:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "VALENCE_API_KEY": f"key-{seed}"}
        done = subprocess.run(
            [sys.executable, "-c", FINGERPRINTS, *imports], env=environment, capture_output=True, text=True, check=True
        )
        found: list[list[str]] = json.loads(done.stdout)
        return found

    ours_first = run("1")
    assert ours_first == run("2", "datasets") == run("3", "valence_integrations.datasets", "datasets.fingerprint")
    ready_made, concurrent, other_model = ours_first
    assert ready_made[0] == concurrent[0] == Hasher.hash(valence_annotate)
    assert not set(ready_made) & set(other_model)


def test_only_fingerprint_pickler_gets_reduced_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other pickler, those of dill and of `datasets`' worker processes included, gets what a worker needs."""
    annotate = ValenceAnnotator("speech", "mood", concurrency=3, min_confidence=0.3)
    Hasher.hash(annotate)
    for dumps in (pickle.dumps, dill.dumps, dill_of_workers, python_pickle):
        again = pickle.loads(dumps(annotate))
        assert repr(again) == repr(annotate)
        assert again.engine.settings == annotate.engine.settings
    assert b"concurrency" not in _dill.dumps(annotate)
    assert joblib.hash(annotate) != joblib.hash(ValenceAnnotator("speech", "mood", concurrency=4, min_confidence=0.3))


def dill_of_workers(annotate: ValenceAnnotator) -> bytes:
    from multiprocess.reduction import ForkingPickler

    return bytes(ForkingPickler.dumps(annotate))


def python_pickle(annotate: ValenceAnnotator) -> bytes:
    pickle._Pickler(file := io.BytesIO()).dump(annotate)  # type: ignore[attr-defined]
    return file.getvalue()


def test_pickles_and_fingerprints_contain_no_private_module() -> None:
    for annotate in (valence_annotate, ValenceAnnotator("speech", engine=Engine(Settings(model="7emotions")))):
        for data in (pickle.dumps(annotate), _dill.dumps(annotate)):
            assert b"valence_integrations.datasets" in data
            assert b"._" not in data


def test_annotator_pickles_without_datasets() -> None:
    code = (
        "import sys; sys.modules.update(datasets=None, pyarrow=None, dill=None)\n"
        "import pickle; from valence_integrations import valence_annotate\n"
        "print(pickle.loads(pickle.dumps(valence_annotate)).engine.settings.model)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4emotions\n"


@pytest.mark.parametrize("wrapped", [itself, lambda_of, closing_over])
@pytest.mark.parametrize("workers", [None, 2])
def test_map(
    wrapped: Callable[[ValenceAnnotator], Function], workers: int | None, datasets_service: Sandbox, tmp_path: Any
) -> None:
    """Assert that the result of a map is reused, whatever the key, the concurrency and the cache."""
    Dataset.from_dict({"audio": clips(4)}).to_parquet(tmp_path / "clips.parquet")
    dataset = datasets.load_dataset("parquet", data_files=str(tmp_path / "clips.parquet"), split="train")
    options = {"batched": True, "num_proc": workers, "with_indices": wrapped is not itself}
    expected = [found.emotion for found in Engine().predict_many(clips(4))]
    done = dataset.map(wrapped(valence_annotate), **options)
    assert done["emotion"][:] == expected
    calls = len(datasets_service.requests)
    again = dataset.map(wrapped(ValenceAnnotator(api_key="wrong", concurrency=2, cache=False)), **options)
    assert (again._fingerprint, again["emotion"][:]) == (done._fingerprint, expected)
    assert len(datasets_service.requests) == calls
    other = dataset.map(wrapped(ValenceAnnotator(min_confidence=1.0)), **options)
    assert other._fingerprint != done._fingerprint
    assert other["emotion"][:] == [None] * 4


@pytest.mark.parametrize("wrapped", [itself, lambda_of, closing_over])
def test_a_stream(wrapped: Callable[[ValenceAnnotator], Function], datasets_service: Sandbox) -> None:
    stream = Dataset.from_dict({"audio": clips(4)}).to_iterable_dataset(2)
    done = stream.map(wrapped(valence_annotate), batched=True, batch_size=2, with_indices=wrapped is not itself)
    assert [row["emotion"] for row in done] == [found.emotion for found in Engine().predict_many(clips(4))]


def test_only_dataset_map_is_detected_as_caller() -> None:
    def asks() -> bool:
        return _compat.is_called_by_dataset_map()

    def calls_from(module: str) -> Any:
        return eval("asks()", {"__name__": module, "asks": asks})

    assert calls_from("datasets.arrow_dataset") is True
    assert calls_from("datasets.iterable_dataset") is False
    assert calls_from("__main__") is False
    assert asks() is False
    assert Dataset.map.__module__ == "datasets.arrow_dataset"
