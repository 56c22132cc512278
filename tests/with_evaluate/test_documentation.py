"""Run the documentation's code blocks that use evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import PAGES, docs_environment, needs, run

__all__ = ["docs_environment"]


@pytest.mark.parametrize("page", [page for page in PAGES if "evaluate" in needs(page)], ids=lambda page: page.name)
def test_code_blocks_of_page_run(page: Path) -> None:
    run(page, "evaluate")
