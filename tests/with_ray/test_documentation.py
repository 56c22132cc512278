"""What the documentation shows of Ray is run, each page in a process and a Ray of its own."""

from __future__ import annotations

import doctest
import multiprocessing
from pathlib import Path

import pytest

import valence_integrations.ray
from tests.pages import PAGES, needs, run, surroundings
from tests.with_ray.conftest import Nodes

__all__ = ["surroundings"]


@pytest.mark.parametrize("page", [page for page in PAGES if "ray" in needs(page)], ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    reader = multiprocessing.get_context("spawn").Process(target=run, args=(page, "ray"))
    reader.start()
    reader.join(180)
    assert reader.exitcode == 0


def test_docstrings_run(nodes: Nodes) -> None:
    results = doctest.testmod(valence_integrations.ray, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
    assert results.attempted >= 8
