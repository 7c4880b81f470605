"""Read the shell blocks of the documents that are marked to be run, so that what a reader pastes is what a test runs.

A comment before a block, which no reader sees, says what it is: `<!-- run -->`, or `<!-- run: curl -->` for one of several ways
to do the same; `<!-- given -->` for the block in which a reader fills in what only he knows.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests import markdown

GIVEN, RUN = "given", "run"
_BLOCK = re.compile(r"^<!-- (given|run(?:: \w+)?) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Every document of the project."""
    return [document.path for document in markdown.documents()]


def shell_blocks(document: Path) -> list[str]:
    """Every shell block of a document, marked or not."""
    return [found[2] for found in _SHELL.finditer(document.read_text())]


def marked_blocks(document: Path) -> list[tuple[str, str]]:
    """The marked blocks of a document in their order, each with its mark."""
    return [(mark, block) for mark, block in _BLOCK.findall(document.read_text())]


def marks(document: Path) -> int:
    """How many marks there are, whether or not a shell block follows them."""
    return len(re.findall(r"<!-- (?:given|run)\b", document.read_text()))


def script(document: Path, way: str = "") -> str:
    """What a reader runs who pastes one block after the other, and does by one `way` what can be done by several."""
    wanted = {RUN, f"{RUN}: {way}"}
    return "\n".join(block for mark, block in marked_blocks(document) if mark in wanted)


def asked_for(document: Path) -> set[str]:
    """The variables that a document asks its reader to fill in."""
    blocks = "\n".join(block for mark, block in marked_blocks(document) if mark == GIVEN)
    return set(re.findall(r"\b([A-Z][A-Z0-9_]*)=", blocks))
