"""How a file was sent: with that, a file whose answers are kept need not be decoded again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from valence_integrations._audio.clip import Clip
from valence_integrations._audio.routing import MAX_SECONDS, Part, Route
from valence_integrations._store.cache import cache_key
from valence_integrations.settings import Settings

__all__ = ["Recipe", "Sent", "file_digest", "recipe_key"]


class Sent(NamedTuple):
    """One call: the digest and the bytes of its WAV file, and the stretch that it stands for, in seconds."""

    digest: str
    size: int
    start: float
    end: float


@dataclass(frozen=True)
class Recipe:
    """What a file came to: the way that it took, its length in seconds, and what was sent."""

    source: str | None
    duration: float
    padded: bool
    parts: tuple[Sent, ...]

    @classmethod
    def from_route(cls, route: Route, parts: Sequence[Part]) -> Recipe:
        """Recipe of an item for the DiscreteAPI."""
        sent = tuple(Sent(part.digest, len(part.wav), part.start, part.end) for part in parts)
        return cls(route.source, route.duration, route.padded, sent)

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> Recipe:
        """Recipe as it was kept."""
        return cls(**{**value, "parts": tuple(Sent(*part) for part in value["parts"])})

    @property
    def api(self) -> str:
        """Under which its answers are kept."""
        return "asynch" if self.source == "asynch" else "discrete"


def recipe_key(clip: Clip, settings: Settings) -> str | None:
    """Key of a clip's recipe; None if its audio is at hand without decoding, so that it needs none."""
    is_cut = clip.duration > MAX_SECONDS and settings.long_audio in ("chunk", "truncate")
    if isinstance(clip.source, np.ndarray) or (clip.ready and not is_cut):
        return None
    asked = [file_digest(clip.source), settings.short_audio, settings.long_audio]
    return cache_key(settings, "recipe", hashlib.sha256(json.dumps(asked).encode()).hexdigest())


def file_digest(file: bytes | Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    for block in _blocks(file):
        digest.update(block)
    return digest.hexdigest()


def _blocks(file: bytes | Path) -> Iterator[bytes]:
    if isinstance(file, bytes):
        yield file
        return
    with file.open("rb") as opened:
        while block := opened.read(2**20):
            yield block
