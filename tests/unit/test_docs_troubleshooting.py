"""docs/troubleshooting.md has every sentence that the code can print, and none that it cannot.

The sentences are read from the code, with `…` for what is filled in when they are printed; so they are in the document.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from blocks import errors
from blocks.config.hints import WHEN_MALFORMED, WHEN_MISSING
from blocks.errors import PgRoundtripError
from blocks.s3.errors import DOWNLOAD, REQUEST, UPLOAD

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "troubleshooting.md").read_text()
# Bases of others: no error of ours is raised with these words.
NEVER_SAID = {"Something went wrong", "The configuration is not usable"}
# Functions that make a sentence which somebody else prints.
MAKERS = {"_stopped", "told_of_future", "said_of_others", "overdue", "what_is_left", "usable_home", "_refusals", "finish", "crash_stale_runs",
          "skip_missed_runs", "_skipped", "health", "_rewrite", "parse_database_url", "hint_for"}  # fmt: skip
WORD = re.compile(r"[A-Za-z]{2,}")


def family(root: type[PgRoundtripError] = PgRoundtripError) -> Iterator[type[PgRoundtripError]]:
    """All error classes that are ours."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from family(child)


class Said(NamedTuple):
    """A sentence with its gaps, where it is made, and whether it is only a hint to another."""

    text: str
    place: str
    is_hint: bool = False


class Module:
    """One file of the code, and the strings that its names stand for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text())
        self._given: list[tuple[ast.AST, str, ast.expr]] = []
        for scope in [self.tree, *functions(self.tree)]:
            for node in own_nodes(scope):
                if isinstance(node, ast.Assign):
                    for target in node.targets:
                        self._given += [(scope, name, value) for name, value in pairs(target, node.value)]

    def texts(self, node: ast.expr, scope: ast.AST) -> list[str]:
        """What a string may be, as far as it stands in the code; nothing where that is not known."""
        found: list[str] = []
        match node:
            case ast.Constant(value=str(text)):
                found = [re.sub(r"%(?:\.\d+f|[ds])", "…", text)]
            case ast.JoinedStr(values=parts):
                found = ["".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts)]
            case ast.IfExp(body=one, orelse=other):
                found = self.texts(one, scope) + self.texts(other, scope)
            case ast.BinOp(left=one, op=ast.Add(), right=other):
                choices = (self.texts(part, scope) or ["…"] for part in (one, other))
                found = ["".join(parts) for parts in itertools.product(*choices)]
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                found = [text for part in parts for text in self.texts(part, scope)]
            case ast.Name(id=name):
                before = [given for given in self._given if given[1] == name and given[2].lineno < node.lineno]
                here = [value for where, _, value in before if where is scope][-1:]
                at_the_top = [value for where, _, value in before if where is self.tree]
                found = [text for value in here or at_the_top for text in self.texts(value, scope)]
        return found

    def sentences(self) -> Iterator[Said]:
        """Everything that is said in this file."""
        for scope in [self.tree, *functions(self.tree)]:
            for node in own_nodes(scope):
                place = f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
                for expression, is_hint in spoken(node, getattr(scope, "name", "")):
                    yield from (Said(text, place, is_hint) for text in self.texts(expression, scope))


def functions(tree: ast.AST) -> list[ast.AST]:
    """All functions and methods."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in a scope and in no function inside of it, in the order of the file."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from own_nodes(child)


def pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The names of an assignment and what they are given."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, given in zip(target.elts, value.elts, strict=False):
            yield from pairs(one, given)


def spoken(node: ast.AST, function: str) -> Iterator[tuple[ast.expr, bool]]:
    """The strings of a node that somebody will read, and whether each is only a hint."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args, keywords=keywords):
            given = {k.arg: k.value for k in keywords}
            if hasattr(errors, name) or name in ("_not_made", "AuthenticationError"):
                yield from ((arg, position > 0) for position, arg in enumerate(args[:2]))
                yield from ((given[part], part == "hint") for part in ("message", "hint") if part in given)
            elif name in ("warning", "warn", "complain") and args:
                yield args[0], False
            elif name == "Finding" and isinstance(args[1], ast.Constant) and args[1].value == "warning":
                yield from ((args[2], False), *((hint, True) for hint in args[3:]))
        case ast.Assign(targets=[ast.Attribute(attr="hint")], value=value):
            yield value, True
        case ast.Assign(value=value) | ast.Return(value=ast.expr() as value) if function in MAKERS:
            yield value, False
        case ast.Raise(exc=ast.Call(func=ast.Name(id="ValueError"), args=[why])) if function in MAKERS:
            yield why, False
        case ast.Expr(value=ast.Yield(value=ast.Tuple(elts=[why, hint]))) if function in MAKERS:
            yield from ((why, False), (hint, True))
        case ast.Assign(targets=[ast.Name(id="_TOLD_TO_STOP")], value=value):
            yield value, False


def in_words(text: str) -> bool:
    """Whether it says something by itself: other contexts are an address, or another program's words."""
    return len(WORD.findall(text)) > 1 and " " in text


