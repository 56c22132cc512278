"""Items that raise, block, lie or vanish: one error each, and never another exception."""

from __future__ import annotations

import io
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import clips, voice
from valence_integrations import Engine, errors
from valence_integrations._audio import decode, files, wav
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.open import open_clip
from valence_integrations._audio.spool import Spool
from valence_integrations.engine import Segmented
from valence_integrations.engine._segmented import excerpts
from valence_integrations.sandbox import Sandbox

WAVE = voice(1.5)
PCM = np.rint(WAVE * 32767).astype(np.int16)
FILE = wav.encode(PCM, 16_000)


class OddError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


RAISED = [ZeroDivisionError("zero"), MemoryError(), RecursionError(), StopIteration(3), OddError(), OSError("disk")]


def encode(item: object) -> bytes:
    clip = open_clip(item)
    assert clip is not None
    return clip.wav()


def failure(item: object) -> errors.ItemError:
    """Error of an item when it is opened, decoded and encoded."""
    with pytest.raises(errors.ItemError) as caught:
        encode(item)
    return caught.value


class RaisingFile:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int = -1) -> bytes:
        raise self.error


class RaisingAttribute:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        raise self.__dict__["error"]


class RaisingArray:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise self.error


class RaisingDecoder:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_all_samples(self) -> None:
        raise self.error


class RaisingPath(RaisingArray, os.PathLike):  # type: ignore[type-arg]
    def __fspath__(self) -> str:
        raise self.error


class RaisingClass(RaisingArray):
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise self.error


class Endless:
    """Has every attribute, and each gives itself."""

    def __getattr__(self, name: str) -> Endless:
        return self

    def __call__(self, *args: object, **kwargs: object) -> Endless:
        return self


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "form", [RaisingFile, RaisingAttribute, RaisingArray, RaisingDecoder, RaisingPath, RaisingClass, "pair", "dict"]
)
def test_whatever_an_item_raises_is_its_error(form: Any, error: Exception) -> None:
    item: object
    if form == "pair":
        item = (RaisingArray(error), 16_000)
    elif form == "dict":
        item = {"bytes": None, "path": RaisingPath(error)}
    else:
        item = form(error)
    found = failure(item)
    if isinstance(error, MemoryError):
        assert found.code == "no_memory"
    else:
        assert found.code in ("audio_unreadable", "audio_open_failed", "waveform_invalid")
    assert found.item
    if isinstance(error, ZeroDivisionError):
        assert "ZeroDivisionError: zero" in found.message


def test_object_that_is_everything() -> None:
    assert failure(Endless()).code == "audio_unreadable"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_are_not_errors_of_items(error: type[BaseException]) -> None:
    with pytest.raises(error):
        open_clip(RaisingFile(error()))  # type: ignore[arg-type]


def test_neighbours_of_hostile_items_are_right(engine: Engine) -> None:
    one, two, three = clips(3)
    expected = engine.predict_many([one, two, three])
    hostile = [form(error) for form in (RaisingFile, RaisingAttribute, RaisingArray) for error in RAISED]
    found = engine.predict_many([one, *hostile, two, Endless(), 5, ["a.wav"], three], on_error="null")
    failed = [index for index, prediction in enumerate(found) if prediction.error is not None]
    assert failed == [*range(1, 19), 20, 21, 22]
    assert [found[index].scores for index in (0, 19, 23)] == [prediction.scores for prediction in expected]


