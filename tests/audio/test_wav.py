from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valence_integrations import errors
from valence_integrations._audio import wav
from valence_integrations._audio.open import open_clip
from valence_integrations._audio.wav import WavError, WavHeader

PCM = (np.arange(-400, 400) * 40).astype(np.int16)


def fmt(tag: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, **odd: int) -> bytes:
    block = odd.get("block", channels * (bits // 8))
    return struct.pack("<HHIIHH", tag, channels, rate, odd.get("byte_rate", rate * block), block, bits)


def chunk(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes, magic: bytes = b"RIFF", form: bytes = b"WAVE", size: int | None = None) -> bytes:
    body = form + b"".join(chunks)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def read(data: bytes) -> WavHeader:
    return wav.read_header(io.BytesIO(data), len(data))


def test_encode_matches_standard_library() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(22_050)
        writer.writeframes(PCM.tobytes())
    assert wav.encode(PCM, 22_050) == file.getvalue()
    assert read(file.getvalue()) == WavHeader(22_050, 1, 16, 800, 44, plain=True)


def test_chunks_around_audio_are_skipped() -> None:
    data = riff(chunk(b"JUNK", b"x" * 33), chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes()), chunk(b"LIST", b"abc"))
    assert read(data) == WavHeader(16_000, 1, 16, 800, 86, plain=True)


@pytest.mark.parametrize(
    ("tag", "bits", "channels"), [(1, 8, 1), (1, 24, 1), (1, 32, 1), (3, 32, 1), (3, 64, 1), (1, 16, 2), (1, 16, 6)]
)
def test_only_16_bit_pcm_is_plain(tag: int, bits: int, channels: int) -> None:
    data = riff(chunk(b"fmt ", fmt(tag, channels, bits=bits)), chunk(b"data", bytes(240)))
    header = read(data)
    assert header.frames == 240 // (channels * bits // 8)
    assert header.plain == (tag == 1 and bits == 16)


@pytest.mark.parametrize(
    "data",
    [
        riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes()), size=0),
        riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes())) + b"trailing",
        riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes()), b"LIST"),
        riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes()), chunk(b"LIST", b"abcd", length=99)),
        riff(chunk(b"fmt ", fmt(byte_rate=1)), chunk(b"data", PCM.tobytes())),
        riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes(), length=0xFFFF_FFFF), size=0xFFFF_FFFF),
        riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes(), length=0x7FFF_F024)),
    ],
    ids=["riff size", "trailing bytes", "half a chunk", "chunk too long", "byte rate", "ffmpeg pipe", "sox pipe"],
)
def test_unusual_files_are_read_but_not_sent_unchanged(data: bytes) -> None:
    assert read(data) == WavHeader(16_000, 1, 16, 800, 44, plain=False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"RIFF", "cut off within its header"),
        (riff(form=b"AVI "), "not a WAV file"),
        (riff(), "ends before its audio"),
        (riff(chunk(b"fmt ", fmt())), "ends before its audio"),
        (riff(chunk(b"data", PCM.tobytes())), "before its format"),
        (riff(chunk(b"fmt ", fmt()[:10]), chunk(b"data", PCM.tobytes())), "format is cut off"),
        (riff(chunk(b"fmt ", fmt(), length=9999)), "chunk is cut off"),
        (riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes(), length=4000)), "1600 of 4000 bytes"),
        (riff(chunk(b"fmt ", fmt()), chunk(b"data", b"")), "no audio"),
        (riff(chunk(b"fmt ", fmt()), chunk(b"data", b"abc")), "within a frame"),
        (riff(chunk(b"fmt ", fmt()), chunk(b"fmt ", fmt()), chunk(b"data", bytes(8))), "two formats"),
        (riff(chunk(b"fmt ", fmt()), chunk(b"data", bytes(8)), chunk(b"data", bytes(8))), "two 'data' chunks"),
        (riff(chunk(b"fmt ", fmt(channels=0)), chunk(b"data", bytes(8))), "0 channels"),
        (riff(chunk(b"fmt ", fmt(rate=0)), chunk(b"data", bytes(8))), "0 Hz"),
        (riff(chunk(b"fmt ", fmt(block=3)), chunk(b"data", bytes(6))), "frames of 3 bytes"),
        (riff(chunk(b"fmt ", fmt(bits=0)), chunk(b"data", bytes(6))), "0 bits"),
    ],
)
def test_damaged_file_error_has_reason(data: bytes, reason: str) -> None:
    with pytest.raises(WavError, match=reason):
        read(data)


