"""Small dumps for the scanner's tests, and ways to cut them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from hypothesis import strategies as st

from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.summary import DumpSummary

HEAD = b"""--
-- PostgreSQL database dump
--

\\restrict aBcDeF0123

-- Dumped from database version 16.4
-- Dumped by pg_dump version 16.6

SET statement_timeout = 0;
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

"""
COMPLETE = b"--\n-- PostgreSQL database dump complete"
TAIL = COMPLETE + b"\n--\n\n\\unrestrict aBcDeF0123\n\n"


def copy(name: str, rows: Iterable[bytes], columns: str = "(a, b)") -> bytes:
    """Return the COPY statement, rows and terminator of one table, as pg_dump writes them."""
    return b"COPY %s %s FROM stdin;\n" % (name.encode(), columns.encode()) + b"".join(rows) + b"\\.\n\n\n"


def dump(*parts: bytes) -> bytes:
    """Return a whole dump."""
    return HEAD + b"".join(parts) + TAIL


def cut(data: bytes, places: Sequence[int]) -> Iterator[bytes]:
    """Return the data in chunks that end at these positions."""
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return (data[a:b] for a, b in pairwise(edges))


def scan(
    data: bytes, places: Sequence[int] = (), columns: dict[str, tuple[str, ...]] | None = None, *, keep: bool = False
) -> DumpSummary:
    """Return the scanner's summary of a dump that arrives in chunks."""
    scanner = DumpScanner(columns, keep_schema=keep)
    for piece in cut(data, places):
        scanner.feed(piece)
    return scanner.finish()


_TRAP = st.sampled_from(
    [b";", b"--", b"/*", b"*/", b"'", b'"', b"\\", b"\n", b"\\.\n", b"\nCOPY t FROM stdin;\n1\t2\n\\.\n", b"$$", b"$a$",
     b"(", b")", b" BEGIN ", b" END ", b"CASE", b" E", b"e'", b"x", b"\xc3\xa4", b"\n\\connect x\n", b"$1", b"a$$b",
     b"\n-- PostgreSQL database dump complete\n"]
)  # fmt: skip
_TRAPS = st.lists(_TRAP, max_size=8).map(b"".join)


def _dollar(body: bytes) -> bytes:
    tag = next(t for t in (b"$$", b"$a$", b"$body_1$", b"$\xc3\xa4$") if t not in body + b"$")
    return b" " + tag + body + tag + b" "


def _escape(body: bytes) -> bytes:
    return b" E'" + body.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"


def _without(*words: bytes) -> st.SearchStrategy[bytes]:
    def remove(text: bytes) -> bytes:
        while any(word in text for word in words):
            for word in words:
                text = text.replace(word, b"")
        return text

    return _TRAPS.map(remove)


TOKENS = st.one_of(
    st.sampled_from([b"SELECT ", b"a ", b"1, ", b"name ", b"$1 ", b"BEGIN ", b" END ", b"CASE ", b"- ", b"/ ", b"* ", b"\n"]),
    _TRAPS.map(lambda body: b" '" + body.replace(b"'", b"''") + b"'"),
    _TRAPS.map(lambda body: b' "' + body.replace(b'"', b'""') + b'"'),
    _TRAPS.map(_escape),
    _TRAPS.filter(lambda body: not (b"$$" in body and b"$a$" in body and b"$body_1$" in body)).map(_dollar),
    _without(b"/*", b"*/").filter(lambda t: not t.endswith((b"/", b"*"))).map(lambda body: b" /* " + body + b" */ "),
    _without(b"/*", b"*/").map(lambda body: b" /*/* " + body + b" */" + body + b" */ "),
    _without(b"\n").map(lambda body: b" --" + body + b"\n"),
    st.lists(st.sampled_from([b"a ", b"; ", b"';' ", b"BEGIN "])).map(lambda inner: b"(" + b"".join(inner) + b")"),
)  # fmt: skip


@st.composite
def statements(draw: st.DrawFn) -> bytes:
    """A statement that a lexer must not cut short: it hides every kind of trap."""
    verb = draw(st.sampled_from([b"SELECT ", b"ALTER TABLE t ", b"INSERT INTO t VALUES ", b"COMMENT ON TABLE t IS "]))
    return verb + b"".join(draw(st.lists(TOKENS, max_size=6))) + b";"