@pytest.mark.parametrize(
    ("item", "code", "message"),
    [
        ({"bytes": 50_000_000}, "item_invalid", 'its "bytes" are of type int, not bytes'),
        ({"bytes": True}, "item_invalid", "of type bool"),
        ({"bytes": "UklGRiQAAABXQVZF"}, "item_invalid", "of type str"),
        ({"bytes": "UklGRiQAAABXQVZF", "path": "a.wav"}, "item_invalid", "of type str"),
        ({"bytes": [1, 2, 3]}, "item_invalid", "of type list"),
        ({"path": 5}, "item_invalid", 'its "path" is of type int, not text'),
        ({"path": ["a.wav"]}, "item_invalid", "of type list"),
        (["a.wav", "b.wav"], "waveform_invalid", "must be numbers"),
        ([Path("a.wav")], "waveform_invalid", "not a waveform"),
        ([[0.1, 0.2], [0.3]], "waveform_invalid", "not a waveform"),
        ([0.1, [0.2]], "waveform_invalid", "not a waveform"),
        ([1j, 2], "waveform_invalid", "must be numbers"),
        (np.array(["0.5", "0.1"] * 9_000, dtype=object), "waveform_invalid", "must be numbers, not str"),
        (np.array([True, False] * 9_000, dtype=object), "waveform_invalid", "must be numbers, not bool"),
        (np.array([{}, 1.0], dtype=object), "waveform_invalid", "not a waveform"),
        (np.array([10**400, 1], dtype=object), "waveform_invalid", "not a waveform"),
        ([10**400, 1], "waveform_invalid", "not a waveform"),
        (np.array(0.5), "waveform_invalid", "one dimension"),
        (np.zeros(9, "datetime64[s]"), "waveform_invalid", "must be numbers"),
        (np.zeros(9, [("a", "f4")]), "waveform_invalid", "must be numbers"),
        (np.zeros((0, 2)), "audio_empty", "no audio"),
        (np.full(9_000, -np.inf), "waveform_invalid", "NaN or infinite"),
        ((WAVE, 2**31), "sampling_rate_invalid", "1000 to 1000000 Hz"),
        ((WAVE, 10**5000), "sampling_rate_invalid", "not a value of type int"),
        ((WAVE, float("nan")), "sampling_rate_invalid", "not nan"),
        ((WAVE, None), "sampling_rate_invalid", "not None"),
        ("a\0b.wav", "audio_path_invalid", "cannot be read"),
        ("\ud800.wav", "audio_path_invalid", "cannot be read"),
        ("\udcff.wav", "audio_not_found", "No such file"),
        ("UklGRiQAAABXQVZF" * 10_000, "audio_open_failed", "cannot be read"),
        (SimpleNamespace(read=lambda size: None), "item_invalid", "gives NoneType, not bytes"),
    ],
    ids=lambda value: value[:20].encode("ascii", "replace").decode() if isinstance(value, str) else "",
)
def test_wrong_values_say_what_was_given(item: object, code: str, message: str) -> None:
    error = failure(item)
    assert error.code == code
    assert len(str(error)) < 1_500
    str(error).encode()
    with pytest.raises(errors.ItemError, match=message):
        raise error


def test_missing_values_in_a_dict_are_a_missing_item() -> None:
    nan = float("nan")
    assert open_clip({"bytes": nan, "path": nan}) is None
    assert open_clip({"array": nan, "sampling_rate": nan}) is None


def test_asynchronous_file_is_an_error_that_says_await() -> None:
    class Upload:
        async def read(self, size: int = -1) -> bytes:
            return b""

    assert failure(Upload()).remedy == "Give the bytes: await file.read()."


def test_file_object_whose_position_fails_is_read() -> None:
    class Stuck(io.BytesIO):
        def seek(self, *args: int) -> int:
            raise ZeroDivisionError

    clip = open_clip(Stuck(FILE))
    assert clip is not None
    assert clip.wav() == FILE


