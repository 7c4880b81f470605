"""Read the file of queries that a user wants to run against a restored database.

A query file is SQL. Comment lines before a query can name it and state its expected result:

    -- name: books have authors
    -- expect: > 0
    SELECT count(*) FROM books JOIN authors ON author = authors.id;

Every problem in a file is reported before any query runs. What keeps a query from writing is not this parser but the
server: each query is one statement in a read-only transaction, which is rolled back.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args

from sqlparse import tokens
from sqlparse.lexer import Lexer

from blocks.errors import ConfigurationError, Problem
from tasks.engine.repository import checks as checklist

DEFAULT_FILE = "test-queries.sql"
PREFIX = "query: "
_LIMIT_BYTES = 1024 * 1024
NAME_LENGTH, _QUOTED_LENGTH = 60, 20

_FIRST = ("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN")
_WRITES = (
    "INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "COPY", "CREATE", "ALTER", "DROP", "TRUNCATE", "GRANT", "REVOKE",
    "REFRESH", "EXECUTE", "CALL",
)  # fmt: skip
# PostgreSQL's rules instead of sqlparse's own, which mix many dialects: there a backslash is an escape in every
# string, # begins a comment, and a column called "begin" swallows the semicolon. Its lexer matches dollar quotes and
# block comments before these rules, so one that opens here is never closed.
# PostgreSQL treats every non-ASCII character as a letter, even a symbol or a space.
_LETTER = r"\w\u0080-\U0010ffff"
_WORD = rf"[{_LETTER}][{_LETTER}$]*"
_RULES = (
    (r"--[^\r\n]*", tokens.Comment.Single),
    (r"[ \t\r\n\f\v]+", tokens.Whitespace),
    (r"E'(?:[^'\\]|''|\\[\s\S])*+'|'(?:[^']|'')*+'", tokens.String.Single),
    (r'"(?:[^"]|"")*+"', tokens.String.Symbol),
    (r"""(?:E?'|"|/\*|\$(?:[^\W\d]\w*)?\$)[\s\S]*""", tokens.Error),
    (rf"(?<=\.){_WORD}|{_WORD}(?=\s*\()", tokens.Name),  # a column of a table, a function
    (_WORD, tokens.Keyword),
    (r"\\", tokens.Command),
    (r";", tokens.Punctuation),
    (r"[\s\S]", tokens.Operator),
)
_NEWLINE = re.compile(r"[\r\n]")
_NOTE = re.compile(r"--+\s*(name|expect)\s*:(.*)", re.IGNORECASE | re.DOTALL)
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]{1,9})?", re.IGNORECASE)
_EXPECTED = re.compile(
    rf"(?P<rows>rows\s*)?(?P<operator>[<>]=?|!?=|<>)\s*"
    rf"(?:(?P<number>{NUMBER.pattern})|'(?P<quoted>(?:[^']|'')*)'|(?P<bare>(?!null$)[^\s'\"<>=!].*))",
    re.IGNORECASE,
)
_KINDS = "expectations are > N, >= N, < N, <= N, = V, != V, rows > N (and so on), empty, not empty, true and false"

Plain = Literal["empty", "not empty", "true", "false"]


@dataclass(frozen=True)
class Expectation:
    """The expected result of a query; `text` is how its author wrote it."""

    text: str
    of: Plain | Literal["value", "rows"]
    operator: str = ""
    operand: Decimal | str = ""


@dataclass(frozen=True)
class Query:
    """One statement without its comments, under a name unique among checks."""

    name: str
    text: str
    expectation: Expectation | None = None


@dataclass
class _Draft:
    """A statement being read, with the notes from the comments before it."""

    parts: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    kinds: set[Any] = field(default_factory=set)
    first: str = ""  # the first word, upper case
    notes: dict[str, list[str]] = field(default_factory=lambda: {"name": [], "expect": [], "behind": []})

    @property
    def text(self) -> str:
        """The statement without its comments and its semicolon."""
        return "".join(self.parts).rstrip()

    @property
    def name(self) -> str:
        """The name its author gave it, or else its text."""
        return next(filter(None, (shorten(text, NAME_LENGTH) for text in (*self.notes["name"], self.text))), "")

    def note(self, comment: str, *, behind: bool) -> None:
        """Record a comment; inside a statement, or after one on its line, it may be meant for that statement."""
        found, inside = _NOTE.fullmatch(comment), bool(self.parts)
        # A name inside a statement is an ordinary comment; an expectation there means that a semicolon is missing.
        if found and (not inside or _is_expectation(found)):
            kind, said = ("behind", comment.lstrip("-")) if behind or inside else (found[1].lower(), found[2])
            self.notes[kind].append(said.strip())

    def add(self, kind: Any, value: str) -> None:
        """Add a token of the statement itself."""
        self.parts.append(value)
        self.kinds.add(kind)
        if value != "(":
            self.first = self.first or value.upper()
        if kind is tokens.Keyword:
            self.words.append(value.upper())


def load_queries(path: str | None, folder: Path | None = None) -> list[Query]:
    """Read the queries of a file, or of `test-queries.sql` in the folder if it exists and no file is named.

    Raises ConfigurationError with every problem in them.
    """
    file = (folder or Path()) / (path or DEFAULT_FILE)
    hint = "VERIFY_QUERIES_FILE names a file of SQL queries, UTF-8, at most 1 MiB; check that it can be read from here"
    try:
        if path is None and not file.exists():
            return []
        with file.open("rb") as opened:
            data = opened.read(_LIMIT_BYTES + 1)
        if len(data) > _LIMIT_BYTES:
            raise ValueError("it is larger than 1 MiB")  # noqa: TRY301
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
    except ValueError as error:
        reason = str(error)
    else:
        return read_queries(text)
    raise ConfigurationError([Problem(f"The file of VERIFY_QUERIES_FILE cannot be used [{file}: {reason}]", hint)])


