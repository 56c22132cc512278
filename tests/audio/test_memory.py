"""Long audio and many channels: memory does not grow with the length of an item."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import voice
from valence_integrations import Settings
from valence_integrations._audio import decode, spool, wav
from valence_integrations._audio.open import open_clip
from valence_integrations._audio.routing import prepare

_SCRIPT = """
    import resource
    import sys
    from pathlib import Path

    import numpy as np
    import soundfile

    from valence_integrations import Settings
    from valence_integrations._audio.open import open_clip
    from valence_integrations._audio.routing import prepare

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)

    path = Path(sys.argv[1])
    prepare(open_clip(np.ones(40 * 8_000, np.float32)), Settings(long_audio="chunk"))
"""

_LONG_FLAC = """
    with soundfile.SoundFile(path, "w", 44_100, 1, format="FLAC") as file:
        for _ in range(30):
            file.write(np.zeros(44_100 * 60, np.int16))
    before = peak()
    clip, route, parts = prepare(open_clip(path), Settings(long_audio="chunk"))
    digests = {part.digest for part in parts}
    print(clip.duration, len(parts) > 110, peak() - before)
"""

_MANY_CHANNELS = """
    with soundfile.SoundFile(path, "w", 8_000, 1_024, format="WAV") as file:
        for _ in range(8):
            file.write(np.zeros((8_000, 1_024), np.int16))
    before = peak()
    clip, route, parts = prepare(open_clip(path), Settings())
    print(clip.duration, len(parts) == 1, peak() - before)
"""


@pytest.mark.parametrize(("work", "seconds"), [(_LONG_FLAC, 1_800.0), (_MANY_CHANNELS, 8.0)], ids=["FLAC", "channels"])
def test_peak_of_memory(work: str, seconds: float, tmp_path: Path) -> None:
    script = textwrap.dedent(_SCRIPT) + textwrap.dedent(work)
    command = [sys.executable, "-c", script, str(tmp_path / "long")]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert told[:2] == [str(seconds), "True"]
    # Decoded, the one has 159 MB, and a block of 2**18 frames of the other 1 GB.
    assert int(told[2]) < 80


def test_long_audio_is_cut_alike_in_memory_and_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    pcm = np.rint(voice(100.0, 8_000) * 30_000).astype(np.int16)
    for item in (wav.encode(pcm, 8_000), (np.stack([pcm, pcm]), 8_000), (pcm, 8_000), (pcm / np.float32(32768), 7_000)):
        clip = open_clip(item)
        assert clip is not None
        _, _, expected = prepare(clip, Settings(long_audio="chunk"))
        with monkeypatch.context() as patch:
            patch.setattr("valence_integrations._audio.spool.MAX_IN_MEMORY", 200_000)
            patch.setattr("valence_integrations._audio.clip.MAX_IN_MEMORY", 200_000)
            decoded, _, parts = prepare(clip, Settings(long_audio="chunk"))
            _, _, (first,) = prepare(clip, Settings(long_audio="truncate"))
        assert isinstance(decoded.samples(), spool.Spool) or clip.ready or item[0] is pcm
        assert [(part.wav, part.start, part.end, part.size) for part in parts] == [
            (part.wav, part.start, part.end, len(part.wav)) for part in expected
        ]
        assert [part.digest for part in parts] == [part.digest for part in expected]
        assert first.end == 15.0


def test_temporary_file_is_closed_with_the_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = spool.collected([np.arange(1_000, dtype=np.int16)] * 3)
    assert isinstance(whole, np.ndarray)
    monkeypatch.setattr(spool, "MAX_IN_MEMORY", 1_500)
    stored = spool.collected(np.arange(1_000, dtype=np.int16) for _ in range(3))
    assert isinstance(stored, spool.Spool)
    assert np.array_equal(stored[:], whole)
    assert np.array_equal(stored[2_990:5_000], whole[2_990:])
    part = stored.interval(500, 1_500).interval(100, 200)
    file = stored._store._file
    del stored
    assert np.array_equal(part[:], whole[600:700])
    assert len(part[50:20]) == 0
    del part
    assert file.closed


def test_blocks_have_fewer_frames_with_more_channels() -> None:
    data = wav.encode(np.zeros(2**20, np.int16), 8_000)
    data = data[:22] + b"\x40\0" + data[24:32] + b"\x80\0" + data[34:]
    assert {block.shape for block in decode.blocks(data, decode.Info(8_000, 64, 2**14))} == {(2**12, 64)}
    clip = open_clip(data)
    assert clip is not None
    assert sum(len(block) for block in clip.blocks()) == 2**14


def test_waveform_of_two_dimensions_is_converted_in_blocks() -> None:
    wave = np.stack([voice(40.0), -0.5 * voice(40.0)])
    clip = open_clip(wave * 3)
    assert clip is not None
    sizes = [len(block) for block in clip.blocks()]
    assert max(sizes) <= 2**17
    expected = np.rint(wave.mean(axis=0) / np.abs(wave).max() * 32768).clip(-32768, 32767)
    assert np.abs(clip.pcm() - expected).max() <= 1