class TestNotRegular:
    """Nothing of this may block; a watchdog would end the test run."""

    @pytest.fixture(autouse=True)
    def watchdog(self) -> Iterator[None]:
        timer = threading.Timer(20, os.abort)
        timer.start()
        yield
        timer.cancel()

    @pytest.fixture
    def pipe(self, tmp_path: Path) -> Path:
        os.mkfifo(tmp_path / "pipe.wav")
        return tmp_path / "pipe.wav"

    @pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "/dev/stdin", ".", "/proc/self/fd"])
    def test_devices_and_folders(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = []
        monkeypatch.setattr(os, "open", lambda *args: opened.append(args))
        error = failure(path)
        assert error.code == "audio_path_invalid" or not Path(path).exists()
        assert opened == []

    @pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/self/maps", "/proc/kcore", "/proc/self/mem"])
    def test_files_of_the_kernel(self, path: str) -> None:
        assert failure(path).code in ("audio_empty", "audio_open_failed", "audio_format_unknown", "audio_not_found")

    def test_pipes(self, pipe: Path) -> None:
        assert failure(pipe).code == "audio_path_invalid"
        descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            assert failure(file).code == "audio_path_invalid"

    def test_file_that_becomes_a_pipe_before_it_is_opened(
        self, tmp_path: Path, pipe: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "clip.wav"
        path.write_bytes(FILE)
        whole = files._check_regular

        def replaced(status: os.stat_result) -> None:
            whole(status)
            if path.is_file():
                pipe.replace(path)

        monkeypatch.setattr(files, "_check_regular", replaced)
        assert failure(path).code == "audio_path_invalid"

    def test_sockets_and_anonymous_pipes(self) -> None:
        left, right = socket.socketpair()
        reading, writing = os.pipe()
        with left, right, left.makefile("rb") as file, open(reading, "rb") as pipe:  # noqa: PTH123
            assert failure(file).code == "audio_path_invalid"
            assert failure(pipe).code == "audio_path_invalid"
        os.close(writing)

    def test_device_that_is_open(self) -> None:
        with open("/dev/zero", "rb") as file:  # noqa: PTH123
            assert failure(file).code == "audio_path_invalid"

    def test_file_object_without_end(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(files, "_MAX_STREAM", 2**24)
        error = failure(SimpleNamespace(read=lambda size: bytes(size)))
        assert error.code == "audio_open_failed"
        assert list(tmp_path.iterdir()) == []


class TestUnknownLength:
    """Files as programs write them to a pipe."""

    def flac(self, seconds: float) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, voice(seconds, 8_000), 8_000, format="FLAC")
        data = bytearray(file.getvalue())
        data[21] &= 0xF0  # the upper bits of the number of samples, beside those of the sample size
        data[22:26] = bytes(4)
        return bytes(data)

    @pytest.mark.parametrize("seconds", [2.0, 70.0])
    def test_flac(self, seconds: float) -> None:
        clip = open_clip(self.flac(seconds))
        assert clip is not None
        assert (clip.duration, len(clip.pcm())) == (seconds, 8_000 * seconds)

    def test_flac_is_annotated(self, engine: Engine) -> None:
        assert engine.estimate([self.flac(6.0)]).audio_seconds == 6.0
        assert engine.predict(self.flac(6.0)).duration == 6.0

    @pytest.mark.parametrize("length", [0, 0xFFFF_FFFF, 0x7FFF_F024])
    @pytest.mark.parametrize("riff", [0, 36, 0xFFFF_FFFF])
    def test_wav(self, length: int, riff: int) -> None:
        data = b"RIFF" + struct.pack("<I", riff) + FILE[8:40] + struct.pack("<I", length) + FILE[44:]
        clip = open_clip(data)
        assert clip is not None
        assert not clip.ready
        assert clip.duration == 1.5
        assert clip.wav() == FILE

    def test_rf64(self) -> None:
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0xFFFF_FFFF, len(PCM) * 2, len(PCM), 0)
        data = b"RF64\xff\xff\xff\xffWAVE" + ds64 + FILE[12:40] + b"\xff\xff\xff\xff" + FILE[44:]
        clip = open_clip(data)
        assert clip is not None
        assert clip.wav() == FILE

    def test_empty_audio_before_other_chunks_is_no_unknown_length(self) -> None:
        body = FILE[8:40] + bytes(4) + b"LIST" + struct.pack("<I", 20_000) + bytes(20_000)
        assert failure(b"RIFF" + struct.pack("<I", len(body)) + body).message.endswith("it holds no audio.")


class TestLargeFiles:
    def sparse(self, path: Path, size: int, head: bytes) -> Path:
        with path.open("wb") as file:
            file.write(head)
            file.truncate(size)
        return path

    def test_wav_of_more_than_4_gb(self, tmp_path: Path) -> None:
        head = FILE[:4] + b"\xff" * 4 + FILE[8:40] + b"\xff" * 4
        rate = (48_000).to_bytes(4, "little")
        head = head[:24] + rate + head[28:]
        clip = open_clip(self.sparse(tmp_path / "long.wav", 44 + 48_000 * 2 * 20 * 3600, head))
        assert clip is not None
        assert clip.duration == 20 * 3600

    @pytest.mark.parametrize("policy", ["asynch", "chunk", "skip"])
    def test_more_than_a_day_is_too_long(self, tmp_path: Path, make_engine: Any, policy: str) -> None:
        head = FILE[:4] + b"\xff" * 4 + FILE[8:40] + b"\xff" * 4
        path = self.sparse(tmp_path / "long.wav", 2**40, head)
        engine = make_engine(long_audio=policy)
        with pytest.raises(errors.AudioTooLongError, match=r"long\.wav: it has more than 24 hours"):
            engine.predict(path)
        assert engine.estimate([path]).unreadable[0].code == "audio_too_long"

    def test_more_than_its_header_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations._audio.decode.MAX_DECODED_SECONDS", 1.0)
        for format_ in ("FLAC", "MP3", "OGG"):
            file = io.BytesIO()
            soundfile.write(file, WAVE, 16_000, format=format_)
            info = decode.Info(16_000, 1, 100)
            with pytest.raises(errors.AudioTooLongError, match="more than"):
                list(decode.blocks(file.getvalue(), info))

    def test_upload_of_more_than_1_gb_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations._audio.clip._MAX_UPLOAD", 40_000)
        for item in (FILE, PCM, (WAVE, 16_000)):
            clip = open_clip(item)
            assert clip is not None
            with pytest.raises(errors.FileTooLargeError, match="more than 1 GB"):
                clip.save(tmp_path / "upload.wav")

    def test_rf64_that_claims_more_than_there_is(self, tmp_path: Path) -> None:
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, 2**60, 2**60, 2**59, 0)
        head = b"RF64\xff\xff\xff\xffWAVE" + ds64 + FILE[12:40] + b"\xff" * 4
        assert failure(self.sparse(tmp_path / "a.wav", 2**33, head)).code == "audio_damaged"

    def test_format_of_gigabytes_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        head = b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 2**31) + FILE[20:36]
        path = self.sparse(tmp_path / "a.wav", 2**31 + 100, head)
        with path.open("rb") as file:
            read: Callable[[int], bytes] = file.read
            wrapped = SimpleNamespace(
                read=lambda size: read(size) if size < 1000 else pytest.fail(f"{size} bytes read"),
                seek=file.seek,
                tell=file.tell,
            )
            with pytest.raises(wav.WavError, match="ends before"):
                wav.read_header(wrapped, path.stat().st_size)  # type: ignore[arg-type]

    def test_millions_of_chunks_are_not_walked(self) -> None:
        chunk = b"JUNK\0\0\0\0"
        with pytest.raises(wav.WavError, match="more than 10000 chunks"):
            wav.read_header(io.BytesIO(FILE[:12] + chunk * 2**19), 12 + 2**22)
        head = wav.read_header(io.BytesIO(FILE + chunk * 2**19), len(FILE) + 2**22)
        assert not head.plain

    @pytest.mark.parametrize(
        ("channels", "rate", "message"),
        [
            (0, 16_000, "0 channels"),
            (1025, 16_000, "1025 channels; at most 1024"),
            (1, 0, "0 Hz"),
            (1, 2**31, "1000000 Hz"),
        ],
    )
    def test_headers_that_claim_too_much(self, channels: int, rate: int, message: str) -> None:
        fmt = struct.pack("<HHIIHH", 1, channels, rate, 0, channels * 2, 16)
        data = bytes(max(channels, 1) * 2 * 8_000)
        body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", len(data)) + data
        assert message in failure(b"RIFF" + struct.pack("<I", len(body)) + body).message


