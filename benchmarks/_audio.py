"""Audio to send: all files differ, so that no answer can be reused."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np


def make_wavs(folder: Path, count: int, seconds: float, rate: int, seed: int) -> list[str]:
    """Write mono 16-bit WAV files of a noisy hum, each with a different pitch."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    paths = []
    for number in range(count):
        pitch = rng.uniform(90, 280)
        hum = sum(np.sin(2 * np.pi * pitch * k * time, dtype=np.float32) / k for k in (1, 2, 3))
        noise = rng.standard_normal(len(time), dtype=np.float32)
        loudness = rng.uniform(1_000, 6_000) * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(1, 4) * time))
        path = folder / f"{number:04}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes((loudness * (hum + 0.1 * noise)).clip(-32768, 32767).astype("<i2").tobytes())
        paths.append(str(path))
    return paths
