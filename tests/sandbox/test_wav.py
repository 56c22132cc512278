from __future__ import annotations

import struct

import numpy as np
import pytest

from valence_integrations.sandbox._errors import ApiError
from valence_integrations.sandbox._wav import read_wav

TONE = 0.5 * np.sin(np.arange(1600) / 10)
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def fmt(encoding=1, channels=1, rate=8000, bits=16) -> bytes:
    block = channels * bits // 8
    return struct.pack("<HHIIHH", encoding, channels, rate, rate * block, block, bits)


@pytest.mark.parametrize(("width", "tolerance"), [(1, 1e-2), (2, 1e-4), (3, 1e-6), (4, 1e-6)])
def test_integers_of_every_width(wav, width, tolerance):
    audio = read_wav(wav(TONE, rate=16000, width=width))
    assert audio.rate == 16000
    assert audio.duration == 0.1
    np.testing.assert_allclose(audio.samples, TONE, atol=tolerance)


@pytest.mark.parametrize("bits", [32, 64])
def test_floats(bits):
    data = TONE.astype(f"<f{bits // 8}").tobytes()
    audio = read_wav(riff((b"fmt ", fmt(3, bits=bits)), (b"data", data)))
    np.testing.assert_allclose(audio.samples, TONE, atol=1e-7)


def test_extensible_and_other_chunks():
    extension = struct.pack("<HHI", 22, 16, 0) + struct.pack("<H", 1) + GUID_TAIL
    chunks = [(b"LIST", b"odd"), (b"fmt ", fmt(0xFFFE) + extension), (b"data", b"\0\x40" * 4), (b"id3 ", b"later")]
    assert read_wav(riff(*chunks)).samples.tolist() == [0.5] * 4


DATA = (b"data", b"\0\0" * 100)
WHOLE = riff((b"fmt ", fmt()), DATA)


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", "INVALID_AUDIO", "RIFF/WAVE"),
        (b"not audio at all, but text", "INVALID_AUDIO", "RIFF/WAVE"),
        (b"fLaC" + bytes(100), "INVALID_AUDIO", "RIFF/WAVE"),
        (WHOLE[:-1], "INVALID_AUDIO", "truncated"),
        (WHOLE[:30], "INVALID_AUDIO", "truncated"),
        (
            WHOLE[:4] + struct.pack("<I", 4) + WHOLE[8:40] + struct.pack("<I", 999) + WHOLE[44:],
            "INVALID_AUDIO",
            "beyond",
        ),
        (riff(DATA), "INVALID_AUDIO", "no fmt"),
        (riff((b"fmt ", fmt())), "INVALID_AUDIO", "no data"),
        (riff((b"fmt ", fmt()[:10]), DATA), "INVALID_AUDIO", "too short"),
        (riff((b"fmt ", fmt()), (b"data", b"")), "INVALID_AUDIO", "empty"),
        (riff((b"fmt ", fmt()), (b"data", b"123")), "INVALID_AUDIO", "within a sample"),
        (riff((b"fmt ", fmt(rate=0)), DATA), "INVALID_AUDIO", "contradict"),
        (riff((b"fmt ", fmt(channels=0)), DATA), "INVALID_AUDIO", "contradict"),
        (riff((b"fmt ", fmt(bits=12)), DATA), "INVALID_AUDIO", "contradict"),
        (riff((b"fmt ", fmt(0xFFFE)), DATA), "INVALID_AUDIO", "extensible"),
        (riff((b"fmt ", fmt(7, bits=8)), DATA), "UNSUPPORTED_AUDIO", "encoding 7"),
        (riff((b"fmt ", fmt(channels=2)), DATA), "UNSUPPORTED_AUDIO", "mono"),
        (riff((b"fmt ", fmt(rate=7999)), DATA), "UNSUPPORTED_AUDIO", "8000 Hz"),
        (riff((b"fmt ", fmt(3, bits=32)), (b"data", struct.pack("<f", np.nan))), "INVALID_AUDIO", "finite"),
    ],
)
def test_invalid_files_are_refused(data, code, message):
    with pytest.raises(ApiError, match=message) as error:
        read_wav(data)
    assert error.value.status == 400
    assert error.value.body["error_code"] == code
