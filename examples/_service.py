"""Shared by the examples: the clips, and the service: the real one with a key, else the embedded sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valence_integrations.sandbox import Sandbox

AUDIO = Path(__file__).parent / "audio"


@contextmanager
def service() -> Iterator[None]:
    """Use the key in VALENCE_API_KEY; without one, a sandbox on this machine, which is not an emotion model."""
    if os.environ.get("VALENCE_API_KEY"):
        yield
        return
    with Sandbox() as sandbox:
        os.environ["VALENCE_API_KEY"] = sandbox.api_key
        os.environ["VALENCE_API_BASE_URL"] = sandbox.url
        print("No VALENCE_API_KEY: the embedded sandbox answers. It is a stand-in, not an emotion model.\n")
        try:
            yield
        finally:
            del os.environ["VALENCE_API_KEY"], os.environ["VALENCE_API_BASE_URL"]
