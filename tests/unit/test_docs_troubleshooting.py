"""docs/troubleshooting.md explains every error code that we print, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from blocks.errors import DOWNLOAD, REQUEST, UPLOAD, family

DOCUMENT = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()


def test_every_code_is_explained() -> None:
    """Searching for a code leads to its section, which isn't empty."""
    codes = {cls.code for cls in family()} | {operation.code for operation in (UPLOAD, DOWNLOAD, REQUEST)}
    sections = re.findall(r"^### (PGR-[A-Z0-9-]+)\n\n(?=[^#\s])", DOCUMENT, re.MULTILINE)
    assert sorted(sections) == sorted(codes)
