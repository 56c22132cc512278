from __future__ import annotations

import io
import wave
from collections.abc import Callable

import numpy as np
import pytest
import requests

from valence_integrations.sandbox import Sandbox


@pytest.fixture
def voice() -> Callable[..., np.ndarray]:
    """Make a synthetic voice: harmonics fall by `tilt` dB per octave, and the pitch varies by `lively` semitones."""

    def make(seconds=6.0, rate=16000, pitch=120.0, level=0.1, tilt=-6.0, lively=1.0) -> np.ndarray:
        t = np.arange(round(seconds * rate)) / rate
        f0 = pitch * 2 ** (lively * np.sin(2 * np.pi * 0.7 * t) / 12)
        phase = 2 * np.pi * np.cumsum(f0) / rate
        harmonics = np.arange(1, int(min(rate / 2, 4000) / pitch / 1.3) + 1)
        tone = sum(k ** (tilt / 6.02) * np.sin(k * phase + k) for k in harmonics)
        tone *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)
        return tone * level / np.sqrt(np.mean(tone**2))

    return make


@pytest.fixture
def wav() -> Callable[..., bytes]:
    def make(samples: np.ndarray, rate=16000, channels=1, width=2) -> bytes:
        scaled = np.clip(np.asarray(samples), -1, 1) * (2 ** (8 * width - 1) - 1)
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(width)
            file.setframerate(rate)
            if width == 1:
                file.writeframes((scaled + 128).round().astype(np.uint8).tobytes())
            elif width == 3:
                file.writeframes(scaled.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
            else:
                file.writeframes(scaled.astype(f"<i{width}").tobytes())
        return buffer.getvalue()

    return make


@pytest.fixture
def clip(voice, wav) -> bytes:
    """A clip that the service accepts."""
    return wav(voice())


@pytest.fixture
def post() -> Callable[..., requests.Response]:
    """Post a WAV file as the vendor's documentation shows."""

    def send(sandbox: Sandbox, data: bytes, path="/emotionprediction", timeout=5, **options) -> requests.Response:
        headers = options.pop("headers", {"x-api-key": sandbox.api_key})
        return requests.post(
            sandbox.url + path, files={"file": ("clip.wav", data)}, headers=headers, timeout=timeout, **options
        )

    return send
