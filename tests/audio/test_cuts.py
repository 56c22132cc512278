from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import voice
from valence_integrations._audio import cuts
from valence_integrations._audio.cuts import cut_points

Int16 = npt.NDArray[np.int16]
RATES = [8_000, 11_025, 12_345, 16_000, 22_050, 44_100, 48_000]


@given(
    seconds=st.floats(15.001, 120.0),
    rate=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000]),
    loud=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_cuts_audio_of_any_length(seconds: float, rate: int, loud: bool) -> None:
    frames = int(seconds * rate) + 1
    pcm = np.full(frames, 9_000 if loud else 0, dtype=np.int16)
    cuts = cut_points(pcm, rate, shortest=5.0, longest=15.0)
    lengths = np.diff(cuts)
    assert (cuts[0], cuts[-1]) == (0, frames)
    assert lengths.min() >= 5 * rate
    assert lengths.max() <= 15 * rate


@pytest.mark.parametrize("pauses", [[11.2, 24.0], [8.0, 18.1, 25.7, 38.3, 44.9], [5.1, 19.5, 33.9]])
def test_cuts_fall_into_pauses(pauses: list[float]) -> None:
    rate = 16_000
    pcm = (np.random.default_rng(0).standard_normal(round((pauses[-1] + 14) * rate)) * 6_000).astype(np.int16)
    for start in pauses:
        pcm[int(start * rate) : int((start + 0.4) * rate)] //= 100
    cuts = [cut / rate for cut in cut_points(pcm, rate, shortest=5.0, longest=15.0)[1:-1]]
    assert len(cuts) == len(pauses)
    assert all(start < cut < start + 0.4 for start, cut in zip(pauses, cuts, strict=True)), cuts


def test_latest_of_equal_pauses_is_chosen() -> None:
    pcm = np.zeros(40 * 8_000, np.int16)
    assert cut_points(pcm, 8_000, shortest=5.0, longest=15.0) == [0, 15 * 8_000, 30 * 8_000, 40 * 8_000]


@pytest.mark.parametrize(("shortest", "longest"), [(5.0, 10.0), (5.0, 60.0), (60.0, 300.0)])
def test_clips_of_any_length(shortest: float, longest: float) -> None:
    pcm = pcm_of(8_000, 1, 700.0)
    lengths = np.diff(cut_points(pcm, 8_000, shortest=shortest, longest=longest)) / 8_000
    assert lengths.sum() == pytest.approx(700.0)
    assert lengths.min() >= shortest
    assert lengths.max() <= longest


def pcm_of(rate: int, seed: int, seconds: float) -> Int16:
    return np.rint(voice(seconds, rate, seed) * 32_767).astype(np.int16)


def rms_of_librosa(pcm: Int16, hop: int) -> npt.NDArray[np.float32]:
    import librosa

    rms: npt.NDArray[np.float32] = librosa.feature.rms(
        y=pcm.astype(np.float32), frame_length=hop, hop_length=hop, center=False
    )[0]
    return rms


@pytest.mark.parametrize("rate", RATES)
def test_levels_and_cuts_match_librosa(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(rate)
    for seed in range(8):
        pcm = pcm_of(rate, seed, rng.uniform(15.1, 90.0))
        pcm[: rng.integers(len(pcm))] //= rng.integers(1, 300)
        ours, theirs = cuts._rms(pcm, rate // 100), rms_of_librosa(pcm, rate // 100)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=0)
        found = cut_points(pcm, rate, shortest=5.0, longest=15.0)
        assert len(found) >= 3
        with monkeypatch.context() as patched:
            patched.setattr(cuts, "_rms", rms_of_librosa)
            assert cut_points(pcm, rate, shortest=5.0, longest=15.0) == found


FRESH = """
import json, sys
from valence_integrations import Settings
from valence_integrations._audio.open import open_clip
from valence_integrations._audio.routing import prepare
settings = Settings(long_audio="chunk")
_, _, parts = prepare(open_clip(sys.argv[1]), settings)
print(json.dumps([len(parts), sorted({"librosa", "numba", "scipy"} & sys.modules.keys())]))
"""


def test_cutting_does_not_import_slow_modules(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.flac", pcm_of(16_000, 0, 60.0), 16_000)
    run = subprocess.run([sys.executable, "-c", FRESH, str(tmp_path / "call.flac")], capture_output=True, check=True)
    assert json.loads(run.stdout) == [5, []]
