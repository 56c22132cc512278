"""Recipes: how a file was sent, so that a file with cached answers is not decoded again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from valence_integrations._audio.clip import Clip
from valence_integrations._audio.routing import RENDERING, Part, Route, needs_samples
from valence_integrations._store.cache import cache_key
from valence_integrations.settings import Settings

__all__ = ["Recipe", "Sent", "file_digest", "recipe_key"]


class Sent(NamedTuple):
    """One call: digest and size in bytes of its WAV file, start and end of its audio in seconds."""

    digest: str
    size: int
    start: float
    end: float


@dataclass(frozen=True)
class Recipe:
    """How a file was sent: its route, its length in seconds, whether it was padded, and the calls."""

    source: str | None
    duration: float
    padded: bool
    parts: tuple[Sent, ...]

    @classmethod
    def from_route(cls, route: Route, parts: Sequence[Part]) -> Recipe:
        """Create the recipe of an item for the DiscreteAPI."""
        sent = tuple(Sent(part.digest, len(part.wav), part.start, part.end) for part in parts)
        return cls(route.source, route.duration, route.padded, sent)

    @classmethod
    def from_value(cls, value: dict[str, Any]) -> Recipe:
        """Create a recipe from its cached value."""
        return cls(**{**value, "parts": tuple(Sent(*part) for part in value["parts"])})

    @property
    def api(self) -> str:
        """API name in the cache keys of its answers."""
        return "asynch" if self.source == "asynch" else "discrete"


def recipe_key(clip: Clip, settings: Settings) -> str | None:
    """Key of a clip's recipe; None if the clip needs no recipe because its audio needs no decoding."""
    if isinstance(clip.source, np.ndarray) or (clip.ready and not needs_samples(clip, settings)):
        return None
    asked = [RENDERING, file_digest(clip.source), settings.short_audio, settings.long_audio]
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
