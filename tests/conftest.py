"""Shared by all tests: synthetic speech and a clean environment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from valence_integrations import Engine, Settings
from valence_integrations._audio import wav
from valence_integrations.engine import close_shared
from valence_integrations.engine._shared import _shared
from valence_integrations.sandbox import Sandbox

Float32 = npt.NDArray[np.float32]

# A shell makes background commands ignore SIGINT, and the processes that tests start and interrupt would inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

EXAMPLES = Path(__file__).parent.parent / "examples"


def voice(seconds: float, rate: int = 16_000, seed: int = 0) -> Float32:
    """Make a speech-like waveform: syllables with pauses between them, in a different voice for each seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(90, 260)
    tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(1.5, 3.5) * time + rng.uniform(0, 6)), 0, 1)
    noise = rng.standard_normal(len(time)) * 0.01
    return (rng.uniform(0.1, 0.3) * tone * syllables + noise).clip(-1, 1).astype(np.float32)


def clips(number: int, seconds: float = 5.0, rate: int = 8_000) -> list[bytes]:
    """Make WAV files, all different."""
    return [wav.encode(np.rint(voice(seconds, rate, seed) * 30_000).astype(np.int16), rate) for seed in range(number)]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("VALENCE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("VALENCE_STATE_DIR", str(tmp_path / "state"))
    yield
    # They hold this test's cache open, and the next test may be given the same port.
    for settings, _ in list(_shared):
        close_shared(settings.base_url)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def datasets_service(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    """Use the sandbox as the service, and a temporary cache directory for `datasets`."""
    import datasets

    monkeypatch.setenv("VALENCE_API_BASE_URL", sandbox.url)
    monkeypatch.setenv("VALENCE_API_KEY", sandbox.api_key)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return sandbox


@pytest.fixture
def engine(sandbox: Sandbox) -> Iterator[Engine]:
    with Engine(Settings(base_url=sandbox.url, api_key=sandbox.api_key)) as made:
        yield made


@pytest.fixture
def make_engine(sandbox: Sandbox) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(**settings: object) -> Engine:
        engine = Engine(Settings(**{"base_url": sandbox.url, "api_key": sandbox.api_key, **settings}))
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.close()
