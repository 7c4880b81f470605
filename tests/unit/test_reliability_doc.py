"""The table of faults and the suite of faults say the same: what is documented is tested, and what is tested documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "reliability.md"
HEADER = ["fault", "what you see", "what is lost", "tested by"]


def rows() -> Iterator[list[str]]:
    """The rows of all tables, without their heads."""
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells != HEADER and set("".join(cells)) != {"-"}:
            yield cells


def functions(folder: Path) -> set[str]:
    """The names of all test functions in a folder."""
    trees = [ast.parse(path.read_text()) for path in folder.rglob("test_*.py")]
    found = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in found if name.startswith("test_")}


def named() -> set[str]:
    """The tests that the document names."""
    return {name for row in rows() for name in re.findall(r"`(test_\w+)`", row[-1])}


def test_every_row_is_whole() -> None:
    """A fault, what is seen and what is lost are said, and at least one test is named."""
    for row in rows():
        assert len(row) == len(HEADER), row
        assert all(row), row
        assert re.search(r"`test_\w+`", row[-1]), row


def test_what_is_documented_is_tested() -> None:
    """Every test that the document names is there."""
    assert named() - functions(TESTS) == set()


def test_what_is_tested_is_documented() -> None:
    """Every test of a fault stands in the document."""
    assert functions(TESTS / "faults") - named() == set()
