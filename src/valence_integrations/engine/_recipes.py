"""Recipes: how a file was sent, so that a file with cached answers is not decoded again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
        sent = tuple(Sent(part.digest, part.size, part.start, part.end) for part in parts)
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
    if not clip.is_file or (clip.ready and not needs_samples(clip, settings)):
        return None
    asked = [RENDERING, clip.digest(), settings.short_audio, settings.long_audio]
    return cache_key(settings, "recipe", hashlib.sha256(json.dumps(asked).encode()).hexdigest())


def file_digest(file: bytes | Path) -> str:
    """SHA-256 of a file that is sent."""
    if isinstance(file, bytes):
        return hashlib.sha256(file).hexdigest()
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(2**20):
            digest.update(block)
    return digest.hexdigest()
