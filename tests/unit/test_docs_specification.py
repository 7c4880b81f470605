"""docs/specification.md has a row for everything that was asked for, and what each row names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.config.settings import Settings
from tests.integration.test_failure_tables import BACKUP, VERIFY
from tests.markdown import ROOT, Document
from tests.unit.test_docs_links import functions_in, variables
from tests.unit.test_repository import PROMISED

DOCUMENT = Document.read(ROOT / "docs" / "specification.md")
HEAD = ["item", "here", "shown by, or why not"]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
REASONS = ("Differently: ", "Differently in one case: ", "Not in 1.0: ", "Not of the code: ")
# How many rows each section has: who takes one away has to say so here.
ROWS = {
    "The product specification: overview": 4,
    "The product specification: problem statement": 10,
    "The product specification: target users": 15,
    "The product specification: goals of 1.0": 23,
    "The product specification: goals of 1.1": 21,
    "The product specification: non-goals": 18,
    "The product specification: feature 1, automated backups": 15,
    "The product specification: feature 2, restore verification": 14,
    "The product specification: feature 3, retention": 6,
    "The product specification: feature 4, configuration": 8,
    "The product specification: feature 5, providers": 9,
    "The product specification: feature 6, tests and continuous integration": 10,
    "The product specification: feature 7, documentation": 10,
    "The product specification: architecture": 7,
    "The product specification: variables of the backup service": 10,
    "The product specification: variables of the verify service": 10,
    "The product specification: future variables": 5,
    "The product specification: failures of the backup service": 9,
    "The product specification: failures of the verify service": 7,
    "The product specification: recovery and impact": 8,
    "The product specification: format of messages": 7,
    "The product specification: logging": 15,
    "The product specification: acceptance, backup service": 14,
    "The product specification: acceptance, verify service": 11,
    "The product specification: acceptance, tests": 9,
    "The product specification: acceptance, documentation": 14,
    "The product specification: acceptance, repository": 6,
    "The product specification: performance, reliability, usability": 10,
    "The product specification: nice to have": 7,
    "The product specification: strategy of testing": 26,
    "The product specification: continuous integration": 12,
    "The product specification: metrics of success": 19,
    "The product specification: risks": 8,
    "The product specification: releases": 16,
    "The product specification: support and maintenance": 10,
    "The product specification: appendix": 13,
    "The checklist: image": 4,
    "The checklist: backup script": 4,
    "The checklist: restore script": 4,
    "The checklist: compose": 6,
    "The checklist: errors and logs": 4,
    "The checklist: tests": 6,
    "The checklist: deployment": 5,
    "The checklist: documentation": 5,
    "The checklist: future enhancements": 6,
    "The checklist: verification workflow": 6,
    "The checklist: sign-off": 3,
}


def rows(document: Document = DOCUMENT) -> Iterator[tuple[str, list[str]]]:
    """Every row with its section."""
    for section, table in document.tables():
        assert table[0] == HEAD, section
        yield from ((section, row) for row in table[1:])


def faults(document: Document) -> list[str]:
    """Rows that are not whole."""
    found = []
    for section, row in rows(document):
        shown = bool(TEST.search(row[-1]))
        if len(row) != len(HEAD) or not all(row):
            found.append(f"{section}: {row} has an empty cell")
        elif not shown and not row[-1].startswith(REASONS):
            found.append(f"{section}: {row[0]} names no test and no reason")
    items = [(section, row[0]) for section, row in rows(document)]
    return found + [f"{section}: {item} is there twice" for section, item in items if items.count((section, item)) > 1]


def missing(document: Document) -> list[str]:
    """Tests that are named and not there."""
    named = sorted(set(TEST.findall(document.text)))
    paths = {path: ROOT / path for path, _ in named}
    there = {path: functions_in(file) if file.is_file() else set() for path, file in paths.items()}
    return [f"{path}::{function}" for path, function in named if function not in there[path]]


def cells(beginning: str) -> list[str]:
    """The items of the sections whose headings end so."""
    return [row[0] for section, row in rows() if section.endswith(beginning)]


def test_every_row_is_whole() -> None:
    """Each item says what is here, and is shown by a test or has a reason; none is there twice."""
    assert faults(DOCUMENT) == []


def test_no_section_lost_a_row() -> None:
    """Both documents, section by section, in their order."""
    found: dict[str, int] = {}
    for section, _ in rows():
        found[section] = found.get(section, 0) + 1
    assert list(found.items()) == list(ROWS.items())


def test_every_test_and_file_is_there() -> None:
    """What shows an item can be run."""
    assert missing(DOCUMENT) == []
    assert set(re.findall(r"`(tests/\S*::\S*)`", DOCUMENT.text)) == {
        f"{p}::{f}" for p, f in TEST.findall(DOCUMENT.text)
    }


def test_the_failure_tables_are_whole() -> None:
    """Every row of both, with its message, as the tests provoke them."""
    for section, table in (("failures of the backup service", BACKUP), ("failures of the verify service", VERIFY)):
        promised = {name: message.replace("SELECT count(*) FROM bookz", "<query>") for name, message in table.items()}
        assert cells(section) == [f"{name}: `{message}`" for name, message in promised.items()]


@pytest.mark.parametrize(
    "table", ["variables of the backup service", "variables of the verify service", "future variables"]
)
def test_every_variable_is_promised_and_read(table: str) -> None:
    """The variables of the specification are settings, and the defaults that it names are the settings' own."""
    for item in cells(table):
        name, *default = re.findall(r"`(.+?)`", item.partition(", when")[0])
        if name.startswith("WEBHOOK_"):
            assert name not in variables(), "it is there by now: the table says that it is not"
            continue
        assert name in variables()
        fields = [f for n, f in Settings.model_fields.items() if name in (n.upper(), f.validation_alias)]
        if default and name != "S3_REGION":
            assert str(fields[0].default).lower() == default[0]


def test_every_promised_document_has_its_row() -> None:
    """The documents that the specification wants are those that the repository is held to."""
    wanted = {found for item in cells("acceptance, documentation") for found in re.findall(r"`(\S+)`", item)}
    assert len(wanted) == 11
    assert wanted <= set(PROMISED)


def test_what_is_wrong_is_found() -> None:
    """An empty cell, a row without test or reason, an item twice, and a test that is not there."""
    head = "## One\n\n| item | here | shown by, or why not |\n|---|---|---|\n"
    good = "| a | b | `tests/unit/test_docs_specification.py::test_what_is_wrong_is_found` |\n| c | d | Not in 1.0: later |\n"
    assert faults(example := Document(Path("example.md"), head + good)) == missing(example) == []
    for bad in ("| e | | `tests/conftest.py::psql` |", "| e | f | |", "| e | f | yes |", "| a | b | Not in 1.0: x |"):
        assert faults(Document(Path("example.md"), head + good + bad))
    for bad in ("tests/conftest.py::no_such", "tests/no_such.py::psql"):
        assert missing(Document(Path("example.md"), f"{head}| a | b | `{bad}` |")) == [bad]
