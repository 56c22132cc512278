"""Inputs of every batch format and source, and the columns of the result."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import soundfile
from ray.data import ActorPoolStrategy

from tests.conftest import clips, voice
from tests.with_ray.conftest import KEY, Nodes
from valence_integrations import Engine, Settings, ValenceAnnotator
from valence_integrations.errors import SettingsError
from valence_integrations.ray import ValenceActor, annotate_ray_dataset
from valence_integrations.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with Sandbox(api_key=KEY) as running:
        yield running


def expected(sandbox: Sandbox, items: list[Any]) -> list[str | None]:
    with Engine(Settings(base_url=sandbox.url, cache=False)) as engine:
        return [prediction.emotion for prediction in engine.predict_many(items)]


def types_for_datasets(sandbox: Sandbox) -> pa.Schema:
    return ValenceAnnotator(base_url=sandbox.url, cache=False).features.arrow_schema


def new_columns(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field for field in schema if field.name.startswith("emotion")])


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_every_batch_format_gives_the_same_columns(batch_format: str, nodes: Nodes, sandbox: Sandbox) -> None:
    items = [None, None, *clips(4)]
    table = pa.table({"number": range(6), "audio": pa.array(items, pa.binary())})
    ds = ray.data.from_arrow(table).map_batches(
        ValenceActor,
        fn_constructor_kwargs={"base_url": sandbox.url},
        batch_format=batch_format,
        batch_size=2,  # all labels of the first batch are missing
        compute=ActorPoolStrategy(size=1),
    )
    done = pa.concat_tables([ray.get(ref) for ref in ds.to_arrow_refs()]).sort_by("number")
    assert new_columns(done.schema).equals(types_for_datasets(sandbox))
    assert done["emotion"].to_pylist() == expected(sandbox, items)
    assert done["audio"].to_pylist() == items
    assert done["emotion_source"].to_pylist() == [None, None, *["discrete"] * 4]
    assert done["emotion_timeline"].to_pylist()[0] == []
    assert done["emotion_error"].to_pylist() == [None] * 6


def wav_file(path: Path, waveform: Any) -> None:
    soundfile.write(path, waveform, 16_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    for number in range(2):
        wav_file(folder / f"{number}.wav", voice(6.0 + number, seed=number))
    wav_file(folder / "2.wav", np.stack([voice(6.0, seed=5), voice(6.0, seed=6)], axis=1))
    return folder


def paths_of(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir())]


def from_paths(folder: Path) -> Any:
    return ray.data.from_items([{"audio": path} for path in paths_of(folder)]), "audio"


def from_binary_files(folder: Path) -> Any:
    return ray.data.read_binary_files(str(folder)), "bytes"


def from_read_audio(folder: Path) -> Any:
    return ray.data.read_audio(str(folder)), "amplitude"


def from_waveforms(folder: Path) -> Any:
    read = [soundfile.read(path, dtype="float32")[0] for path in paths_of(folder)]
    return ray.data.from_items([{"audio": wave} for wave in read]), "audio"


def from_parquet(folder: Path) -> Any:
    path = folder.parent / "structs.parquet"
    structs = [{"bytes": Path(path).read_bytes(), "path": None} for path in paths_of(folder)]
    pq.write_table(pa.table({"audio": structs}), path)
    return ray.data.read_parquet(str(path)), "audio"


def from_huggingface(folder: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    ds = datasets.Dataset.from_dict({"audio": paths_of(folder)}).cast_column("audio", datasets.Audio())
    return ray.data.from_huggingface(ds), "audio"


SOURCES = [from_paths, from_binary_files, from_read_audio, from_waveforms, from_parquet, from_huggingface]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_audio_from_every_source(
    source: Callable[[Path], Any], batch_format: str, folder: Path, nodes: Nodes, sandbox: Sandbox
) -> None:
    ds, column = source(folder)
    batch = ds.take_batch(3, batch_format=batch_format)
    table = ValenceActor(column, base_url=sandbox.url)(batch)
    assert sorted(table["emotion"].to_pylist()) == sorted(expected(sandbox, paths_of(folder)))
    assert table["emotion_error"].to_pylist() == [None] * 3
    assert {round(line[0]["end"], 2) for line in table["emotion_timeline"].to_pylist()} == {6.0, 7.0}


def test_from_files_to_parquet(folder: Path, nodes: Nodes, sandbox: Sandbox, tmp_path: Path) -> None:
    ds = ray.data.read_binary_files(str(folder), include_paths=True)
    done = annotate_ray_dataset(ds, "bytes", prefix="mood", base_url=sandbox.url, workers=1)
    done.drop_columns(["bytes"]).write_parquet(str(tmp_path / "done"))
    table = pq.read_table(tmp_path / "done").sort_by("path")
    assert table["mood"].to_pylist() == expected(sandbox, paths_of(folder))
    assert table["path"].to_pylist() == paths_of(folder)
    assert table.schema.field("mood_confidence").type == pa.float32()


def test_failed_rows_have_an_error(nodes: Nodes, sandbox: Sandbox) -> None:
    table = ValenceActor(base_url=sandbox.url)({"audio": np.array([b"no audio", clips(1)[0]], dtype=object)})
    assert [bool(text) for text in table["emotion_error"].to_pylist()] == [True, False]
    assert table["emotion_error_code"].to_pylist() == ["audio_format_unknown", None]


def test_scores_as_columns(nodes: Nodes, sandbox: Sandbox) -> None:
    table = ValenceActor(base_url=sandbox.url, scores="columns", model="7emotions")(pa.table({"audio": clips(1)}))
    assert table.schema.field("emotion_surprised").type == pa.float32()
    assert "emotion_scores" not in table.column_names


def test_segments(nodes: Nodes, sandbox: Sandbox) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, voice(20.0), 16_000, format="WAV")
    turns = [{"start": 0.0, "end": 6.0}, {"start": 8.0, "end": 15.0}]
    table = ValenceActor(base_url=sandbox.url, segments_column="turns")(
        pa.table({"audio": [buffer.getvalue()], "turns": [turns]})
    )
    assert [(part["start"], part["end"]) for part in table["emotion_timeline"].to_pylist()[0]] == [(0, 6), (8, 15)]


def test_missing_column(nodes: Nodes) -> None:
    ds = ray.data.from_items([{"bytes": b""}])
    with pytest.raises(SettingsError, match=r"no column 'audio'; the columns are 'bytes'.*read_binary_files"):
        annotate_ray_dataset(ds.materialize())
    with pytest.raises(SettingsError, match="no column 'turns'"):
        annotate_ray_dataset(ds.materialize(), "bytes", segments_column="turns")


def test_prefix_must_not_replace_audio_column(nodes: Nodes) -> None:
    with pytest.raises(SettingsError, match="would replace the audio column"):
        annotate_ray_dataset(ray.data.from_items([{"emotion": b""}]), "emotion")


def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError, match=r"takes a ray.data.Dataset, not <class 'list'>"):
        annotate_ray_dataset([{"audio": b""}])
    with pytest.raises(TypeError, match="takes the batches of map_batches"):
        ValenceActor()(["a.wav"])