def read_queries(text: str) -> list[Query]:
    """Split a file into its queries; raises ConfigurationError with every problem, including queries that write."""
    if "\0" in text:
        raise ConfigurationError([Problem("The queries contain a NUL character", "save the query file as UTF-8")])
    queries: list[Query] = []
    faults: list[Problem] = []
    taken = {name.removeprefix(PREFIX): 1 for name in checklist.ALL if name.startswith(PREFIX)}
    for draft in _drafts(text):
        faults += _faults_of(draft)
        if draft.parts and not faults:
            expectation = next(map(read_expectation, draft.notes["expect"]), None)
            queries.append(Query(_unused(draft.name, taken), draft.text, expectation))
    if faults:
        raise ConfigurationError(faults)
    return queries


def _is_expectation(note: re.Match[str]) -> bool:
    """Whether a comment is meant as an expectation, and is not prose that begins like one."""
    with contextlib.suppress(ValueError):
        return note[1].lower() == "expect" and bool(read_expectation(note[2]))
    return False


def read_expectation(text: str) -> Expectation:
    """Parse the text after `expect:`; raises ValueError if it is not a known kind."""
    plain, text = " ".join(text.lower().split()), text.strip()
    for kind in get_args(Plain):
        if plain == kind:
            return Expectation(plain, kind)
    found = _EXPECTED.fullmatch(text)
    if not found:
        raise ValueError("not an expectation")
    sign, number, quoted = found["operator"], found["number"], found["quoted"]
    if found["rows"] or sign not in ("=", "!=", "<>"):
        if number is None:
            raise ValueError("not a number")
        return Expectation(text, "rows" if found["rows"] else "value", sign, Decimal(number))
    wanted = found["bare"] if quoted is None else quoted.replace("''", "'")
    return Expectation(text, "value", sign, wanted if number is None else Decimal(number))


def _drafts(text: str) -> Iterator[_Draft]:
    """Split at every semicolon that ends a statement, and collect the comment lines before each statement."""
    lexer: Any = Lexer()  # its methods have no types
    lexer.set_SQL_REGEX(_RULES)
    draft, behind = _Draft(), False
    for kind, value in lexer.get_tokens(text.removeprefix("\ufeff")):
        comment = kind in tokens.Comment
        if kind is tokens.Punctuation:
            yield draft
            draft, behind = _Draft(), True
        elif comment and "/*" in value[2:] and kind is not tokens.Comment.Single:
            draft.add(tokens.Error, value)  # PostgreSQL nests them, sqlparse does not
        elif comment or kind is tokens.Whitespace:
            draft.note(value, behind=behind)
            if draft.parts:
                draft.parts.append(" " if comment else value)
            behind = behind and not _NEWLINE.search(value)
        else:
            draft.add(kind, value)
    yield draft


def _faults_of(draft: _Draft) -> Iterator[Problem]:
    """Yield every problem with a statement and the comments before it."""
    for text in draft.notes["behind"]:
        yield Problem(
            f"A name or an expectation comes after a query [{shorten(text, NAME_LENGTH)}]",
            "put it on a separate line before the query it is meant for, and a semicolon after each query",
        )
    expected = draft.notes["expect"]
    if expected and not draft.parts:
        yield Problem(
            f"No query comes after an expectation [{shorten(expected[0], NAME_LENGTH)}]",
            "write the query on the lines after it, or remove the expectation",
        )
    elif len(expected) > 1:
        yield Problem(f"A query has {len(expected)} expectations [{draft.name}]", "repeat the query for each of them")
    for text in expected:
        try:
            read_expectation(text)
        except ValueError:
            said = f"{draft.name}: {shorten(text, _QUOTED_LENGTH)}"
            yield Problem(f"An expectation cannot be read [{said}]", _KINDS)
    if draft.parts:
        yield from (Problem(f"A query is refused: {why} [{draft.name}]", hint) for why, hint in _refusals(draft))


def _refusals(draft: _Draft) -> Iterator[tuple[str, str]]:
    """Yield why a drill must not run a statement, and what to do about it; one reason is enough."""
    written = next((word for word in draft.words if word in _WRITES), None)
    if tokens.Error in draft.kinds:
        yield (
            "a quote or comment in it is not closed, or a comment contains another one",
            "everything from there to the end of the file was taken as part of it",
        )
    elif tokens.Command in draft.kinds:
        yield "a backslash begins a psql command", "write plain SQL, and an expectation instead of a command"
    elif draft.first not in _FIRST:
        first = shorten(draft.first or "(", _QUOTED_LENGTH)
        yield f"it begins with {first}", f"a drill only reads: begin with one of {', '.join(_FIRST)}"
    elif written:
        yield f"it says {written}", "a drill only reads; if it is the name of a column, write it in double quotes"


def _unused(name: str, taken: dict[str, int]) -> str:
    """Return the name, with the first number that makes it unique if it is taken."""
    unique = name
    while unique in taken:
        taken[name] += 1
        unique = f"{name} ({taken[name]})"
    taken[unique] = 1
    return unique


def one_line(text: str) -> str:
    """Turn any text into one printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shorten(text: str, length: int) -> str:
    """Turn a text into one line of at most `length` characters."""
    line = one_line(text)
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
