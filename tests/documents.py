"""Read the shell blocks in the documents that are marked runnable, so that tests run what readers paste.

An invisible comment before a block marks it: `<!-- run -->`, or `<!-- run: curl -->` for one of several ways to do
the same thing; `<!-- given -->` marks the block in which readers fill in their own values.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests import markdown

GIVEN, RUN = "given", "run"
_BLOCK = re.compile(r"^<!-- (given|run(?:: \w+)?) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Return every document of the project."""
    return [document.path for document in markdown.documents()]


def shell_blocks(document: Path) -> list[str]:
    """Return every shell block of a document, marked or not."""
    return [found[2] for found in _SHELL.finditer(document.read_text())]


def marked_blocks(document: Path) -> list[tuple[str, str]]:
    """Return the marked blocks of a document in order, each with its mark."""
    return [(mark, block) for mark, block in _BLOCK.findall(document.read_text())]


def marks(document: Path) -> int:
    """Count the marks, whether or not a shell block follows them."""
    return len(re.findall(r"<!-- (?:given|run)\b", document.read_text()))


def script(document: Path, way: str = "") -> str:
    """Return what a reader runs who pastes each block in turn, and follows one `way` where there are several."""
    wanted = {RUN, f"{RUN}: {way}"}
    return "\n".join(block for mark, block in marked_blocks(document) if mark in wanted)


def asked_for(document: Path) -> set[str]:
    """Return the variables that a document asks its reader to fill in."""
    blocks = "\n".join(block for mark, block in marked_blocks(document) if mark == GIVEN)
    return set(re.findall(r"\b([A-Z][A-Z0-9_]*)=", blocks))
