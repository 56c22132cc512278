"""What the documentation shows of evaluate is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import PAGES, needs, run, surroundings

__all__ = ["surroundings"]


@pytest.mark.parametrize("page", [page for page in PAGES if "evaluate" in needs(page)], ids=lambda page: page.name)
def test_python_of_a_page_runs(page: Path) -> None:
    run(page, "evaluate")
