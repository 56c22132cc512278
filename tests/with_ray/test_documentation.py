"""Run the documentation's code blocks that use Ray, each page in its own process and Ray instance."""

from __future__ import annotations

import doctest
import multiprocessing
from pathlib import Path

import pytest

import valence_integrations.ray
from tests.pages import PAGES, docs_environment, needs, run
from tests.with_ray.conftest import Nodes

__all__ = ["docs_environment"]


@pytest.mark.parametrize("page", [page for page in PAGES if "ray" in needs(page)], ids=lambda page: page.name)
def test_code_blocks_of_page_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    reader = multiprocessing.get_context("spawn").Process(target=run, args=(page, "ray"))
    reader.start()
    reader.join(180)
    assert reader.exitcode == 0


def test_docstring_examples_run(nodes: Nodes) -> None:
    results = doctest.testmod(valence_integrations.ray, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
    assert results.attempted >= 8
