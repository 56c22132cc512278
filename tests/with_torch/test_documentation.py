"""Run the documentation's code blocks that use torch and transformers."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tests.pages import PAGES, docs_environment, needs, run
from valence_integrations.transformers import _registered

__all__ = ["docs_environment"]


@pytest.mark.parametrize("page", [page for page in PAGES if "torch" in needs(page)], ids=lambda page: page.name)
def test_code_blocks_of_page_run(page: Path) -> None:
    run(page, "torch")


def test_docstring_examples_run() -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(_registered.ValenceModel, globs={}):
        runner.run(test)
    assert runner.failures == 0
    assert runner.tries >= 8
