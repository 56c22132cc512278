from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import polars as pl  # noqa: F401 - `datasets` looks for it among the imported modules
import pytest
from datasets import Audio, Dataset, DatasetDict, List, Value
from datasets.fingerprint import Hasher

from tests.conftest import clips
from valence_integrations import Engine, ValenceAnnotator, annotate_dataset, errors, valence_annotate
from valence_integrations.engine import Segmented
from valence_integrations.sandbox import Sandbox

CALLS = clips(3, 20.0)
TURNS: list[Any] = [
    [{"start": 0.0, "end": 6.5, "speaker": "A"}, {"start": 6.0, "end": 12.0, "speaker": "B"}],
    [{"start": 9.0, "end": 15.0, "speaker": "A"}, {"start": 2.0, "end": 3.0, "speaker": "B"}],
    [],
    None,
    [{"start": 1.0, "end": 8.0, "speaker": "A"}],
]
AUDIO = [CALLS[0], CALLS[1], CALLS[2], CALLS[2], None]

FORMATS = [None, "numpy", "pandas", "polars", "arrow"]
ANNOTATE: dict[str, Any] = {"segments_column": "turns"}


@pytest.fixture(autouse=True)
def service(datasets_service: Sandbox) -> Sandbox:
    datasets.disable_progress_bars()
    return datasets_service


def made(turns: list[Any] = TURNS) -> Dataset:
    audio = [file and {"bytes": file, "path": None} for file in AUDIO]
    dataset = Dataset.from_dict({"audio": audio, "turns": turns, "row": list(range(5))})
    return dataset.cast_column("audio", Audio(decode=False))


def assert_rows(rows: Any, short: Any = "pad", number: int = 5) -> None:
    expected = Engine().predict_many([Segmented(*pair, short) for pair in zip(AUDIO, TURNS, strict=True)])
    assert [len(row["emotion_timeline"]) for row in rows] == [2, 2, 0, 0, 0][:number]
    for row, prediction in zip(rows, expected[:number], strict=True):
        assert row["emotion"] == prediction.emotion
        assert row["emotion_confidence"] == pytest.approx(np.float32(prediction.confidence), nan_ok=True)
        assert row["emotion_source"] == prediction.source
        assert row["emotion_error"] is None
        assert row["emotion_timeline"] == [
            {"start": s.start, "end": s.end, "emotion": s.emotion, "confidence": np.float32(s.confidence)}
            for s in prediction.segments
        ]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("bare", [False, True], ids=["with_indices", "input_columns"])
@pytest.mark.parametrize("shown", FORMATS)
def test_map_in_every_format(shown: str | None, bare: bool, batched: bool, streamed: bool) -> None:
    # Row by row, pandas loses the type of a list without an entry, and then `datasets` cannot write the rows.
    number = 2 if (shown, batched) == ("pandas", False) else 5
    dataset = made().select(range(number))
    source = (dataset.to_iterable_dataset() if streamed else dataset).with_format(shown)
    how: dict[str, Any] = {"input_columns": ["audio", "turns"]} if bare else {"with_indices": True}
    how |= {"batched": True, "batch_size": 2} if batched else {}
    done = source.map(valence_annotate, fn_kwargs=ANNOTATE, **how).with_format(None)
    assert_rows(list(done), number=number)


@pytest.mark.parametrize("kind", [made, lambda: made().to_iterable_dataset(), lambda: DatasetDict(all=made())])
def test_annotate_dataset(kind: Any) -> None:
    done = annotate_dataset(kind(), segments_column="turns", short_segments="widen", progress=False)
    done = done["all"] if isinstance(done, DatasetDict) else done
    assert_rows(list(done), "widen")
    assert done.features["turns"] == made().features["turns"]


def test_short_segments_option(service: Sandbox) -> None:
    widened, padded = (
        made().map(ValenceAnnotator(segments_column="turns", short_segments=way), batched=True)  # type: ignore[arg-type]
        for way in ("widen", "pad")
    )
    assert service.calls == 5
    assert_rows(list(widened), "widen")
    assert_rows(list(padded), "pad")
    assert widened[0] == padded[0]