@pytest.mark.parametrize("cut", range(1, 48))
def test_truncated_header_raises(cut: int) -> None:
    with pytest.raises(WavError):
        read(wav.encode(PCM, 16_000)[:cut].ljust(12, b"\0") if cut < 12 else wav.encode(PCM, 16_000)[:cut])


def test_big_endian_and_64_bit_files() -> None:
    rifx = b"RIFX" + struct.pack(">I", 36 + 1600) + b"WAVEfmt " + struct.pack(">IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    assert read(rifx + b"data" + struct.pack(">I", 1600) + bytes(1600)) == WavHeader(8_000, 1, 16, 800, 44, plain=False)
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, 1600, 800, 0))
    rf64 = riff(
        ds64, chunk(b"fmt ", fmt()), chunk(b"data", bytes(1600), length=0xFFFF_FFFF), magic=b"RF64", size=0xFFFF_FFFF
    )
    assert read(rf64) == WavHeader(16_000, 1, 16, 800, 80, plain=False)
    with pytest.raises(WavError, match="1500 of 1600"):
        read(rf64[:-100])


def test_samples_are_found_after_other_chunks() -> None:
    data = riff(chunk(b"LIST", b"abcd"), chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes()), chunk(b"LIST", b"ef"))
    assert np.array_equal(wav.samples(data), PCM)
    assert np.shares_memory(wav.samples(data), np.frombuffer(data, np.uint8))


def frames_of(data: bytes) -> int | None:
    """Number of frames that a file has when it is opened, after it was decoded, or None if it is an error."""
    try:
        clip = open_clip(data)
        assert clip is not None
        samples = len(clip.pcm())
    except errors.AudioError:
        return None
    assert samples == pytest.approx(clip.duration * clip.rate, abs=1)
    # The least that a frame takes: half a byte in ADPCM; resampling to 8 kHz adds at most a factor of 8.
    assert samples * 2 <= 64 * len(data)
    return clip.frames


VALID = [
    riff(chunk(b"fmt ", fmt()), chunk(b"data", PCM.tobytes() * 8)),
    riff(chunk(b"LIST", b"abc"), chunk(b"fmt ", fmt(3, 2, bits=32)), chunk(b"data", bytes(6_400)), chunk(b"id3 ", b"")),
    riff(chunk(b"fmt ", fmt(bits=24) + b"\0\0"), chunk(b"data", bytes(4_800)), size=0),
    riff(
        chunk(b"ds64", struct.pack("<QQQI", 0, 6_400, 3_200, 0)),
        chunk(b"fmt ", fmt()),
        chunk(b"data", bytes(6_400), length=0xFFFF_FFFF),
        magic=b"RF64",
        size=0xFFFF_FFFF,
    ),
    b"RIFX" + struct.pack(">I", 6_436) + b"WAVEfmt " + struct.pack(">IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    + b"data" + struct.pack(">I", 6_400) + bytes(6_400),
]  # fmt: skip


@pytest.mark.parametrize("data", VALID, ids=["plain", "float", "24 bits", "RF64", "RIFX"])
def test_valid_files(data: bytes) -> None:
    assert frames_of(data) == {0: 6_400, 1: 800, 2: 1_600, 3: 3_200, 4: 3_200}[VALID.index(data)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(VALID), st.data())
def test_changed_files_are_consistent_clips_or_errors(valid: bytes, data: st.DataObject) -> None:
    changed = bytearray(valid)
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, min(len(changed), 120) - 1))
        changed[position] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]) | st.integers(0, 255))
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(0, len(changed))) :]
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, min(len(changed), 120)))
        changed[position:position] = data.draw(st.binary(max_size=20))
    frames_of(bytes(changed))
