"""Items are the caller's again as soon as the engine has taken them."""

from __future__ import annotations

import array
import io
from collections import UserDict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import clips, voice
from valence_integrations import Engine, ValenceAnnotator, ValenceEmotionPipeline, errors
from valence_integrations.engine import Segmented
from valence_integrations.engine._taken import taken

RATE = 8_000
VOICES = [voice(5.0, RATE, seed) for seed in range(4)]
FILES = clips(4)


def same_file(refill: Callable[[bytearray], object]) -> Iterator[object]:
    buffer = bytearray(len(FILES[0]))
    for file in FILES:
        buffer[:] = file
        yield refill(buffer)
    buffer[:] = bytes(len(buffer))


def same_array(form: Callable[[np.ndarray], object], dtype: str = "float32") -> Iterator[object]:
    buffer = np.zeros(len(VOICES[0]), dtype)
    for wave in VOICES:
        buffer[:] = wave if dtype.startswith("float") else np.rint(wave * 30_000)
        yield form(buffer)
    buffer[:] = 0


def same_list() -> Iterator[object]:
    samples: list[float] = []
    channels = [samples, samples]
    for wave in VOICES:
        samples[:] = wave.tolist()
        yield channels, RATE
    samples.clear()


def same_sequence(samples: Any) -> Iterator[object]:
    for wave in VOICES:
        for place, sample in enumerate(wave.tolist()):
            samples[place] = sample
        yield samples, RATE


def same_reader() -> Iterator[object]:
    file = io.BytesIO()
    for data in FILES:
        file.seek(0)
        file.truncate()
        file.write(data)
        file.seek(0)
        yield file


def same_dict() -> Iterator[object]:
    row: dict[str, object] = {}
    for wave in VOICES:
        row.update(array=wave, sampling_rate=RATE)
        yield row
    row.clear()


def same_segments() -> Iterator[object]:
    buffer, turns = np.zeros(len(VOICES[0]), "float32"), [{"start": 0.0, "end": 0.0}]
    for wave in VOICES:
        buffer[:], turns[0]["end"] = wave, 5.0
        yield Segmented((buffer, RATE), turns)
    turns[0]["end"] = buffer[:] = 0.0


def read_only(buffer: np.ndarray) -> np.ndarray:
    view = buffer[:]
    view.flags.writeable = False
    return view


REFILLED: dict[str, Callable[[], Iterator[object]]] = {
    "array": lambda: same_array(lambda buffer: (buffer, RATE)),
    "float64": lambda: same_array(lambda buffer: (buffer, RATE), "float64"),
    "int16": lambda: same_array(lambda buffer: (buffer, RATE), "int16"),
    "view": lambda: same_array(lambda buffer: (buffer[::1], RATE)),
    "read-only view": lambda: same_array(lambda buffer: (read_only(buffer), RATE)),
    "2-D view": lambda: same_array(lambda buffer: (buffer.reshape(1, -1), RATE)),
    "dict": lambda: same_array(lambda buffer: {"array": buffer, "sampling_rate": RATE}),
    "raw": lambda: same_array(lambda buffer: {"raw": buffer, "sampling_rate": RATE}),
    "other mapping": lambda: same_array(lambda buffer: UserDict(array=buffer, sampling_rate=RATE)),
    "one dict": same_dict,
    "array.array": lambda: same_sequence(array.array("f", bytes(4 * len(VOICES[0])))),
    "deque": lambda: same_sequence(deque([0.0] * len(VOICES[0]))),
    "list of lists": same_list,
    "bytearray": lambda: same_file(lambda buffer: buffer),
    "memoryview": lambda: same_file(memoryview),
    "read-only memoryview": lambda: same_file(lambda buffer: memoryview(buffer).toreadonly()),
    "dict of bytearray": lambda: same_file(lambda buffer: {"bytes": buffer, "path": None}),
    "file object": same_reader,
    "segments": same_segments,
}


def rows(predictions: Any) -> list[dict[str, float]]:
    return [found.scores for found in predictions]


