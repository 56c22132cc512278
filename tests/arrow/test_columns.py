"""Label encodings, and types that survive a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset, load_from_disk

from tests.conftest import clips
from valence_integrations import Engine, ValenceAnnotator, annotate_dataset, errors
from valence_integrations.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("datasets_service")

NAMES = ["angry", "happy", "neutral", "sad"]
LABEL = ClassLabel(names=NAMES)
ENCODED: dict[str, Any] = {"labels": "class", "scores": "columns"}
TYPES = {
    "emotion": LABEL,
    "emotion_confidence": Value("float32"),
    **{f"emotion_{name}": Value("float32") for name in NAMES},
    "emotion_timeline": List(
        {"start": Value("float64"), "end": Value("float64"), "emotion": LABEL, "confidence": Value("float32")}
    ),
    "emotion_source": Value("string"),
    "emotion_error": Value("string"),
    "emotion_error_code": Value("string"),
}
FILES = [*clips(3), b"none", None]


@pytest.fixture(autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


def made() -> Dataset:
    audio = [file and {"bytes": file, "path": None} for file in FILES]
    return Dataset.from_dict({"audio": audio}).cast_column("audio", Audio())


def assert_encoded(rows: Iterable[dict[str, Any]]) -> None:
    if isinstance(rows, Dataset):
        rows = rows.remove_columns("audio")
    for row, prediction in zip(rows, Engine().predict_many(FILES, on_error="null"), strict=True):
        assert row["emotion"] == (None if prediction.emotion is None else NAMES.index(prediction.emotion))
        assert [part["emotion"] for part in row["emotion_timeline"]] == (
            [] if row["emotion"] is None else [row["emotion"]]
        )
        for name in NAMES:
            score = prediction.scores.get(name, math.nan)
            assert row[f"emotion_{name}"] == pytest.approx(score, abs=1e-7, nan_ok=True)


def test_whole_dataset() -> None:
    done = annotate_dataset(made(), progress=False, **ENCODED)
    assert done.features == {"audio": Audio(), **TYPES}
    assert_encoded(done)


def test_stream() -> None:
    done = annotate_dataset(made().to_iterable_dataset(), **ENCODED)
    assert done.features == {"audio": Audio(), **TYPES}
    assert_encoded(done)


@pytest.mark.parametrize("batched", [False, True])
def test_map_with_annotator_features(batched: bool) -> None:
    annotate, dataset = ValenceAnnotator(**ENCODED), made()
    assert annotate.features == TYPES
    features = Features({**dataset.features, **annotate.features})
    done = dataset.map(annotate, batched=batched, batch_size=2, writer_batch_size=1, features=features)
    assert done.features == features
    assert_encoded(done)


@pytest.mark.parametrize("batched", [False, True])
def test_map_without_features_has_same_label_indices(batched: bool) -> None:
    done = made().map(ValenceAnnotator(**ENCODED), batched=batched)
    assert done.features["emotion"] == Value("int64")
    assert_encoded(done)
    assert done.cast_column("emotion", LABEL).features["emotion"] == LABEL


def test_strings_can_be_cast_later() -> None:
    done = made().map(ValenceAnnotator(scores="columns"), batched=True).cast_column("emotion", LABEL)
    assert done["emotion"][:] == annotate_dataset(made(), progress=False, **ENCODED)["emotion"][:]


def test_features_of_another_model() -> None:
    features = ValenceAnnotator(prefix="mood", model="7emotions").features
    assert list(features) == [
        "mood",
        *(f"mood_{part}" for part in ("confidence", "scores", "timeline", "source", "error", "error_code")),
    ]
    assert len(features["mood_scores"]) == 7


def test_emotion_without_class_label_is_none() -> None:
    prediction = Engine().predict(FILES[0])
    others = tuple(name for name in NAMES if name != prediction.emotion)
    with pytest.warns(UserWarning, match=f"emotions without a column: {prediction.emotion}"):
        row = ValenceAnnotator(emotions=others, labels="class")({"audio": FILES[0]})
    assert (row["emotion"], row["emotion_confidence"]) == (None, pytest.approx(prediction.confidence))


@pytest.mark.parametrize("emotion", ["error", "error_code"])
def test_duplicate_column_names_raise(emotion: str) -> None:
    annotate = ValenceAnnotator(emotions=("angry", emotion), scores="columns")
    with pytest.raises(
        errors.SettingsError, match=f"\"columns\" would give two columns the name 'emotion_{emotion}'"
    ) as caught:
        made().map(annotate)
    assert (caught.value.code, caught.value.setting) == ("column_conflict", "scores")


def test_invalid_labels_and_scores_raise() -> None:
    with pytest.raises(errors.SettingsError, match="labels must be one of 'string', 'class', not 'int'"):
        ValenceAnnotator(labels="int")  # type: ignore[arg-type]
    with pytest.raises(errors.SettingsError, match="scores must be one of 'struct', 'columns', not 'list'"):
        ValenceAnnotator(scores="list")  # type: ignore[arg-type]


def parquet(done: Dataset, path: Path) -> Dataset:
    done.to_parquet(path / "done.parquet")
    return load_dataset("parquet", data_files=str(path / "done.parquet"), split="train")


def parquet_streamed(done: Dataset, path: Path) -> Any:
    done.to_parquet(path / "done.parquet")
    return load_dataset("parquet", data_files=str(path / "done.parquet"), split="train", streaming=True)


def on_disk(done: Dataset, path: Path) -> Dataset:
    done.save_to_disk(path / "done")
    return load_from_disk(path / "done")


def splits_on_disk(done: Dataset, path: Path) -> Dataset:
    DatasetDict(train=done).save_to_disk(path / "done")
    return load_from_disk(path / "done")["train"]


def folder(done: Dataset, path: Path) -> Dataset:
    """Write and read shards as ``push_to_hub`` does."""
    (path / "hub" / "data").mkdir(parents=True)
    for shard in range(2):
        name = f"train-{shard:05}-of-00002.parquet"
        done.shard(2, shard, contiguous=True).to_parquet(path / "hub" / "data" / name)
    return load_dataset(str(path / "hub"), split="train")


@pytest.mark.parametrize("options", [{}, ENCODED], ids=["plain", "encoded"])
@pytest.mark.parametrize("way", [parquet, parquet_streamed, on_disk, splits_on_disk, folder])
def test_types_and_values_survive(
    way: Callable[[Dataset, Path], Dataset], options: dict[str, Any], datasets_service: Sandbox, tmp_path: Path
) -> None:
    done = annotate_dataset(made(), progress=False, **options)
    again = way(done, tmp_path)
    assert again.features == done.features
    rows = list(again.remove_columns("audio") if isinstance(again, Dataset) else again.decode(False))
    for row, expected in zip(rows, done.remove_columns("audio"), strict=True):
        row.pop("audio", None)
        assert repr(row) == repr(expected)
