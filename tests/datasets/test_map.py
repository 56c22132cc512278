from __future__ import annotations

import asyncio
import copy
import functools
import io
import itertools
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import polars as pl  # noqa: F401 - `datasets` looks for it among the imported modules
import pyarrow as pa
import pytest
import soundfile
from datasets import (
    Audio,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    IterableDatasetDict,
    Value,
    concatenate_datasets,
    interleave_datasets,
    load_dataset,
)
from datasets.fingerprint import Hasher

from tests.conftest import EXAMPLES, voice
from valence_integrations import (
    EmotionPrediction,
    EmotionSegment,
    Engine,
    Settings,
    ValenceAnnotator,
    annotate_dataset,
    errors,
    valence_annotate,
)
from valence_integrations._audio.open import open_clip
from valence_integrations.datasets import _annotator, _batched_hint
from valence_integrations.sandbox import Sandbox

SPEECH = [str(EXAMPLES / "audio" / name) for name in ("ben_happy.wav", "ben_sad.ogg", "carl_angry.flac")]
PATHS = ["/nowhere/a.wav", "/nowhere/b.wav", *SPEECH, None, str(EXAMPLES / "audio" / "elin_neutral.mp3")]
NAMES = [
    "emotion",
    *(f"emotion_{part}" for part in ("confidence", "scores", "timeline", "source", "error", "error_code")),
]

#: It cannot put waveforms and None into one numpy batch.
OLD = datasets.__version__.startswith("4.")

