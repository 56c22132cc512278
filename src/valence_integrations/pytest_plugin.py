"""The pytest fixture `valence_sandbox`: test code that uses this library without a key, free of charge.

pytest loads this plugin in every run once the package is installed, so the sandbox is imported only when a test
requests the fixture.
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
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def valence_sandbox(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Sandbox]:
    """Run a sandbox instead of the service for one test, with its own key and cache directory.

    ``VALENCE_API_KEY``, ``VALENCE_API_BASE_URL``, ``VALENCE_CACHE_DIR`` and ``VALENCE_STATE_DIR`` point to it. Set
    options of the `Sandbox` with the marker of the same name; the marker nearest to the test takes precedence.

    Yields
    ------
    Sandbox
        The running sandbox; ``calls``, ``requests`` and other counters record what it received.

    Raises
    ------
    ImportError
        If the extra ``sandbox`` is not installed.

    Examples
    --------
    ::

        @pytest.mark.valence_sandbox(faults=Faults(script=["500"]))
        def test_failed_calls_are_retried(valence_sandbox):
            annotate_my_clips()
            assert valence_sandbox.calls == 2
    """
    from valence_integrations.engine import close_shared
    from valence_integrations.sandbox import Sandbox

    # A port may be reused. A unique key keeps state that is shared by key separate between tests.
    options: dict[str, object] = {"api_key": f"sandbox-{secrets.token_hex(8)}"}
    for marker in reversed(list(request.node.iter_markers("valence_sandbox"))):
        if marker.args:
            raise pytest.UsageError("valence_sandbox takes its options by name, such as faults=Faults(drop=0.1).")
        options |= marker.kwargs
    with Sandbox(**options) as sandbox:  # type: ignore[arg-type]
        monkeypatch.setenv("VALENCE_API_KEY", sandbox.api_key)
        monkeypatch.setenv("VALENCE_API_BASE_URL", sandbox.url)
        monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "valence-cache"))
        monkeypatch.setenv("VALENCE_STATE_DIR", str(tmp_path / "valence-state"))
        yield sandbox
        close_shared(sandbox.url)
