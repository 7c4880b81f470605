"""Parse the project's documents as a renderer does, so that tests can check them against the code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Piece:
    """A part of a document: a link's target, the text of a code span, or a block of code with its language."""

    line: int
    text: str
    language: str = ""


@dataclass(frozen=True)
class Document:
    """One Markdown file."""

    path: Path
    text: str

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT)) if self.path.is_relative_to(ROOT) else self.path.name

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file."""
        return cls(path, path.read_text())

    @cached_property
    def _tokens(self) -> list[Token]:
        return _PARSER.parse(self.text)

    def _inline(self) -> Iterator[tuple[int, Token]]:
        """Yield everything inside paragraphs, headings and cells, with its approximate line."""
        for token in self._tokens:
            for child in token.children or ():
                yield (token.map or (0,))[0] + 1, child

    def links(self) -> list[Piece]:
        """The targets of links and pictures."""
        found = ((line, t.attrGet("href") or t.attrGet("src")) for line, t in self._inline())
        return [Piece(line, str(target)) for line, target in found if target is not None]

    def spans(self) -> list[Piece]:
        """The text of the code spans."""
        return [Piece(line, " ".join(t.content.split())) for line, t in self._inline() if t.type == "code_inline"]

    def fences(self) -> list[Piece]:
        """The blocks of code."""
        blocks = (t for t in self._tokens if t.type == "fence")
        return [Piece((t.map or (0,))[0] + 1, t.content, t.info.strip()) for t in blocks]

    def anchors(self) -> set[str]:
        """The headings' anchors: lower case, no punctuation, dashes for spaces, numbers for duplicates."""
        made, found = Counter[str](), set()
        for opened, inside in zip(self._tokens, self._tokens[1:], strict=False):
            if opened.type == "heading_open":
                shown = "".join(t.content for t in inside.children or () if t.type in ("text", "code_inline"))
                slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
                found.add(f"{slug}-{made[slug]}" if made[slug] else slug)
                made[slug] += 1
        return found

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """Each table's section heading and its rows, as Markdown, header row first."""
        found: list[tuple[str, list[list[str]]]] = []
        section, before = "", ""
        for token in self._tokens:
            if token.type == "inline" and before == "heading_open":
                section = token.content
            elif token.type == "table_open":
                found.append((section, []))
            elif token.type == "tr_open":
                found[-1][1].append([])
            elif token.type == "inline" and before in ("th_open", "td_open"):
                found[-1][1][-1].append(token.content)
            before = token.type
        return found


def documents() -> list[Document]:
    """Return every document of the project."""
    folders = (ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md"), (ROOT / ".github").rglob("*.md"))
    return [Document.read(path) for path in sorted({path for folder in folders for path in folder})]
