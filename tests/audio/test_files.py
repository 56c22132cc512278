"""Files that change while they are read: an item error, or an answer to what was sent."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import voice
from valence_integrations import Engine, errors
from valence_integrations._audio import files, wav
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.files import FileOnDisk
from valence_integrations._audio.open import open_clip
from valence_integrations.sandbox import Sandbox

MakeEngine = Callable[..., Engine]


def wav_file(seconds: float, seed: int = 0) -> bytes:
    return wav.encode(np.rint(voice(seconds, 8_000, seed) * 30_000).astype(np.int16), 8_000)


def flac(seconds: float, seed: int = 0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds, 8_000, seed), 8_000, format="FLAC")
    return file.getvalue()


def rewrite(path: Path) -> None:
    """Change a byte, and restore the modification time."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(1_000))


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES = [rewrite, cut, grow, replace, Path.unlink]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every file on disk, as files over 8 MB are."""
    monkeypatch.setattr(files, "_IN_MEMORY", 1_000)


def opened(path: Path) -> Clip:
    clip = open_clip(path)
    assert clip is not None
    assert isinstance(clip.source, FileOnDisk)
    return clip


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("use", ["digest", "pcm", "wav", "save"])
@pytest.mark.parametrize("data", [wav_file(6.0), flac(6.0)], ids=["wav", "flac"])
def test_file_that_changed_since_it_was_opened(change: Any, use: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(data)
    clip = opened(path)
    change(path)
    with pytest.raises(errors.UnreadableAudioError) as caught:
        getattr(clip, use)(*([tmp_path / "out.wav"] if use == "save" else []))
    assert caught.value.code == ("audio_not_found" if change is Path.unlink else "audio_changed")
    assert caught.value.item == str(path)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("change", CHANGES)
def test_file_that_changes_while_it_is_read(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    path.write_bytes(flac(60.0))
    blocks = opened(path).blocks()
    next(blocks)
    change(path)
    with pytest.raises(errors.UnreadableAudioError) as caught:
        list(blocks)
    assert caught.value.code in ("audio_changed", "audio_damaged")


def test_small_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_file(1.0))
    identity = files._identity
    seen = []

    def growing(status: os.stat_result) -> tuple[int, ...]:
        seen.append(identity(status))
        return seen[-1] if len(seen) > 1 else (*seen[-1][:-1], 0)

    monkeypatch.setattr(files, "_identity", growing)
    with pytest.raises(errors.UnreadableAudioError, match="changed while it was read"):
        open_clip(path)


def test_small_file_is_read_once(tmp_path: Path, engine: Engine, sandbox: Sandbox) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_file(6.0))
    clip = open_clip(path)
    assert clip is not None
    path.unlink()
    assert clip.wav() == wav_file(6.0)


@pytest.mark.usefixtures("large")
def test_a_write_just_after_opening_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.wav"
    waited = []
    monkeypatch.setattr(files.time, "sleep", waited.append)
    path.write_bytes(wav_file(6.0))
    opened(path)
    assert waited == [files._TICK_SECONDS], "the next write could have the same time"
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
    opened(path)
    assert len(waited) == 1


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("long_audio", ["asynch", "chunk"])
@pytest.mark.parametrize("form", [wav_file, flac])
@pytest.mark.parametrize("when", ["recipe_key", "prepare", "temporary_wav"])
def test_answers_belong_to_what_was_sent(
    long_audio: str, form: Any, when: str, sandbox: Sandbox, make_engine: MakeEngine, tmp_path: Path, monkeypatch: Any
) -> None:
    """Another voice takes the file's place before each step: an error, or an answer under the right key."""
    monkeypatch.setattr("valence_integrations._service.poller.FIRST_POLL", 0.05)
    path = tmp_path / "clip"
    path.write_bytes(form(20.0, seed=1))
    module = "_calls" if when == "temporary_wav" else "_job"
    target = f"valence_integrations.engine.{module}.{when}"
    step = getattr(__import__(target.rpartition(".")[0], fromlist=[when]), when)

    def replaced(*args: Any) -> Any:
        path.write_bytes(form(20.0, seed=2))
        return step(*args)

    engine = make_engine(long_audio=long_audio)
    with monkeypatch.context() as patch:
        patch.setattr(target, replaced)
        found = engine.predict_many([path], on_error="null")[0]
    expected = {seed: make_engine(cache=False, long_audio=long_audio).predict(form(20.0, seed=seed)) for seed in (1, 2)}
    if found.error is None:
        assert found.scores in [prediction.scores for prediction in expected.values()]
    else:
        assert found.error.code == "audio_changed"
    for seed, prediction in expected.items():
        assert engine.predict(form(20.0, seed=seed)).scores == prediction.scores


@pytest.mark.usefixtures("large")
def test_large_file_object_is_copied_and_the_copy_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = wav_file(20.0)
    file = io.BytesIO(data)
    clip = open_clip(file)
    assert clip is not None
    assert isinstance(clip.source, FileOnDisk)
    assert file.tell() == 0
    file.getbuffer()[:] = bytes(len(data))
    assert clip.digest() == hashlib.sha256(data).hexdigest()
    assert len(list(tmp_path.iterdir())) == 1
    del clip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("large")
def test_large_file_object_that_fails_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 3_000:
                raise ZeroDivisionError
            return super().read(2_000)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(errors.UnreadableAudioError, match="ZeroDivisionError"):
        open_clip(Failing(wav_file(20.0)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("large")
def test_upload_is_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav_file(20.0))
    opened(path).save(tmp_path / "upload.wav")
    path.write_bytes(bytes(100))
    assert not (tmp_path / "upload.wav").is_symlink()
    assert (tmp_path / "upload.wav").read_bytes() == wav_file(20.0)