def test_memory_error_while_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        raise MemoryError

    clip = open_clip(np.stack([WAVE, WAVE]))
    assert clip is not None
    monkeypatch.setattr("valence_integrations._audio.clip.mix_down", exhausted)
    with pytest.raises(errors.UnreadableAudioError, match="not enough memory"):
        clip.pcm()


def test_no_space_for_a_temporary_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("valence_integrations._audio.spool.MAX_IN_MEMORY", 1_000)
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    error = failure(np.stack([WAVE, WAVE]))
    assert "temporary file: No space left on device" in error.message
    assert "TMPDIR" in error.remedy
    clip = open_clip(FILE)
    assert clip is not None
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(errors.ItemError, match="No space left"):
        clip.save(tmp_path / "a.wav")


def test_raw_extension_does_not_hide_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_IN_MEMORY", 1_000)
    for format_ in ("WAV", "FLAC"):
        path = tmp_path / f"{format_}.raw"
        soundfile.write(path.with_suffix(".x"), PCM, 16_000, format=format_)
        path.with_suffix(".x").rename(path)
        clip = open_clip(path)
        assert clip is not None
        assert np.array_equal(clip.pcm(), PCM)


class RaisingSegment(dict):  # type: ignore[type-arg]
    def __getitem__(self, key: object) -> Any:
        raise ZeroDivisionError("segment")

    def __repr__(self) -> str:
        raise ZeroDivisionError("repr")