FORMATS = [None, "numpy", "pandas", "polars", "arrow"]
SEGMENT = {"start": "float64", "end": "float64", "emotion": "string", "confidence": "float32"}
TYPES = {
    "emotion": Value("string"),
    "emotion_confidence": Value("float32"),
    "emotion_scores": {name: Value("float32") for name in ("angry", "happy", "neutral", "sad")},
    "emotion_timeline": datasets.List({name: Value(kind) for name, kind in SEGMENT.items()}),
    "emotion_source": Value("string"),
    "emotion_error": Value("string"),
    "emotion_error_code": Value("string"),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(service: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VALENCE_API_BASE_URL", service.url)
    monkeypatch.setenv("VALENCE_API_KEY", service.api_key)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(_batched_hint, "_sequential_calls", itertools.count(1))
    datasets.disable_progress_bars()


def columns_of_audio() -> dict[str, list[Any]]:
    """The same items in every form of a column; the first two are missing."""
    files = [Path(path).read_bytes() if path in SPEECH else path and b"none" for path in PATHS]
    waves = [soundfile.read(path)[0] if path in SPEECH else path and np.zeros(0) for path in PATHS]
    return {
        "path": PATHS,
        "bytes": files,
        "wave": [wave if wave is None or wave.ndim == 1 else wave.mean(axis=1) for wave in waves],
        "embedded": [file and {"bytes": file, "path": "not/there.wav"} for file in files],
        "local": [path and {"bytes": None, "path": path} for path in PATHS],
    }


def made(columns: dict[str, list[Any]], decode: bool = False) -> Dataset:
    dataset = Dataset.from_dict({**columns, "row": list(range(len(next(iter(columns.values())))))})
    for name in {"embedded", "local", "audio"} & columns.keys():
        dataset = dataset.cast_column(name, Audio(decode=decode))
    return dataset


def voices(number: int, seconds: float = 5.0) -> list[bytes]:
    files = []
    for seed in range(number):
        soundfile.write(file := io.BytesIO(), voice(seconds, 8_000, seed), 8_000, format="WAV")
        files.append(file.getvalue())
    return files


def assert_rows(rows: list[dict[str, Any]], items: list[Any], prefix: str = "emotion") -> None:
    """Assert that the rows equal the engine's predictions."""
    predictions = Engine().predict_many(items, on_error="null")
    assert len(rows) == len(predictions)
    for row, expected in zip(rows, predictions, strict=True):
        assert row[prefix] == expected.emotion
        assert row[f"{prefix}_confidence"] == pytest.approx(np.float32(expected.confidence), abs=0, nan_ok=True)
        assert list(row[f"{prefix}_scores"]) == ["angry", "happy", "neutral", "sad"]
        for emotion, score in row[f"{prefix}_scores"].items():
            assert score == pytest.approx(np.float32(expected.scores.get(emotion, math.nan)), abs=0, nan_ok=True)
        assert row[f"{prefix}_timeline"] == [
            {"start": s.start, "end": s.end, "emotion": s.emotion, "confidence": np.float32(s.confidence)}
            for s in expected.segments
        ]
        assert row[f"{prefix}_source"] == expected.source
        assert _reason(row[f"{prefix}_error"]) == _reason(expected.error)


def _reason(error: object) -> str | None:
    """Error text after the item's name, which for a waveform depends on the format."""
    return str(error).rpartition(": ")[2] if error is not None else None


# Modes of map


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("form", ["path", "bytes", "wave", "embedded", "local"])
def test_map_annotates_every_form_and_keeps_types_over_many_writes(form: str, batched: bool) -> None:
    items = columns_of_audio()[form]
    dataset = made({form: items}, decode=True)
    done = dataset.map(
        valence_annotate,
        batched=batched,
        batch_size=2,
        writer_batch_size=1,
        fn_kwargs={"audio_column": form},
    )
    assert {name: done.features[name] for name in NAMES} == TYPES
    assert done.features[form] == dataset.features[form]
    assert_rows(done.select_columns(NAMES).to_list(), items)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("bare", [False, True], ids=["with_indices", "input_columns"])
@pytest.mark.parametrize("shown", FORMATS)
def test_map_in_every_format(shown: str | None, bare: bool, batched: bool, streamed: bool) -> None:
    how = {"input_columns": None} if not bare else {}
    for form, items in columns_of_audio().items():
        if (shown, form) == ("numpy", "bytes") or (shown, form, batched, OLD) == ("numpy", "wave", True, True):
            continue
        dataset = made({form: items})
        source = (dataset.to_iterable_dataset() if streamed else dataset).with_format(shown)
        how = {"input_columns": [form]} if bare else {"with_indices": True}
        how |= {"batched": True, "batch_size": 2} if batched else {}
        how |= {} if streamed else {"writer_batch_size": 1}
        done = source.map(valence_annotate, fn_kwargs={"audio_column": form}, **how)
        rows = list(done.with_format(None)) if streamed else done.with_format(None).to_list()
        if not streamed:
            assert {name: done.features[name] for name in NAMES} == TYPES
        if not (bare and shown in ("pandas", "polars", "arrow")):
            assert [row["row"] for row in rows] == list(range(len(items)))
        assert_rows(rows, items)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_bytes_damaged_by_numpy_format_raise(batched: bool, streamed: bool) -> None:
    dataset = Dataset.from_dict({"audio": voices(2)})
    source = (dataset.to_iterable_dataset() if streamed else dataset).with_format("numpy")
    with pytest.raises(errors.SettingsError, match=r"numpy stripped the NUL bytes .* in column 'audio'.*with_format"):
        list(source.map(valence_annotate, batched=batched))


@pytest.mark.parametrize("batched", [False, True])
def test_rank_and_index_are_ignored(batched: bool) -> None:
    done = made({"audio": SPEECH}).map(valence_annotate, batched=batched, with_indices=True, with_rank=True)
    assert_rows(done.to_list(), SPEECH)


@pytest.mark.parametrize("batched", [False, True])
def test_all_columns_can_be_removed_even_from_earlier_annotation(batched: bool) -> None:
    dataset = made({"audio": SPEECH})
    dataset = dataset.add_column("emotion", [1, 2, 3]).add_column("mood", ["x"] * 3)
    done = dataset.map(valence_annotate, batched=batched, remove_columns=dataset.column_names)
    assert done.features == TYPES
    assert_rows(done.to_list(), SPEECH)


@pytest.mark.parametrize("batched", [False, True])
def test_columns_with_same_name_are_replaced(batched: bool) -> None:
    dataset = made({"audio": SPEECH}).add_column("emotion", [1, 2, 3]).add_column("emotion_error", [0.5] * 3)
    done = dataset.map(valence_annotate, batched=batched)
    assert {name: done.features[name] for name in NAMES} == TYPES
    assert_rows(done.to_list(), SPEECH)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shown", FORMATS)
def test_types_are_correct_if_all_rows_fail(shown: str | None, batched: bool) -> None:
    dataset = made({"audio": ["/nowhere/1.wav", "/nowhere/2.wav"]}).with_format(shown)
    done = dataset.map(valence_annotate, batched=batched)
    assert {name: done.features[name] for name in NAMES} == TYPES
    row = done.with_format(None)[0]
    assert (row["emotion"], row["emotion_timeline"], row["emotion_source"]) == (None, [], None)
    assert math.isnan(row["emotion_confidence"])
    assert all(math.isnan(score) for score in row["emotion_scores"].values())
    assert row["emotion_error"].startswith("/nowhere/1.wav: the file cannot be read")
    assert row["emotion_error_code"] == "audio_not_found"


@pytest.mark.parametrize("streamed", [False, True])
def test_error_codes_in_datasets_and_streams(streamed: bool) -> None:
    files = [(b"", None), (None, "/nowhere/x.wav"), (b"none", None)]
    dataset = Dataset.from_dict({"audio": [*({"bytes": data, "path": path} for data, path in files), None]})
    done = annotate_dataset(dataset.to_iterable_dataset() if streamed else dataset, prefix="mood", progress=False)
    codes = [row["mood_error_code"] for row in done]
    assert codes == ["audio_empty", "audio_not_found", "audio_format_unknown", None]
    assert list(done.features)[-2:] == ["mood_error", "mood_error_code"]


def test_prefix_and_own_settings() -> None:
    annotate = ValenceAnnotator("speech", "mood", model="7emotions", cache=False)
    done = Dataset.from_dict({"speech": SPEECH}).map(annotate, batched=True)
    assert done.column_names == ["speech", *(name.replace("emotion", "mood") for name in NAMES)]
    assert list(done.features["mood_scores"]) == list(Settings(model="7emotions").columns)
    expected = Engine(Settings(model="7emotions")).predict_many(SPEECH)
    assert done["mood"][:] == [prediction.emotion for prediction in expected]


def test_settings_in_fn_kwargs() -> None:
    kwargs = {"prefix": "mood", "model": "7emotions", "audio_column": "speech"}
    done = Dataset.from_dict({"speech": SPEECH}).map(valence_annotate, batched=True, fn_kwargs=kwargs)
    again = Dataset.from_dict({"speech": SPEECH}).map(
        ValenceAnnotator("speech", "mood", model="7emotions"), batched=True
    )
    assert done.to_list() == again.to_list()
    with pytest.raises(errors.SettingsError, match="api_key is not accepted in fn_kwargs"):
        valence_annotate({"audio": SPEECH[0]}, api_key="secret")


def test_batches_are_sent_in_parallel() -> None:
    with Sandbox(latency=0.2) as sandbox:
        annotate = ValenceAnnotator(base_url=sandbox.url, api_key=sandbox.api_key, concurrency=8, cache=False)
        made({"audio": voices(16)}).map(annotate, batched=True)
        assert sandbox.calls == 16
        assert sandbox.max_in_flight >= 6


MADE_BY = {
    "shuffle": lambda dataset: dataset.shuffle(seed=3),
    "select": lambda dataset: dataset.select([3, 1, 2]),
    "filter": lambda dataset: dataset.filter(lambda row: row % 2, input_columns="row"),
    "train_test_split": lambda dataset: dataset.train_test_split(test_size=0.5, seed=1)["test"],
    "concatenate_datasets": lambda dataset: concatenate_datasets([dataset.select([0, 1]), dataset.select([3])]),
    "interleave_datasets": lambda dataset: interleave_datasets([dataset.select([0, 1]), dataset.select([3, 2])]),
}


@pytest.mark.parametrize("made_by", MADE_BY)
def test_derived_datasets(made_by: str) -> None:
    files = voices(4)
    audio = [{"bytes": file, "path": None} for file in files]
    dataset = MADE_BY[made_by](made({"audio": audio}, decode=True))
    order = dataset["row"][:]
    batched, one_by_one, whole = (
        dataset.map(valence_annotate, batched=True),
        dataset.map(valence_annotate),
        annotate_dataset(dataset, progress=False),
    )
    for done in (batched, one_by_one, whole):
        assert done.features["audio"] == Audio()
        assert_rows(done.select_columns(NAMES).to_list(), [files[row] for row in order])


def test_works_in_running_event_loop() -> None:
    """Every notebook cell runs like this."""
    files = voices(3)

    async def cell() -> list[Any]:
        stream = annotate_dataset(made({"audio": files}).to_iterable_dataset())
        whole = annotate_dataset(made({"audio": files}), progress=False)
        return [made({"audio": files}).map(valence_annotate, batched=True).to_list(), whole.to_list(), list(stream)]

    for rows in asyncio.run(cell()):
        assert_rows(rows, files)


def test_only_audio_of_pending_calls_is_in_memory(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alive: set[int] = set()
    most, numbers = 0, itertools.count()

    def opened(*item: Any) -> Any:
        nonlocal most
        clip, number = open_clip(*item), next(numbers)
        alive.add(number)
        weakref.finalize(clip, alive.discard, number)
        most = max(most, len(alive))
        return clip

    monkeypatch.setattr("valence_integrations.engine._job.open_clip", opened)
    made({"audio": voices(200)}).save_to_disk(tmp_path / "clips")
    dataset = datasets.load_from_disk(tmp_path / "clips")
    engine = Engine(Settings(base_url=service.url, concurrency=4, limits=None, cache=False))
    done = dataset.map(ValenceAnnotator(engine=engine), batched=True)
    assert len(done) == next(numbers) == 200
    assert most <= 4 + 8


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("batched", [False, True])
def test_worker_processes(service: Sandbox, batched: bool) -> None:
    files = voices(8)
    assert_rows(made({"audio": files[:1]}).map(valence_annotate).to_list(), files[:1])
    before = service.calls
    done = made({"audio": files}).map(valence_annotate, batched=batched, num_proc=2)
    assert service.calls - before == 7
    assert_rows(done.to_list(), files)


def test_audio_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Audio, "decode_example", refuse)
    dataset = made({"audio": SPEECH}, decode=True)
    for batched in (False, True):
        done = dataset.map(valence_annotate, batched=batched)
        assert done.features["audio"] == Audio()
        assert_rows(done.select_columns(NAMES).to_list(), SPEECH)
    streamed = list(annotate_dataset(dataset.to_iterable_dataset()))
    assert_rows(streamed, SPEECH)


def test_files_of_decoders_are_sent_unchanged() -> None:
    class AudioDecoder:
        def __init__(self, path: str) -> None:
            self._hf_encoded = {"bytes": None, "path": path}

        def get_all_samples(self) -> None:
            raise AssertionError

    assert_rows([valence_annotate({"audio": AudioDecoder(path)}) for path in SPEECH], SPEECH)

    def looks_first(row: Any) -> Any:
        row["audio"] = AudioDecoder(row["audio"])
        return {**valence_annotate(row), "audio": "seen"}

    assert_rows(Dataset.from_dict({"audio": SPEECH}).map(looks_first).to_list(), SPEECH)


def test_call_from_user_function_returns_plain_values() -> None:
    dataset = Dataset.from_dict({"audio": SPEECH})
    labels = [prediction.emotion for prediction in Engine().predict_many(SPEECH)]
    assert dataset.map(lambda row: {"label": valence_annotate(row)["emotion"]})["label"][:] == labels
    batch = dataset.map(lambda batch: {**valence_annotate(batch), "more": batch["audio"]}, batched=True)
    assert batch["emotion"][:] == labels
    assert batch["more"][:] == SPEECH
    part = functools.partial(valence_annotate, prefix="mood")
    assert_rows(dataset.map(part, batched=True).to_list(), SPEECH, "mood")


@pytest.mark.parametrize(
    ("rows", "items"),
    [
        ({"audio": SPEECH[0]}, None),
        ({"audio": SPEECH}, SPEECH),
        ({"audio": [None, SPEECH[0]], "row": [0, 1]}, [None, SPEECH[0]]),
        ({"audio": [None]}, [None]),
        ({"audio": voice(5).tolist(), "row": 1}, None),
        ({"audio": [voice(5).tolist()]}, [voice(5)]),
        ({"audio": [voice(5), voice(6)], "row": [1, 2]}, [voice(5), voice(6)]),
        ({"audio": [voice(5).tolist(), voice(5).tolist()], "row": 1}, None),
        ({"audio": (voice(5), 16_000)}, None),
        ({"audio": {"array": voice(5), "sampling_rate": 16_000}}, None),
        (SPEECH[0], None),
        (SPEECH, SPEECH),
        ({"bytes": None, "path": SPEECH[0]}, None),
    ],
)
def test_row_is_distinguished_from_batch(rows: Any, items: list[Any] | None) -> None:
    found = valence_annotate(rows)
    if items is None:
        item = rows["audio"] if isinstance(rows, dict) and "audio" in rows else rows
        item = np.array(item) if isinstance(item, list) else item
        assert_rows([found], [item])
    else:
        assert_rows([dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)], items)


def test_scores_are_numbers_and_missing_emotions_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    segments = [EmotionSegment(0.0, 5.1, "happy", 0.6, {"happy": 0.6}), EmotionSegment(5.1, 3600.00002, None, 0.2)]
    prediction = EmotionPrediction("happy", 0.6, {"happy": 0.6, "odd": 0.1}, tuple(segments), source="chunk")
    monkeypatch.setattr(Engine, "predict_many", lambda *_: [prediction])
    (row,) = made({"audio": SPEECH[:1]}).map(valence_annotate).to_list()
    assert row["emotion_scores"] == {"angry": 0.0, "happy": pytest.approx(0.6), "neutral": 0.0, "sad": 0.0}
    assert [part["end"] for part in row["emotion_timeline"]] == [5.1, 3600.00002]
    assert row["emotion_timeline"][1]["emotion"] is None


# Errors


@pytest.mark.parametrize("shown", FORMATS)
@pytest.mark.parametrize("batched", [False, True])
def test_missing_column_is_named(shown: str | None, batched: bool) -> None:
    dataset = Dataset.from_dict({"speech": SPEECH, "text": ["a"] * 3}).with_format(shown)
    with pytest.raises(errors.SettingsError, match=r"no column 'audio'; the columns are 'speech', 'text'.*audio_colu"):
        dataset.map(valence_annotate, batched=batched)
    with pytest.raises(errors.SettingsError, match=r"no column 'audio'; the columns are 'speech', 'text'.*audio_colu"):
        annotate_dataset(dataset)


def test_on_error_raise_names_the_row() -> None:
    annotate = ValenceAnnotator(on_error="raise")
    dataset = made({"audio": [*SPEECH, "/nowhere/x.wav"]})
    with pytest.raises(errors.UnreadableAudioError, match=r"/nowhere/x\.wav"):
        dataset.map(annotate)
    with pytest.raises(errors.BatchError, match=r"1 of 2 items failed(.|\n)*item 1: /nowhere/x\.wav"):
        dataset.map(annotate, batched=True, batch_size=2)
    with pytest.raises(errors.BatchError, match=r"1 of 2 items failed(.|\n)*item 3: /nowhere/x\.wav"):
        dataset.map(annotate, batched=True, batch_size=2, with_indices=True)
    with pytest.raises(errors.BatchError, match=r"item 3: /nowhere/x\.wav"):
        annotate_dataset(dataset, on_error="raise")


def test_job_error_stops_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALENCE_API_KEY")
    for batched in (False, True):
        with pytest.raises(errors.MissingKeyError):
            made({"audio": SPEECH}).map(valence_annotate, batched=batched)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "mine"}, "emotions of the model 'mine' are unknown"),
        ({"short_audio": "shorten"}, "short_audio must be one of"),
        ({"on_error": "ignore"}, "on_error must be one of"),
        ({"prefix": ""}, "prefix must be a name"),
        ({"audio_column": 3}, "audio_column must be a name"),
        ({"engine": Engine(Settings()), "model": "7emotions", "cache": False}, "Set model, cache there"),
    ],
)
def test_invalid_settings_raise_immediately(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.SettingsError, match=message):
        ValenceAnnotator(**settings)