@pytest.mark.parametrize("whisper", [False, True])
@pytest.mark.parametrize("lists", [False, True])
def test_forms_of_the_column(whisper: bool, lists: bool) -> None:
    def form(turn: dict[str, Any]) -> dict[str, Any]:
        return {"timestamp": [turn["start"], turn["end"]], "text": "well"} if whisper else turn

    turns: list[Any] = [[form(turn) for turn in row or []] for row in TURNS]
    feature = {"timestamp": List(Value("float32")), "text": Value("string")}
    if not whisper:
        feature = {"start": Value("float32"), "end": Value("float32"), "speaker": Value("string")}
    if lists:
        turns = [{key: [turn[key] for turn in row] for key in feature} for row in turns]
        dataset = made(turns).cast_column("turns", {key: List(kind) for key, kind in feature.items()})
    else:
        dataset = made(turns).cast_column("turns", List(feature))
    for batched in (False, True):
        assert_rows(list(dataset.map(valence_annotate, batched=batched, fn_kwargs=ANNOTATE)))
    assert_rows(list(annotate_dataset(dataset.to_iterable_dataset(), **ANNOTATE)))


def test_stream_with_segments_bills_row_by_row(service: Sandbox) -> None:
    audio = [CALLS[0]] * 30
    turns = [[{"start": row / 4, "end": row / 4 + 6}] for row in range(30)]
    stream = Dataset.from_dict({"audio": audio, "turns": turns}).to_iterable_dataset()
    assert len(list(annotate_dataset(stream, concurrency=4, **ANNOTATE).take(3))) == 3
    assert service.calls == 4
    assert len(list(annotate_dataset(stream, batch_size=6, **ANNOTATE).take(5))) == 5
    assert service.calls == 6


BAD = [*TURNS[:1], [TURNS[1][0], {"start": 15.0, "end": 25.0, "speaker": "B"}], *TURNS[2:]]


def test_invalid_segment_error_names_row() -> None:
    done = made(BAD).map(valence_annotate, batched=True, fn_kwargs=ANNOTATE)
    assert [row["emotion_error"] is None for row in done] == [True, False, True, True, True]
    expected = f"audio of {len(CALLS[1])} bytes, segment 1: 15 to 25 s lies outside of the audio, which has 20.00 s"
    assert done[1]["emotion_error"].startswith(expected)
    heard, bad = done[1]["emotion_timeline"]
    assert (bad["start"], bad["end"], bad["emotion"]) == (15.0, 25.0, None)
    assert done[1]["emotion"] == heard["emotion"]
    with pytest.raises(errors.BatchError, match=r"item 1: audio of \d+ bytes, segment 1: 15 to 25 s lies outside"):
        annotate_dataset(made(BAD), on_error="raise", progress=False, **ANNOTATE)
    with pytest.raises(errors.AudioError, match="segment 1: 15 to 25 s lies outside"):
        made(BAD).map(ValenceAnnotator(on_error="raise", **ANNOTATE))


def test_missing_segments_column_is_named() -> None:
    for use in (
        lambda: made().map(valence_annotate, fn_kwargs={"segments_column": "chunks"}),
        lambda: made().with_format("arrow").map(valence_annotate, fn_kwargs={"segments_column": "chunks"}),
        lambda: annotate_dataset(made(), segments_column="chunks"),
        lambda: annotate_dataset(made().to_iterable_dataset(), segments_column="chunks"),
    ):
        with pytest.raises(
            errors.SettingsError, match=r"no column 'chunks'; .*holds the segments: .*\(segments_column=\"\.\.\.\"\)"
        ):
            use()
    with pytest.raises(errors.SettingsError, match=r"input_columns=\[<the audio>, 'turns'\]"):
        made().map(valence_annotate, input_columns=["audio"], fn_kwargs=ANNOTATE)
    with pytest.raises(errors.SettingsError, match="would replace the segments column"):
        made().map(ValenceAnnotator(prefix="turns", segments_column="turns"))
    with pytest.raises(errors.SettingsError, match="segments_column must be a name, not ''"):
        ValenceAnnotator(segments_column="")
    with pytest.raises(errors.SettingsError, match="short_segments must be one of 'pad', 'widen'"):
        ValenceAnnotator(short_segments="drop")  # type: ignore[arg-type]


def test_fingerprint() -> None:
    options: list[dict[str, Any]] = [
        {},
        {"segments_column": "turns"},
        {"segments_column": "chunks"},
        {"segments_column": "turns", "short_segments": "widen"},
        {"labels": "class"},
        {"scores": "columns"},
    ]
    assert len({Hasher.hash(ValenceAnnotator(**option)) for option in options}) == len(options)
