from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import voice
from valence_integrations import errors
from valence_integrations._audio import wav
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.open import open_clip

WAVE = voice(1.5)
PCM = np.rint(WAVE * 32767).astype(np.int16)
FILE = wav.encode(PCM, 16_000)
STEREO = np.stack([WAVE, -0.5 * WAVE], axis=1)


def encoded(wave: np.ndarray, rate: int = 16_000, **kwargs: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, **kwargs)
    return file.getvalue()


def opened(item: object, sampling_rate: int = 16_000) -> Clip:
    clip = open_clip(item, sampling_rate)
    assert clip is not None
    return clip


def likeness(pcm: np.ndarray, wave: np.ndarray) -> float:
    length = min(len(pcm), len(wave))
    return float(np.corrcoef(pcm[:length], wave[:length])[0, 1])


class Decoder:
    def get_all_samples(self) -> SimpleNamespace:
        return SimpleNamespace(data=STEREO.T, sample_rate=16_000)


class Tensor:
    """Imitates a torch tensor that requires grad, which NumPy cannot convert directly."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self.array


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    path.write_bytes(FILE)
    return path


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, io.BytesIO, lambda data: {"bytes": data, "path": None}])
def test_supported_wav_is_sent_unchanged(form) -> None:
    assert opened(form(FILE)).wav() == FILE


def test_supported_wav_path_is_sent_unchanged(path: Path) -> None:
    for item in (
        path,
        str(path),
        {"path": str(path)},
        {"path": str(path), "bytes": None},
        {"bytes": FILE, "path": "x.wav"},
    ):
        assert opened(item).wav() == FILE
    with path.open("rb") as file:
        assert opened(file).wav() == FILE
        assert file.tell() == 0, "the file is left as it was"


def test_length_of_large_file_is_read_from_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav.encode(np.tile(PCM, 200), 16_000))
    assert path.stat().st_size > 8 * 2**20
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: pytest.fail("the whole file was read"))
        clip = opened(path)
    assert (clip.duration, clip.ready) == (300.0, True)


@pytest.mark.parametrize(
    "item",
    [
        WAVE,
        WAVE.astype(np.float64),
        WAVE.tolist(),
        tuple(WAVE.tolist()),
        (WAVE, 16_000),
        (WAVE, np.int64(16_000)),
        [float(x) for x in WAVE],
        {"array": WAVE, "sampling_rate": 16_000},
        {"raw": WAVE.tolist(), "sampling_rate": 16_000},
        {"array": WAVE, "path": "clip.wav", "sampling_rate": 16_000},
        {"array": WAVE},
        PCM,
        PCM.tolist(),
        PCM.astype(np.int32) * 65_536,
        Tensor(WAVE),
        (Tensor(WAVE[None, :]), 16_000),
        pd.Series(WAVE),
        np.stack([WAVE, WAVE]),
        np.stack([WAVE, WAVE], axis=1),
        WAVE[None, :],
        WAVE[:, None],
        encoded(WAVE, format="FLAC"),
        encoded(WAVE, format="AIFF"),
        encoded(np.stack([WAVE, WAVE], axis=1), format="WAV"),
    ],
    ids=lambda item: type(item).__name__,
)
def test_all_lossless_forms_give_the_same_wav(item: object) -> None:
    clip = opened(item)
    assert clip.duration == 1.5
    sent = clip.wav()
    assert wav.read_header(io.BytesIO(sent), len(sent)) == wav.WavHeader(16_000, 1, 16, 24_000, 44, plain=True)
    assert np.abs(np.frombuffer(sent[44:], np.int16).astype(int) - PCM).max() <= 1


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"]
)
def test_every_sample_type(dtype: str) -> None:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        samples = WAVE.astype(dtype)
    else:
        middle = 0 if kind.kind == "i" else 2.0 ** (8 * kind.itemsize - 1)
        samples = (WAVE.astype(np.float64) * (2.0 ** (8 * kind.itemsize - 1) - 1) + middle).astype(dtype)
    pcm = opened(samples).pcm()
    assert np.abs(pcm / 32768 - WAVE).max() < {1: 0.011, 2: 0.001}.get(kind.itemsize, 0.0001)


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "MS_ADPCM", "IMA_ADPCM"]
)
def test_every_wav_encoding(subtype: str) -> None:
    pcm = opened(encoded(WAVE, format="WAV", subtype=subtype)).pcm()
    assert likeness(pcm, WAVE) > 0.98


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("CAF", "PCM_16"), ("AU", "PCM_16")],
)
def test_other_formats(container: str, subtype: str) -> None:
    clip = opened(encoded(WAVE, format=container, subtype=subtype))
    assert clip.duration == pytest.approx(1.5, abs=0.1)
    assert likeness(clip.pcm(), WAVE) > 0.95


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("webm", "libopus")])
def test_formats_with_av_extra(container: str, codec: str) -> None:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    wave48 = voice(1.5, 48_000)
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave48[None, :], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        out.mux([*stream.encode(frame), *stream.encode(None)])
    clip = opened(file.getvalue())
    assert clip.sampling_rate == 48_000
    assert clip.duration == pytest.approx(1.5, abs=0.1)
    assert len(clip.pcm()) == pytest.approx(72_000, abs=5_000)
    assert np.sqrt(np.mean(np.square(clip.pcm() / 32768))) == pytest.approx(np.sqrt(np.mean(wave48**2)), rel=0.15)


def test_missing_av_error_names_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    m4a = struct.pack(">I4s4s", 24, b"ftyp", b"M4A ") + bytes(100)
    with pytest.raises(errors.UnreadableAudioError, match=r'pip install "valence-integrations\[av\]"') as caught:
        open_clip(m4a)
    assert caught.value.code == "audio_needs_av"


@pytest.mark.parametrize(
    ("rate", "sent"),
    [
        (4_000, 8_000),
        (8_000, 8_000),
        (11_025, 11_025),
        (44_100, 44_100),
        (48_000, 48_000),
        (96_000, 44_100),
        (192_000, 44_100),
    ],
)
def test_rates(rate: int, sent: int) -> None:
    time = np.arange(rate) / rate
    clip = opened((0.5 * np.sin(2 * np.pi * 440 * time), rate))
    pcm = clip.pcm()
    assert (clip.duration, clip.rate) == (1.0, sent)
    assert len(pcm) == pytest.approx(sent, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(pcm))) == pytest.approx(440, abs=1)
    header = wav.read_header(io.BytesIO(clip.wav()), len(clip.wav()))
    assert (header.sampling_rate, header.plain) == (sent, True)


def test_96_khz_wav_is_resampled() -> None:
    assert not opened(wav.encode(PCM, 96_000)).ready
    assert not opened(wav.encode(PCM, 7_999)).ready


def test_channels_are_mixed_down_in_either_layout() -> None:
    expected = np.rint(0.25 * WAVE * 32768)
    for item in (STEREO, STEREO.T, (STEREO.T, 16_000), Decoder(), encoded(STEREO, format="WAV", subtype="FLOAT")):
        assert np.abs(opened(item).pcm() - expected).max() <= 1


def test_datasets_decoder_gives_encoded_file(path: Path) -> None:
    class HfDecoder(Decoder):
        _hf_encoded = {"path": str(path), "bytes": None}  # noqa: RUF012

    assert opened(HfDecoder()).wav() == FILE


@pytest.mark.parametrize("shape", [(2, 2), (20, 30), (100, 100), (40, 33), (2, 3, 1000)])
def test_ambiguous_channel_axis_raises(shape: tuple[int, ...]) -> None:
    with pytest.raises(errors.UnreadableAudioError, match="channels"):
        open_clip(np.zeros(shape, dtype=np.float32))


def test_float_waveform_beyond_one_is_scaled_not_clipped() -> None:
    assert likeness(opened(WAVE * 32768).pcm(), WAVE) > 0.9999
    assert np.abs(opened(WAVE * 32768).pcm().astype(int)).max() == 32768


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT, {"bytes": None, "path": None}]
)
def test_missing_items(missing: object) -> None:
    assert open_clip(missing) is None


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("no/such/file.wav", r"no/such/file\.wav: .*No such file"),
        ("", "path is empty"),
        (".", "not a file"),
        ("a\0b.wav", "cannot be read"),
        ("https://example.com/a.wav", "not fetched"),
        ("s3://bucket/a.wav", "not fetched"),
        ("hf://datasets/x/a.wav", "not fetched"),
        (b"", "empty"),
        (b"<!DOCTYPE html>", "not a readable audio file"),
        (np.array([FILE[:-2] + b"\0\0"])[0], "numpy strips the NUL bytes"),
        (b"RIFF\x24\0\0\0WAVEfm", "damaged"),
        (FILE[:-500], r"cut off: it has only 47500 of 48000 bytes.*Export or copy it again"),
        (encoded(WAVE, format="FLAC")[:9000], "damaged|cut off"),
        (5, "item of type int"),
        (object(), "item of type object"),
        ({"audio": 1}, r"keys \['audio'\]"),
        ([], "no audio"),
        (np.zeros(0), "no audio"),
        (np.array([0.1, np.nan]), "NaN or infinite"),
        (np.array([0.1, np.inf]), "NaN or infinite"),
        (np.array(["a", "b"]), "must be numbers"),
        (np.array([1j, 2j]), "must be numbers"),
        (np.array([True, False]), "must be numbers"),
        (["a", "b"], "must be numbers"),
        ([[0.1, 0.2], [0.3]], "not a waveform"),
        ([2**40, 0], "32 bits"),
        ((WAVE, 0), "sampling_rate"),
        ((WAVE, "16k"), "sampling_rate"),
        ((WAVE, 10), "1000 to 1000000 Hz, not 10"),
        (wav.encode(PCM, 1), "1000 to 1000000 Hz, not 1"),
        (encoded(WAVE, format="WAV")[:20] + b"\x34\x12" + encoded(WAVE, format="WAV")[22:], "audio"),
        ((WAVE, 22050.5), "sampling_rate"),
        ((16_000, WAVE), r"not \(sampling_rate, waveform\)"),
        (io.StringIO("text"), 'mode "rb"'),
        (encoded(np.array([0.0, np.nan, 0.5]), format="WAV", subtype="FLOAT"), "NaN or infinite"),
        (encoded(np.array([0.0, 3e38, 0.5]), format="WAV", subtype="FLOAT"), "NaN or infinite"),
        (encoded(np.full((9, 2), 3e38), format="WAV", subtype="FLOAT"), "NaN or infinite"),
    ],
    ids=str,
)
def test_invalid_item_error_has_name_and_reason(item: object, message: str) -> None:
    with pytest.raises(errors.UnreadableAudioError, match=message) as caught:
        opened(item).wav()
    assert caught.value.item


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("none.wav", "audio_not_found"),
        ("", "audio_path_invalid"),
        (".", "audio_path_invalid"),
        ("a\0b.wav", "audio_path_invalid"),
        ("x" * 5_000, "audio_open_failed"),
        ("https://example.com/a.wav", "url_not_fetched"),
        (b"", "audio_empty"),
        (np.zeros(0), "audio_empty"),
        (b"<!DOCTYPE html>", "audio_format_unknown"),
        (FILE[:-500], "audio_damaged"),
        (encoded(WAVE, format="FLAC")[:9000], "audio_damaged"),
        (5, "item_invalid"),
        ({"audio": 1}, "item_invalid"),
        (io.StringIO("text"), "item_invalid"),
        (np.array([FILE[:-2] + b"\0\0"])[0], "item_invalid"),
        ((16_000, WAVE), "item_invalid"),
        (np.array([0.1, np.nan]), "waveform_invalid"),
        (np.zeros((40, 50)), "waveform_invalid"),
        (["a", "b"], "waveform_invalid"),
        ((WAVE, 10), "sampling_rate_invalid"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_each_reason_has_an_error_code(item: object, code: str) -> None:
    with pytest.raises(errors.UnreadableAudioError) as caught:
        opened(item).wav()
    assert caught.value.code == code
    assert str(caught.value) == " ".join(filter(None, (caught.value.headline, caught.value.remedy)))


def test_failing_file_object_raises_item_error() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("disk on fire")

    with pytest.raises(errors.UnreadableAudioError, match="disk on fire"):
        open_clip(Broken())


def test_closed_file_object_raises_item_error(path: Path) -> None:
    file = path.open("rb")
    file.close()
    with pytest.raises(errors.UnreadableAudioError, match=r"clip\.wav.*closed file"):
        open_clip(file)


def test_named_pipe_raises_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(errors.UnreadableAudioError, match=r"pipe\.wav: .*not a file"):
        open_clip(tmp_path / "pipe.wav")


def test_saved_file_equals_sent_file(tmp_path: Path, path: Path) -> None:
    for number, item in enumerate([FILE, STEREO, (WAVE, 96_000), encoded(WAVE, format="FLAC")]):
        clip = opened(item)
        clip.save(tmp_path / f"{number}.wav")
        assert (tmp_path / f"{number}.wav").read_bytes() == clip.wav()
    opened(path).save(tmp_path / "ready.wav")
    assert (tmp_path / "ready.wav").read_bytes() == FILE


def test_long_audio_is_decoded_in_blocks() -> None:
    clip = opened(encoded(np.tile(WAVE, 40), format="FLAC"))
    sizes = [len(block) for block in clip.blocks()]
    assert max(sizes) <= 2**18
    assert sum(sizes) == 40 * 24_000


@pytest.mark.parametrize("container", ["MP3", "OGG", "FLAC"])
def test_blocks_join_seamlessly(container: str) -> None:
    data = encoded(voice(40.0), format=container)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    pcm = opened(data).pcm()
    assert len(pcm) == len(whole) > 2 * 2**18
    assert np.abs(pcm / 32768 - whole.clip(-1, 1)).max() < 0.0001


@given(st.binary(max_size=200))
def test_any_bytes_give_clip_or_item_error(data: bytes) -> None:
    for candidate in (data, FILE[:20] + data, FILE[:36] + data + FILE[36:]):
        try:
            clip = opened(candidate)
            sent = clip.wav()
        except errors.UnreadableAudioError:
            continue
        header = wav.read_header(io.BytesIO(sent), len(sent))
        assert header.plain
        assert header.channels == 1
