"""A query file, a damaged object and a server's refusal are each understood, or refused with our own message."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import example, given
from hypothesis import strategies as st

from blocks.errors import BackupDamaged, ConfigurationError, EmptyBackup, PgRoundtripError
from blocks.sql.restore_session import Refusal
from tasks.engine.drill.query_file import read_queries
from tasks.engine.drill.verdict import blame
from tasks.engine.dump.splitter import Piece, StatementSplitter
from tasks.engine.restore.refusals import error_of
from tasks.engine.stream.gzip_members import BLOCK_BYTES, compressor, decompress
from tests.fuzz import fuzzed
from tests.unit.sql import cut

TOKENS = st.sampled_from([
    "SELECT ", "TABLE ", "WITH a AS (SELECT 1) SELECT ", "1", "a", ", ", " ", "\n", ";", ";\n", "'a;b'", "'it''s'", r"'\'", r"E'\';'", r"E'a\\'", 'U&"a;"',
    '"a;""b"', "$$ ; $$", "$a$ $$ ; $a$", "$ä$;$ä$", "$1", "a$$b", "-- ; '\n", "/* ; ' */", "€", "\u00a0", "ä", "🐘", "€E'\\'", "'", '"', "$$", "--", "/*", "*/", "\\",
    "\\! ls\n", "\\gexec\n", "DELETE FROM t", "INSERT ", "x'ff'", "B'1'", "e", "E", "nE'\\'", "1E'\\'", "-- expect: > 0\n", "-- name: q\n", "\r", "\f", "::text", "(", ")",
])  # fmt: skip


def pieces_of(text: str) -> tuple[list[Piece], bytes]:
    """Split a text as psql would, by psql's own rules."""
    splitter = StatementSplitter()
    splitter.feed(text.encode())
    return list(splitter.pieces(final=True)), splitter.pending


@fuzzed
@given(st.lists(TOKENS, max_size=14).map("".join))
@example("SELECT €E'\\'; DELETE FROM t; --'")
@example("SELECT a€$$ ; DELETE FROM t; SELECT $$")
def test_what_is_asked_is_one_statement(text: str) -> None:
    """Every query is one statement by psql's rules too: no second statement and no psql command hides in it."""
    try:
        queries = read_queries(text)
    except ConfigurationError:
        return
    at = 0
    for query in queries:
        found, pending = pieces_of(query.text + ";")
        assert [p.kind for p in found] == ["statement"] * len(found)
        assert [p.text for p in found] in ([(query.text + ";").encode()], [])  # none yet while a parenthesis is open
        assert pending in (b"", (query.text + ";").encode())
        for word in query.text.split():
            at = text.find(word[:3], at)  # a comment inside becomes a space
            assert at >= 0


PLAIN = [b"row %d\n" % n * 3 for n in range(6)]
STORED = b"".join(map(compressor(6), PLAIN))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An object with bytes changed, lost, duplicated or inserted."""
    data = STORED
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(data)))
        end = begin + draw(st.integers(0, 40))
        data = data[:begin] + draw(st.binary(max_size=5) | st.just(data[begin:end] * 2)) + data[end:]
    return data


def read(data: bytes, places: list[int]) -> bytes | str:
    """Return the decompressed data, or why reading stopped."""
    try:
        blocks = list(decompress(cut(data, places)))
    except (BackupDamaged, EmptyBackup) as error:
        return type(error).__name__
    assert all(0 < len(block) <= BLOCK_BYTES for block in blocks)
    return b"".join(blocks)


@fuzzed
@given(damaged() | st.binary(max_size=40), st.lists(st.integers(0, 300), max_size=8))
def test_a_damaged_object(data: bytes, places: list[int]) -> None:
    """A damaged object is refused, or every gzip program reads the same from it, in whatever chunks it arrives."""
    found = read(data, places)
    assert found == read(data, [])
    if isinstance(found, bytes):
        try:
            assert gzip.decompress(data) == found
        except (OSError, EOFError, zlib.error) as error:
            raise AssertionError("another program refuses it") from error


SAID = st.lists(
    st.sampled_from([
        "connection", "S3CR3T", 'role "x" does not exist', 'COPY t, line 1, column a: "', 'SQL function "', "PL/pgSQL function ", " line 1 at RETURN", "\x1b[31m", " ", "::::", "\n",
    ]) | st.text(max_size=5), max_size=10,
).map("".join)  # fmt: skip


@fuzzed
@given(st.sampled_from(["42601", "53100", "57P01", "08006", "42704", "XX000", ""]), SAID, st.lists(SAID, max_size=5))
@example("42601", "PL/pgSQL function " * 3000, ["PL/pgSQL function " * 3000])
def test_whatever_a_server_said(code: str, message: str, context: list[str]) -> None:
    """Any refusal becomes one of our errors, with a one-line sentence, from which a verdict can be derived."""
    error = error_of(Refusal(code, message, tuple(context)))
    assert isinstance(error, PgRoundtripError)
    assert len(error.sentence.splitlines()) == 1
    assert blame(error)
