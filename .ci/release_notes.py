"""Print what CHANGELOG.md says of a release, and refuse a tag that is not the version of this checkout.

Standard library only: a release runs it before anything is installed.

Usage: python3 .ci/release_notes.py v1.2.3
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Print the notes, or end with what is wrong."""
    tag = sys.argv[1] if len(sys.argv) > 1 else ""
    version = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    if tag != f"v{version}":
        sys.exit(
            f"ERROR: The tag is {tag or 'not given'}, but pyproject.toml has the version {version}\nHINT: tag v{version}"
        )
    notes = notes_of(version, Path("CHANGELOG.md").read_text())
    if not notes:
        sys.exit(f"ERROR: CHANGELOG.md says nothing of {version}\nHINT: rename its section Unreleased to {version}")
    print(notes)


def notes_of(version: str, changelog: str) -> str:
    """The section whose heading begins with the version, without the heading; empty when there is none."""
    found = re.search(
        rf"^## \[?{re.escape(version)}(?![\w.]).*?\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE
    )
    return found[1].strip() if found else ""


if __name__ == "__main__":
    main()