class TestSegments:
    CALL = wav.encode(np.rint(voice(20.0, 8_000) * 30_000).astype(np.int16), 8_000)
    GOOD = {"start": 1.0, "end": 7.0}  # noqa: RUF012

    @pytest.mark.parametrize(
        "bad",
        [
            {"start": 0, "end": 10**400},
            {"start": -(10**400), "end": 3},
            {"start": 1e308, "end": 1.7e308},
            {"start": "0", "end": 5},
            {"start": 0, "end": 10**5000},
            {"timestamp": RaisingFile(ZeroDivisionError())},
            {"start": RaisingAttribute(ZeroDivisionError("attribute")), "end": 3},
            RaisingSegment(),
            ["x" * 100_000],
        ],
        ids=range(9),
    )
    def test_hostile_segment_is_an_error_of_itself(self, bad: Any, engine: Engine) -> None:
        expected = engine.predict(Segmented(self.CALL, [self.GOOD])).segments[0]
        found = engine.predict_many([Segmented(self.CALL, [bad, self.GOOD])], on_error="null")[0]
        assert found.error is not None
        assert found.error.code in ("segments_invalid", "segment_outside_audio", "audio_unreadable")
        assert "segment 0" in str(found.error)
        assert len(str(found.error)) < 500
        assert [segment.emotion for segment in found.segments] == [None, expected.emotion]

    @pytest.mark.parametrize("segments", [RaisingFile(ZeroDivisionError()), itertools.repeat(GOOD), 5, object()])
    def test_hostile_list_of_segments_is_an_error_of_the_item(
        self, segments: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("valence_integrations.engine._segmented._MAX_SEGMENTS", 1_000)
        found = engine.predict_many([Segmented(self.CALL, segments), self.CALL[:48_044]], on_error="null")
        assert found[0].error is not None
        assert found[0].error.code == "segments_invalid"

    def test_segments_that_raise(self, engine: Engine) -> None:
        def segments() -> Iterator[dict[str, float]]:
            yield self.GOOD
            raise ZeroDivisionError("third")

        found = engine.predict_many([Segmented(self.CALL, segments())], on_error="null")[0]
        assert found.error is not None
        assert "ZeroDivisionError: third" in found.error.message

    def test_segment_of_less_than_a_tenth_of_a_second(self, make_engine: Any, sandbox: Sandbox) -> None:
        item = Segmented(self.CALL, [{"start": 1.0, "end": 1.05}])
        engine = make_engine()
        assert engine.predict_many([item], on_error="null")[0].error.code == "audio_too_short"
        assert engine.estimate([item]).unreadable[0].code == "audio_too_short"
        assert sandbox.calls == 0

    def test_segments_of_long_audio_stay_on_disk(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        turns = [self.GOOD, {"start": 8.0, "end": 20.0}]
        expected = engine.predict(Segmented(self.CALL, turns))
        for module in ("spool", "clip"):
            monkeypatch.setattr(f"valence_integrations._audio.{module}.MAX_IN_MEMORY", 1_000)
        clip = open_clip(self.CALL)
        assert clip is not None
        cuts = excerpts(Segmented(self.CALL, turns), clip).audio
        assert all(isinstance(cut, Clip) and isinstance(cut.source, Spool) for cut in cuts)
        found = engine.predict(Segmented(self.CALL, turns))
        assert found.cached
        assert found.segments == expected.segments
