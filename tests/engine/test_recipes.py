from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import voice
from valence_integrations import Engine
from valence_integrations._audio import routing, wav
from valence_integrations.sandbox import Sandbox

MakeEngine = Callable[..., Engine]


def flac(seconds: float, seed: int = 0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds, 8_000, seed), 8_000, format="FLAC")
    return file.getvalue()


def wav_file(seconds: float) -> bytes:
    return wav.encode(np.rint(voice(seconds, 8_000) * 30_000).astype(np.int16), 8_000)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Sources decoded since the start of the test."""

    seen: list[object] = []
    from valence_integrations._audio import decode

    blocks = decode.blocks

    def watched(source: object, frames: int) -> object:
        seen.append(source)
        return blocks(source, frames)  # type: ignore[arg-type]

    monkeypatch.setattr(decode, "blocks", watched)
    return seen


@pytest.mark.parametrize("long_audio", ["asynch", "chunk", "truncate"])
def test_file_sent_before_is_not_decoded_again(
    sandbox: Sandbox, make_engine: MakeEngine, decoded: list[object], long_audio: str
) -> None:
    items = [flac(2.0), flac(6.0), flac(32.0), wav_file(6.0)]
    first = make_engine(long_audio=long_audio).predict_many(items)
    calls = sandbox.calls + sandbox.uploads
    decoded.clear()
    again = make_engine(long_audio=long_audio)
    assert [{**vars(p), "cached": False} for p in again.predict_many(items)] == [vars(p) for p in first]
    assert all(p.cached for p in again.predict_many(items))
    assert decoded == []
    assert sandbox.calls + sandbox.uploads == calls


def test_long_wav_is_not_cut_again(make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(wav_file(40.0))
    first = make_engine(long_audio="chunk").predict(path)
    monkeypatch.setattr("valence_integrations._audio.routing.cut_points", lambda *_: pytest.fail("cut"))
    again = make_engine(long_audio="chunk").predict(path)
    assert (again.segments, again.source, again.cached) == (first.segments, "chunk", True)


@pytest.mark.parametrize("changed", [{"short_audio": "repeat"}, {"model": "7emotions"}])
def test_changed_settings_need_another_recipe(
    sandbox: Sandbox, make_engine: MakeEngine, decoded: list[object], changed: dict[str, str]
) -> None:
    make_engine().predict(flac(2.0))
    assert not make_engine(**changed).predict(flac(2.0)).cached
    assert (len(decoded), sandbox.calls) == (2, 2)


def test_changed_rendering_is_not_hidden_by_recipes(
    sandbox: Sandbox, make_engine: MakeEngine, decoded: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_engine().predict(flac(2.0))
    monkeypatch.setattr("valence_integrations.engine._recipes.RENDERING", 2)
    monkeypatch.setattr(routing, "_padded", lambda pcm, rate: np.pad(pcm, (0, 5 * rate - len(pcm))))
    assert not make_engine().predict(flac(2.0)).cached
    assert (len(decoded), sandbox.calls) == (2, 2)


def test_missing_answer_is_requested_again(make_engine: MakeEngine, decoded: list[object], tmp_path: Path) -> None:
    item = flac(40.0)
    first = make_engine(long_audio="chunk", cache=tmp_path).predict(item)
    with sqlite3.connect(tmp_path / "answers.sqlite3") as file:
        file.execute("DELETE FROM answers WHERE key = (SELECT min(key) FROM answers)")
    file.close()
    engine = make_engine(long_audio="chunk", cache=tmp_path)
    assert engine.predict(item).segments == first.segments
    assert (engine.stats.calls, len(decoded)) == (1, 2)


def test_changed_file_misses_the_cache(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    path.write_bytes(flac(6.0, seed=1))
    before = make_engine().predict(path)
    path.write_bytes(flac(6.0, seed=2))
    after = make_engine().predict(path)
    assert not after.cached
    assert after.scores != before.scores


def test_without_a_cache_files_are_decoded_again(make_engine: MakeEngine, decoded: list[object]) -> None:
    for _ in range(2):
        make_engine(cache=False).predict(flac(6.0))
    assert len(decoded) == 2
