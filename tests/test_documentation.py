"""What the documentation shows is run: README, docs pages, docstrings and examples."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import valence_integrations
from tests.conftest import EXAMPLES
from valence_integrations.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(valence_integrations.__path__, "valence_integrations.")
    if not module.name.endswith("__main__")
)


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run as a reader would: in the root of the checkout, with a key and a service."""
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path) -> None:
    namespace: dict[str, object] = {}
    blocks = BLOCK.findall(page.read_text())
    exec("from valence_integrations import *", namespace)
    namespace.update(_names_of_one_liners())
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)
    for started in namespace.values():
        if isinstance(started, Sandbox):
            started.stop()


def _names_of_one_liners() -> dict[str, object]:
    """What the three one-liners at the top of the README take for granted."""
    from datasets import Dataset
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    clip = str(EXAMPLES / "audio" / "ruth_neutral.wav")
    return {
        "Pipeline": Pipeline,
        "LogisticRegression": LogisticRegression,
        "dataset": Dataset.from_dict({"audio": [clip]}),
        "audio": clip,
    }


def test_pages_have_code() -> None:
    assert sum(len(BLOCK.findall(page.read_text())) for page in PAGES) >= 8


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def test_docstrings_have_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    count = sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert count >= 20


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("[0-9]*.py")), ids=lambda script: script.name)
def test_examples_run_without_a_key(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VALENCE_API_KEY")
    monkeypatch.delenv("VALENCE_API_BASE_URL")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "_service", raising=False)
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert "the embedded sandbox answers" in printed
    assert any(emotion in printed for emotion in ("angry", "happy", "neutral", "sad"))


def test_there_are_four_examples() -> None:
    assert len(list(EXAMPLES.glob("[0-9]*.py"))) >= 4