def test_audio_column_is_not_overwritten(service: Sandbox) -> None:
    before = service.calls
    with pytest.raises(errors.SettingsError, match="would replace the audio column"):
        made({"emotion": SPEECH}).map(ValenceAnnotator("emotion"))
    assert service.calls == before


def test_one_hint_after_many_sequential_calls() -> None:
    dataset = made({"audio": voices(32, seconds=5.2)})
    with pytest.warns(UserWarning, match="batched=True") as caught:
        dataset.map(valence_annotate)
    assert len(caught) == 1
    assert dataset.map(valence_annotate, writer_batch_size=7)["emotion_error"][:] == [None] * 32


def test_no_hint_for_cached_answers() -> None:
    dataset = made({"audio": voices(2) * 40})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset.map(valence_annotate)


def test_missing_datasets_error_names_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in [
        name
        for name in sys.modules
        if name.startswith(("valence_integrations._arrow", "valence_integrations.datasets._"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(errors.MissingDependencyError, match=r'pip install "valence-integrations\[datasets\]"'):
        valence_annotate({"audio": SPEECH[0]})
    with pytest.raises(errors.MissingDependencyError, match=r'pip install "valence-integrations\[datasets\]"'):
        annotate_dataset([])


def test_import_needs_no_optional_dependency() -> None:
    code = "import sys, valence_integrations.datasets; print({'datasets', 'pyarrow', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# Fingerprints, pickles, secrets

CHANGES: list[dict[str, Any]] = [
    {"model": "7emotions"},
    {"emotions": ("angry", "happy")},
    {"base_url": "https://example.com"},
    {"short_audio": "skip"},
    {"long_audio": "chunk"},
    {"min_confidence": 0.38},
    {"sampling_rate": 8_000},
    {"prefix": "mood"},
    {"audio_column": "speech"},
    {"on_error": "raise"},
]
NO_CHANGES: list[dict[str, Any]] = [
    {"api_key": "another-key"},
    {"concurrency": 3},
    {"cache": False},
    {"cache": "/tmp/elsewhere"},
    {"emotions": ("angry", "happy", "neutral", "sad")},
    {"engine": Engine(Settings(timeout=(1, 2), max_calls=7, max_attempts=2, limits=None))},
]


def test_fingerprint_changes_with_settings_that_change_the_answer() -> None:
    hashes = [Hasher.hash(ValenceAnnotator(**change)) for change in [{}, *CHANGES]]
    assert len(set(hashes)) == len(hashes)
    engine = Engine(Settings(payload="json"))
    assert Hasher.hash(ValenceAnnotator(engine=engine)) not in hashes


@pytest.mark.parametrize("change", NO_CHANGES, ids=str)
def test_fingerprint_ignores_settings_that_do_not_change_the_answer(change: dict[str, Any], service: Sandbox) -> None:
    if "engine" in change:
        change = {"engine": Engine(Settings(base_url=service.url, max_calls=7, max_attempts=2, limits=None))}
    assert Hasher.hash(ValenceAnnotator(**change)) == Hasher.hash(valence_annotate)


def test_fingerprint_depends_on_column_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Hasher.hash(valence_annotate)
    monkeypatch.setattr(_annotator, "_SCHEMA", 1_000)
    assert Hasher.hash(valence_annotate) != before


def test_fingerprint_of_valence_annotate_depends_on_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Hasher.hash(valence_annotate)
    inside = Hasher.hash(lambda row: valence_annotate(row))
    monkeypatch.setenv("VALENCE_API_KEY", "another-key")
    monkeypatch.setenv("VALENCE_CONCURRENCY", "2")
    assert Hasher.hash(valence_annotate) == before
    monkeypatch.setenv("VALENCE_MODEL", "7emotions")
    assert Hasher.hash(valence_annotate) == Hasher.hash(ValenceAnnotator(model="7emotions")) != before
    assert Hasher.hash(lambda row: valence_annotate(row)) != inside


MAPPED = """
import json, sys
import datasets
datasets.disable_progress_bars()
from valence_integrations import valence_annotate
dataset = datasets.load_dataset("parquet", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2])
done = dataset.map(valence_annotate, batched=True)
print(json.dumps([done._fingerprint, done["emotion"][:]]))
"""


def test_map_result_of_another_process_is_reused(service: Sandbox, tmp_path: Path) -> None:
    files = voices(3)
    made({"audio": files}).to_parquet(tmp_path / "clips.parquet")

    def run(**environment: str) -> Any:
        code = [sys.executable, "-c", MAPPED, str(tmp_path / "clips.parquet"), str(tmp_path / "hf")]
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", **environment}
        done = subprocess.run(code, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    first = run(VALENCE_CACHE_DIR=str(tmp_path / "one"), PYTHONHASHSEED="1")
    before = len(service.requests)
    second = run(
        VALENCE_CACHE_DIR=str(tmp_path / "two"),
        VALENCE_API_KEY="another-key",
        VALENCE_CONCURRENCY="2",
        PYTHONHASHSEED="2",
    )
    assert len(service.requests) == before
    assert first == second
    assert first[1] == [prediction.emotion for prediction in Engine().predict_many(files)]


def test_sandbox_results_are_not_reused_for_the_service(tmp_path: Path) -> None:
    made({"audio": voices(2)}).to_parquet(tmp_path / "clips.parquet")
    dataset = load_dataset("parquet", data_files=str(tmp_path / "clips.parquet"), split="train")
    fingerprints = set()
    for _ in range(2):
        with Sandbox() as sandbox:
            annotate = ValenceAnnotator(base_url=sandbox.url, api_key=sandbox.api_key)
            fingerprints.add(dataset.map(annotate, batched=True)._fingerprint)
            assert sandbox.calls == 2
    # The service is unreachable here: an error shows that neither cache had the sandbox's answer.
    real = Settings(base_url="https://127.0.0.1:9", api_key="key", limits=None, max_attempts=1)
    done = dataset.map(ValenceAnnotator(engine=Engine(real)), batched=True)
    assert done._fingerprint not in fingerprints
    assert done["emotion"][:] == [None, None]
    assert all("cannot be reached" in message for message in done["emotion_error"])


def test_pickles_contain_settings_but_no_key(tmp_path: Path) -> None:
    annotate = ValenceAnnotator(
        "speech", "mood", api_key="very-secret", concurrency=3, cache=tmp_path, min_confidence=0.3
    )
    pickled = pickle.dumps(annotate)
    assert b"very-secret" not in pickled
    again = pickle.loads(pickled)
    assert (again.audio_column, again.prefix, again.on_error) == ("speech", "mood", "null")
    assert again.engine.settings == annotate.engine.settings
    assert again.engine.settings.api_key == os.environ["VALENCE_API_KEY"]
    assert copy.deepcopy(annotate).engine.settings.api_key == "very-secret"
    assert "very-secret" not in repr(annotate) + repr(again)


def test_pickled_valence_annotate_keeps_settings_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_MODEL", "7emotions")
    pickled = pickle.dumps(valence_annotate)
    monkeypatch.delenv("VALENCE_MODEL")
    assert pickle.loads(pickled).engine.settings.model == "7emotions"
    assert valence_annotate.engine.settings.model == "4emotions"


# Whole datasets


@pytest.fixture
def audio(tmp_path: Path) -> Dataset:
    return made({"audio": PATHS}, decode=True).cast_column("row", Value("int16"))


WITH_AUDIO = {"audio": Audio(), "row": Value("int16"), **TYPES}


def test_dataset(audio: Dataset) -> None:
    done = annotate_dataset(audio)
    assert done.features == WITH_AUDIO
    assert done.data.column("audio").equals(audio.data.column("audio"))
    assert_rows(done.select_columns(NAMES).to_list(), PATHS)


def test_dataset_without_rows(audio: Dataset) -> None:
    done = annotate_dataset(audio.select([]))
    assert done.features == WITH_AUDIO
    assert len(done) == 0


@pytest.mark.parametrize("shown", ["numpy", "pandas", "polars", "arrow"])
def test_dataset_keeps_its_format(shown: str) -> None:
    dataset = made({"audio": SPEECH})
    assert annotate_dataset(dataset.with_format(shown)).format["type"] == shown
    done = annotate_dataset(dataset.with_format(shown, columns=["row"]))
    assert done.format["type"] == shown
    assert done.format["columns"] == ["row", *NAMES]
    assert_rows(done.with_format(None).to_list(), SPEECH)


def test_bytes_with_numpy_format() -> None:
    files = voices(2)
    done = annotate_dataset(Dataset.from_dict({"audio": files}).with_format("numpy"))
    assert_rows(done.with_format(None).to_list(), files)


def test_dataset_dict(audio: Dataset) -> None:
    done = annotate_dataset(DatasetDict(train=audio, test=audio.select([2])), prefix="mood", model="7emotions")
    assert isinstance(done, DatasetDict)
    assert list(done) == ["train", "test"]
    assert list(done["test"].features["mood_scores"]) == list(Settings(model="7emotions").columns)
    assert done["test"]["mood"][:] == [Engine(Settings(model="7emotions")).predict(SPEECH[0]).emotion]


def streams(tmp_path: Path) -> dict[str, Callable[[], IterableDataset]]:
    """Streams from every kind of source, whose rows differ in form."""

    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"audio": path, "row": row} for row, path in enumerate(SPEECH))

    def parquet() -> IterableDataset:
        embedded = [{"bytes": Path(path).read_bytes(), "path": "not/there"} for path in SPEECH]
        made({"audio": embedded}, decode=True).to_parquet(tmp_path / "clips.parquet")
        return load_dataset("parquet", data_files=str(tmp_path / "clips.parquet"), split="train", streaming=True)

    def shards() -> IterableDataset:
        with tarfile.open(tmp_path / "clips.tar", "w") as tar:
            for number, path in enumerate(SPEECH):
                tar.add(path, f"{number}.wav")
        return load_dataset("webdataset", data_files=str(tmp_path / "clips.tar"), split="train", streaming=True)

    return {
        "dataset": made({"audio": SPEECH}, decode=True).to_iterable_dataset,
        "generator": lambda: IterableDataset.from_generator(rows),
        "typed generator": lambda: IterableDataset.from_generator(
            rows, features=Features({"audio": Audio(), "row": Value("int64")})
        ),
        "parquet": parquet,
        "shards": shards,
    }


@pytest.mark.parametrize("source", ["dataset", "generator", "typed generator", "parquet", "shards"])
def test_stream(source: str, tmp_path: Path) -> None:
    stream = streams(tmp_path)[source]()
    features = copy.deepcopy(stream.features)
    column = "wav" if source == "shards" else "audio"
    done = annotate_dataset(stream, column)
    assert isinstance(done, IterableDataset)
    assert done.features[column] == (Audio() if features else Value("string"))
    assert {name: done.features[name] for name in NAMES} == TYPES
    assert_rows(list(done), SPEECH)
    assert stream.features == features


def test_stream_is_read_and_billed_incrementally(service: Sandbox) -> None:
    files = voices(60)
    read = []

    def rows() -> Iterator[dict[str, bytes]]:
        for number, file in enumerate(files):
            read.append(number)
            yield {"audio": file}

    stream = IterableDataset.from_generator(rows, features=Features({"audio": Value("binary")}))
    before = service.calls
    done = annotate_dataset(stream, concurrency=4)
    assert (len(read), service.calls) == (0, before)
    assert_rows(list(done.take(10)), files[:10])
    assert service.calls - before <= 16
    assert len(read) <= 17


def test_stream_reads_only_a_small_window_ahead(service: Sandbox) -> None:
    before = service.calls
    stream = annotate_dataset(made({"audio": voices(60, seconds=5.5)}).to_iterable_dataset())
    assert len(list(stream.take(10))) == 10
    assert service.calls - before <= 20


def test_shards_are_opened_lazily(tmp_path: Path) -> None:
    first, later = tmp_path / "first.tar", tmp_path / "later.tar"
    with tarfile.open(first, "w") as tar:
        tar.add(SPEECH[0], "one.wav")
        tar.add(SPEECH[0], "two.wav")
    shutil.copy(first, later)
    stream = load_dataset("webdataset", data_files=[str(first), str(later)], split="train", streaming=True)
    done = annotate_dataset(stream, "wav", batch_size=1)
    later.unlink()
    assert_rows(list(done.take(1)), SPEECH[:1])
    with pytest.raises(FileNotFoundError):
        list(done)


@pytest.mark.parametrize("parted", ["shuffle", "skip", "concatenate_datasets", "interleave_datasets", "resumed"])
def test_derived_streams(parted: str) -> None:
    files = voices(6)
    stream = made({"audio": [{"bytes": file, "path": None} for file in files]}, decode=True).to_iterable_dataset(3)
    if parted == "shuffle":
        stream = annotate_dataset(stream.shuffle(seed=1, buffer_size=4)).shuffle(seed=2, buffer_size=2)
    elif parted == "skip":
        stream = annotate_dataset(stream.skip(1)).skip(1).take(3)
    elif parted == "resumed":
        stream = annotate_dataset(stream)
        begun = iter(stream)
        assert [next(begun)["row"], next(begun)["row"]] == [0, 1]
        stream.load_state_dict(stream.state_dict())
        assert next(iter(stream))["row"] == 2
    else:
        together = getattr(datasets, parted)
        stream = annotate_dataset(together([stream, stream.take(2)]))
    assert stream.features["audio"] == Audio()
    rows = list(stream)
    assert len(rows) >= 3
    assert_rows(rows, [files[row["row"]] for row in rows])


def test_stream_dict_and_formats() -> None:
    stream = made({"audio": SPEECH}).to_iterable_dataset()
    done = annotate_dataset(IterableDatasetDict(train=stream))
    assert isinstance(done, IterableDatasetDict)
    assert_rows(list(done["train"]), SPEECH)
    for shown in ("numpy", "pandas", "polars", "arrow"):
        rows = list(annotate_dataset(stream.with_format(shown)))
        labels = [row["emotion"] for row in rows]
        labels = [label if isinstance(label, str) else label[0] for label in labels]
        assert [str(label) for label in labels] == [found.emotion for found in Engine().predict_many(SPEECH)]


def test_other_types_than_datasets_raise() -> None:
    with pytest.raises(TypeError, match="takes a Dataset, an IterableDataset or a dict of them"):
        annotate_dataset(SPEECH)


def test_types_survive_parquet(tmp_path: Path) -> None:
    annotate_dataset(Dataset.from_dict({"audio": PATHS})).to_parquet(tmp_path / "done.parquet")
    again = load_dataset("parquet", data_files=str(tmp_path / "done.parquet"), split="train")
    assert {name: again.features[name] for name in NAMES} == TYPES
    assert isinstance(again.data.schema.field("emotion_timeline").type, pa.ListType)
