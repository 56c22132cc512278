"""What the documentation shows is run: README, docs pages, docstrings and examples."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import pytest

import valence_integrations
from tests.conftest import EXAMPLES
from tests.pages import BLOCK, PAGES, ROOT, docs_environment, needs, run

__all__ = ["docs_environment"]

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(valence_integrations.__path__, "valence_integrations.")
    # The second is for tests/with_torch, the last for tests/with_ray.
    if not module.name.endswith(("__main__", "transformers._registered"))
    and not module.name.startswith("valence_integrations.ray")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path) -> None:
    ran = run(page, **_names_of_one_liners())
    assert ran == sum(not what for what, _ in BLOCK.findall(page.read_text()))


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
    blocks = {page.name: len(BLOCK.findall(page.read_text())) for page in PAGES}
    assert blocks["README.md"] >= 5
    assert sum(blocks.values()) >= 50


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_left_out(page: Path) -> None:
    assert page.read_text().count("```python") == len(BLOCK.findall(page.read_text()))
    assert all((ROOT / "tests" / f"with_{what}" / "test_documentation.py").exists() for what in needs(page))


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (results.failed, results.attempted) == (0, examples_in(name))


def test_docstrings_have_examples() -> None:
    assert sum(examples_in(name) for name in MODULES) >= 20


def examples_in(name: str) -> int:
    """How many examples the docstrings of a module have."""
    return sum(len(test.examples) for test in doctest.DocTestFinder().find(importlib.import_module(name)))


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


def test_the_gallery_runs_every_example() -> None:
    gallery = runpy.run_path(str(ROOT / "docs" / "conf.py"))["sphinx_gallery_conf"]
    run = [script.name for script in EXAMPLES.glob("*.py") if re.search(gallery["filename_pattern"], str(script))]
    assert sorted(run) == [script.name for script in sorted(EXAMPLES.glob("[0-9]*.py"))]
    assert len(run) >= 4
