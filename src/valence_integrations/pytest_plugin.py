"""The pytest fixture `valence_sandbox`: code that uses this library is tested without a key, and pays nothing.

pytest finds this plugin by itself where the package is installed. It loads in every run, so it imports the sandbox
only when a test asks for it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from valence_integrations.sandbox import Sandbox

__all__ = ["valence_sandbox"]

_MARKER = "valence_sandbox(**options): options of valence_integrations.sandbox.Sandbox, such as faults= and policy="


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def valence_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Sandbox]:
    """Run a sandbox in the service's place for one test, with a key and a cache directory of its own.

    ``VALENCE_API_KEY``, ``VALENCE_API_BASE_URL`` and ``VALENCE_CACHE_DIR`` point to it. Options of the `Sandbox` are
    given by the marker of the same name; of several, that nearest to the test counts.

    Yields
    ------
    Sandbox
        Started; ``calls``, ``requests`` and the like tell what arrived.

    Raises
    ------
    ImportError
        If the extra ``sandbox`` is not installed.

    Examples
    --------
    ::

        @pytest.mark.valence_sandbox(faults=Faults(script=["500"]))
        def test_failed_calls_are_made_again(valence_sandbox):
            annotate_my_clips()
            assert valence_sandbox.calls == 2
    """
    from valence_integrations.engine import close_shared
    from valence_integrations.sandbox import Sandbox

    # A port may be given out again: with a key of its own, nothing that is shared by key is taken from another test.
    options: dict[str, object] = {"api_key": f"sandbox-{secrets.token_hex(8)}"}
    for marker in reversed(list(request.node.iter_markers("valence_sandbox"))):
        if marker.args:
            raise pytest.UsageError("valence_sandbox takes its options by name, such as faults=Faults(drop=0.1).")
        options |= marker.kwargs
    with Sandbox(**options) as sandbox:  # type: ignore[arg-type]
        monkeypatch.setenv("VALENCE_API_KEY", sandbox.api_key)
        monkeypatch.setenv("VALENCE_API_BASE_URL", sandbox.url)
        monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "valence-cache"))
        yield sandbox
        close_shared(sandbox.url)
