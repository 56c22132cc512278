"""What the documentation shows of torch and transformers is run."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tests.pages import PAGES, needs, run, surroundings
from valence_integrations.transformers import _registered

__all__ = ["surroundings"]


@pytest.mark.parametrize("page", [page for page in PAGES if "torch" in needs(page)], ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path) -> None:
    run(page, "torch")


def test_docstrings_run() -> None:
    results = doctest.testmod(_registered, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
    assert results.attempted >= 8
