"""Run the code blocks of the documentation as a reader would."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from valence_integrations.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: A block of code. `make test` runs the ``python`` blocks; `tests/with_torch` runs the ``python torch`` blocks.
BLOCK = re.compile(r"^```python(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def docs_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in the root of the checkout, with a key and a sandbox as the service."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    environment = dict(os.environ)
    with Sandbox() as sandbox:
        os.environ["VALENCE_API_KEY"] = sandbox.api_key
        os.environ["VALENCE_API_BASE_URL"] = sandbox.url
        yield
    os.environ.clear()
    os.environ.update(environment)


def needs(page: Path) -> set[str]:
    """Return the optional packages that the blocks of a page need."""
    return {what for what, _ in BLOCK.findall(page.read_text()) if what}


def run(page: Path, *installed: str, **names: Any) -> int:
    """Run the blocks of a page that need no packages other than `installed`, in order; return how many ran."""
    namespace = dict(names)
    ran = 0
    exec("from valence_integrations import *", namespace)
    for number, (what, block) in enumerate(BLOCK.findall(page.read_text())):
        if what in ("", *installed):
            exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)
            ran += 1
    for started in namespace.values():
        if isinstance(started, Sandbox):
            started.stop()
    return ran
