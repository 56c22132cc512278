"""Each promise on the page about reliability names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.pages import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [row for row in PAGE.splitlines() if row.startswith("|") and not row.startswith(("| promise", "|---"))]


def names_in(file: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}


def test_each_promise_has_a_test_that_exists() -> None:
    assert len(ROWS) >= 40
    for row in ROWS:
        _, promise, held_by, _ = row.split("|")
        names = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", held_by)
        assert names, promise
        missing = [name for file, name in names if name not in names_in(ROOT / file)]
        assert missing == [], promise