@pytest.fixture
def expected(engine: Engine) -> list[dict[str, float]]:
    found = rows(engine.predict_many([(wave, RATE) for wave in VOICES]))
    assert len({tuple(row.values()) for row in found}) == 4
    return found


@pytest.mark.parametrize("form", REFILLED)
def test_a_generator_may_refill_one_buffer(form: str, engine: Engine) -> None:
    expected = rows(engine.predict_many(FILES)) if "byte" in form or "file" in form or "memory" in form else None
    if form == "int16":
        expected = rows(engine.predict_many([(np.rint(wave * 30_000).astype("int16"), RATE) for wave in VOICES]))
    if expected is None:
        expected = rows(engine.predict_many([(wave, RATE) for wave in VOICES]))
    assert len({tuple(row.values()) for row in expected}) == 4
    assert rows(engine.predict_many(REFILLED[form]())) == expected
    assert rows(engine.iter_predict(REFILLED[form]())) == expected


def test_a_pipeline_may_be_given_one_buffer(engine: Engine, expected: list[dict[str, float]]) -> None:
    outputs = list(ValenceEmotionPipeline(engine=engine)(REFILLED["array"]()))
    assert [{one["label"]: one["score"] for one in output} for output in outputs] == expected


def test_a_row_may_be_refilled(engine: Engine, expected: list[dict[str, float]]) -> None:
    annotate = ValenceAnnotator(engine=engine)
    found = [annotate({"audio": item})["emotion_scores"] for item in REFILLED["dict"]()]
    assert found == [pytest.approx(row) for row in expected]


class Reused(Sequence[object]):
    """Indexed like a torch dataset, with one buffer."""

    def __init__(self) -> None:
        self.buffer = np.zeros(len(VOICES[0]))

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: Any) -> Any:
        self.buffer[:] = VOICES[range(4)[index]]
        return self.buffer, RATE


def test_a_dataset_may_reuse_one_buffer(engine: Engine, expected: list[dict[str, float]]) -> None:
    assert rows(engine.predict_many(Reused())) == expected


def constants() -> dict[str, object]:
    array = np.zeros(80_000)
    array.flags.writeable = False
    return {
        "str": "a.wav",
        "Path": Path("a.wav"),
        "bytes": FILES[0],
        "memoryview of bytes": memoryview(FILES[0]),
        "array": array,
        "view": array[10:],
        "array of bytes": np.frombuffer(FILES[0], "int16"),
        "None": None,
        "NaN": np.float64("nan"),
    }


@pytest.mark.parametrize("form", constants())
def test_constant_items_are_not_copied(form: str) -> None:
    item = constants()[form]
    assert taken(item) is item


def test_a_memory_mapped_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.raw"
    np.zeros(80_000, "float32").tofile(path)
    mapped = np.memmap(path, "float32", mode="r")
    excerpt = mapped[8_000:]
    assert taken(excerpt) is excerpt
    written = np.memmap(path, "float32", mode="r+")
    assert not np.shares_memory(taken(written), written)


def test_items_of_a_list_are_not_copied(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations.engine._taken.taken", lambda _: pytest.fail("copied"))
    assert len(engine.predict_many([(wave, RATE) for wave in VOICES])) == 4


class Broken:
    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise StopIteration


class Full(bytearray):
    def __bytes__(self) -> bytes:
        raise MemoryError


class Odd(dict[str, object]):
    def items(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize("item", [Broken(), (Broken(), RATE), {"array": Broken()}, Full(4), Odd()], ids=repr)
def test_an_item_that_cannot_be_copied_is_an_item_error(item: object, engine: Engine) -> None:
    found = engine.predict_many(iter([FILES[0], item, FILES[1]]), on_error="null")
    assert [prediction.error is None for prediction in found] == [True, False, True]
    assert isinstance(found[1].error, errors.ItemError)
    assert rows([found[0], found[2]]) == rows(engine.predict_many(FILES[:2]))