@cache
def said_by_the_code() -> list[Said]:
    """Every sentence of the code and of the scripts around it."""
    paths = [path for room in ("blocks", "tasks", "flows") for path in sorted((ROOT / room).rglob("*.py"))]
    found = [said for path in paths for said in Module(path).sentences()]
    found += [
        Said(text, "blocks/errors.py", is_hint)
        for cls in family()
        for text, is_hint in ((cls.message, False), (cls.hint, True))
    ]
    found += [Said(text, "blocks/s3/errors.py") for text in (DOWNLOAD, REQUEST, UPLOAD)]
    found += [Said(text, "blocks/config/hints.py", True) for text in (*WHEN_MISSING.values(), *WHEN_MALFORMED.values())]
    for path in [*sorted((ROOT / ".ci").iterdir()), ROOT / "Dockerfile"]:
        words = re.findall(r'(?:ERROR|WARNING): (.+?)(?:\\n| \[|")', path.read_text())
        found += [Said(re.sub(r"\$\w+|\{[^}]*\}", "…", text), str(path.relative_to(ROOT))) for text in words]
    lines = [said._replace(text=line) for said in found for line in said.text.split("\n")]
    named = [Said(s.text.removeprefix("HINT: "), s.place, s.is_hint or s.text.startswith("HINT: ")) for s in lines]
    return [said for said in named if in_words(said.text) and said.text not in NEVER_SAID]


def codes(text: str) -> list[str]:
    """What is written as code, and says something."""
    found = (match[2].strip() for match in re.finditer(r"(`+)(.+?)\1", text))
    return [piece for piece in found if in_words(piece)]


def documented() -> list[str]:
    """The sentences that the document explains: its headings, and the first column of its tables."""
    found = re.findall(r"^### (?:ERROR|WARNING): (.+)$", DOCUMENT, re.MULTILINE)
    for line in DOCUMENT.splitlines():
        if line.startswith("| "):
            found += codes(re.split(r"(?<!\\)\|", line)[1])
    return found


def pattern(text: str) -> re.Pattern[str]:
    """What a sentence may look like when its gaps are filled; brackets at its end may be left out."""
    text, bracket, _ = (text, "", "") if not text.endswith("]") else text.partition(" [")
    gaps = ".*".join(map(re.escape, text.split("…")))
    return re.compile(gaps + (r"(?: \[.*\])?" if bracket else ""))


def explains(piece: str, sentence: str) -> bool:
    """Whether a piece of the document is this sentence, or a kind of sentence that it belongs to."""
    same = pattern(sentence).fullmatch(piece) or pattern(piece).fullmatch(sentence)
    return bool(same) or piece.endswith(f": {sentence}")


def lacking(sentences: Iterable[Said], pieces: list[str]) -> list[str]:
    """The sentences that no piece explains, each with its place."""
    return [f"{s.place}: {s.text}" for s in sentences if not any(explains(piece, s.text) for piece in pieces)]


def test_the_collector_finds_each_kind() -> None:
    """A collector that finds nothing would let everything pass: one of each kind is there."""
    texts = {said.text for said in said_by_the_code()}
    assert {
        "Cannot connect to database",  # a class
        "The throwaway server died",  # message=
        "its SHA-256 is not the one in the manifest",  # a context
        "pg_dump was killed by …",  # … in a name
        "Invalid … format",  # a Fault
        "S3_REGION is …, but the endpoint is that of …",  # a finding
        "Could not delete …: …",  # a warning of the log
        "Failed to cleanup temp database […: our mark on it is gone; drop it by hand]",  # one that is handed on
        "…: nothing is removed; `pg-roundtrip prune --even-if-stale` removes all the same",  # one that is made elsewhere
        "The run was told to stop, and ended before it was done",
        "the downloaded pip does not match its checksum",  # a script
    } <= texts
    assert len(texts) > 150


def test_every_sentence_is_documented() -> None:
    """Whatever is printed, a search for it finds a cause and a cure."""
    pieces = [*documented(), *codes(DOCUMENT)]
    assert lacking((said for said in said_by_the_code() if not said.is_hint), pieces) == []


def test_every_documented_sentence_is_said() -> None:
    """Nothing is explained that is not printed any more, or in other words."""
    known = [said.text for said in said_by_the_code()]
    assert [piece for piece in documented() if not any(pattern(text).fullmatch(piece) for text in known)] == []


@pytest.mark.parametrize("cls", [c for c in family() if c.message not in NEVER_SAID])
def test_every_error_has_its_place(cls: type[PgRoundtripError]) -> None:
    """A class's sentence is a heading or a row; where several say the same one, the hint tells them apart."""
    assert cls.message in documented()
    if cls.hint and Counter(c.message for c in family())[cls.message] > 1:
        assert cls.hint in codes(DOCUMENT) or f"hint is `{cls.hint}`" in DOCUMENT


@pytest.mark.parametrize(
    ("sentence", "hint"),
    [(f"Required environment variable {name} is not set", hint) for name, hint in WHEN_MISSING.items()]
    + [(f"Invalid {name} format", hint) for name, hint in WHEN_MALFORMED.items()],
)
def test_every_variable_has_its_cure(sentence: str, hint: str) -> None:
    """What is printed of a variable stands there in full, with the rule that is printed after it."""
    (row,) = [line for line in DOCUMENT.splitlines() if f"`{sentence}`" in line]
    assert hint in row


def test_every_row_is_whole() -> None:
    """No cell is empty: a message without a cause or a cure helps nobody."""
    for line in DOCUMENT.splitlines():
        if line.startswith("| "):
            assert all(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]), line
