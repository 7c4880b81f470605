"""The splitter cuts SQL where psql does, however the stream is chunked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.dump.splitter import Piece, StatementSplitter
from tests.unit.sql import cut, statements


def split(text: bytes, places: list[int] | None = None, *, backslashes: bool = False) -> tuple[list[Piece], bytes]:
    splitter = StatementSplitter()
    splitter.backslash_escapes = backslashes
    found: list[Piece] = []
    for piece in cut(text, places or []):
        splitter.feed(piece)
        found += splitter.pieces()
    found += splitter.pieces(final=True)
    return found, splitter.pending


def texts(text: bytes, *, backslashes: bool = False) -> list[bytes]:
    found, pending = split(text, backslashes=backslashes)
    assert pending == b""
    return [p.text for p in found if p.kind == "statement"]


ONE_STATEMENT = {
    "string": b"SELECT 'a;b''c;--/*';",
    "string with backslash": rb"SELECT 'a\', ';';",
    "escape string": rb"SELECT E'a\';\\', e'\\\'';",
    "escape string with doubled quote": rb"SELECT E'a''\';b';",
    "not an escape string": rb"SELECT namE'a\';",
    "quoted identifier": b'SELECT "a;""b;--";',
    "identifier with an E before it": b'SELECT 1 AS E";";',
    "dollar quote": b"SELECT $$;'\"--/*$$;",
    "tagged dollar quote": b"SELECT $body$ ; $$ ; $bod$ ; $body $ ; $body$;",
    "dollar quote with a letter beyond ASCII": b"SELECT $\xc3\xa4$ ; $$ ; $\xc3\xa4$;",
    "parameters": b"SELECT $1, $2$;",
    "dollars in an identifier": b"SELECT a$$, b$c$;",
    "line comment inside": b"SELECT 1 -- it's ; \"\n + 2;",
    "block comment": b"SELECT /* ; ' \" $$ -- */ 1;",
    "nested block comment": b"SELECT /* a /* b; */ c; */ 1;",
    "slashes that open nothing twice": b"SELECT /*/ ; */ 1;",
    "comment first": b"/* a; */ SELECT 1;",
    "rule with parentheses": b"CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b);",
    "function body": b"CREATE FUNCTION f() RETURNS int AS $$ BEGIN; END; $$ LANGUAGE plpgsql;",
    "atomic": b"CREATE FUNCTION f(a int) RETURNS int\n LANGUAGE sql\n BEGIN ATOMIC SELECT 1; SELECT 2; END;",
    "atomic with case": b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END;",
    "atomic in lower case": b"create or replace procedure p() begin atomic delete from t; end;",
    "atomic with strings": b"CREATE FUNCTION f() BEGIN ATOMIC SELECT 'END;', \"END\", $$END;$$ /* END; */; SELECT 2; END;",
    "parameter called begin": b"CREATE FUNCTION f(begin int) RETURNS int LANGUAGE sql AS 'SELECT 1';",
    "words that contain END": b'CREATE FUNCTION f() BEGIN ATOMIC SELECT ending, weekEND, END_at, "END", a$END; SELECT 1; END;',
    "begin elsewhere": b"SELECT begin FROM ranges;",
}


@pytest.mark.parametrize("text", ONE_STATEMENT.values(), ids=ONE_STATEMENT.keys())
def test_a_semicolon_inside_of_something_ends_nothing(text: bytes) -> None:
    """Strings, identifiers, comments, parentheses and bodies keep their semicolons, cut at any byte."""
    for place in range(len(text) + 1):
        found, pending = split(text + b"\nSELECT 2;\n", [place])
        assert [p.text for p in found] == [text, b"SELECT 2;"], place
        assert pending == b""
    assert [p.text for p in split(text + b"\nSELECT 2;\n", list(range(len(text) + 12)))[0]] == [text, b"SELECT 2;"]


@given(st.lists(st.tuples(statements(), st.sampled_from([b"\n", b" ", b"", b"\n\n\t"])), max_size=6), st.data())
def test_statements_come_out_as_they_went_in(parts: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """Any statements come out whole, in order and with their offsets, however the stream is chunked."""
    text = b"".join(statement + space for statement, space in parts)
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    found, pending = split(text, places)
    assert [p.text for p in found] == [statement for statement, _ in parts]
    assert all(text[p.start : p.start + len(p.text)] == p.text for p in found)
    assert pending == b""


@given(st.lists(statements(), max_size=3))
def test_one_byte_at_a_time_is_no_different(parts: list[bytes]) -> None:
    """A stream in chunks of one byte gives the same statements."""
    text = b"\n".join(parts)
    assert [p.text for p in split(text, list(range(len(text))))[0]] == parts


@given(st.binary(max_size=200), st.data())
def test_no_bytes_upset_it(text: bytes, data: st.DataObject) -> None:
    """Bytes that aren't SQL at all are split the same way, however the stream is chunked."""
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    assert split(text, places) == split(text)


@given(
    st.lists(st.sampled_from([*b"'\"$-/*\\;()E \na", *(b"BEGIN ", b"END", b"CREATE FUNCTION ", b"CASE")]), max_size=40),
    st.data(),
)
def test_no_order_of_tokens_depends_on_the_cuts(tokens: list[int | bytes], data: st.DataObject) -> None:
    """Unbalanced quotes, comments and bodies are split the same way, however the stream is chunked."""
    text = b"".join(bytes([t]) if isinstance(t, int) else t for t in tokens)
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    assert split(text, places) == split(text)


def test_two_statements_on_a_line() -> None:
    """A newline is not needed between statements."""
    assert texts(b"SELECT 1;SELECT 2;") == [b"SELECT 1;", b"SELECT 2;"]


def test_a_body_ends_with_its_last_end() -> None:
    """After END the next semicolon counts again, and BEGIN in a transaction doesn't start a body."""
    parts = [b"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END;", b"BEGIN;", b"SELECT 1;", b"END;"]
    assert texts(b"\n".join(parts)) == parts


def test_backslashes_escape_when_told_so() -> None:
    """With standard_conforming_strings off, a backslash escapes the quote after it."""
    assert texts(rb"SELECT 'a\';';SELECT 2;", backslashes=True) == [rb"SELECT 'a\';';", b"SELECT 2;"]
    assert texts(rb"SELECT 'a\';SELECT 2;") == [rb"SELECT 'a\';", b"SELECT 2;"]


def test_comments_and_commands_are_pieces_of_their_own() -> None:
    """Between statements, comments and psql commands are separate pieces, with their offsets."""
    text = b"-- one; 'two\n\\connect it's\nSELECT 1;\n--\n"
    found, pending = split(text)
    assert [(p.kind, p.text) for p in found] == [
        ("comment", b"-- one; 'two"), ("meta", b"\\connect it's"), ("statement", b"SELECT 1;"), ("comment", b"--"),
    ]  # fmt: skip
    assert [p.start for p in found] == [text.index(p.text) for p in found[:3]] + [len(text) - 3]
    assert pending == b""


def test_a_command_inside_a_statement_is_seen() -> None:
    """A client runs a backslash command even in the middle of a statement, so it must not go unnoticed."""
    found, _ = split(b"SELECT 1 \\! rm -rf x\n + 1;")
    assert [p.kind for p in found] == ["meta", "statement"]
    assert found[0].text == b"\\! rm -rf x"


@pytest.mark.parametrize(
    "text", [b"SELECT 1", b"SELECT 'a;", b"SELECT $$;", b"/* ;", b'SELECT ";', b"SELECT (1;", b"SELECT E'\\';"]
)
def test_what_is_not_complete_is_pending(text: bytes) -> None:
    """The rest of an incomplete statement is held back, and never returned as a statement."""
    found, pending = split(text)
    assert found == []
    assert pending == text


def test_little_is_held_back() -> None:
    """Memory doesn't grow with the stream: complete statements are discarded."""
    splitter = StatementSplitter()
    for _ in range(200):
        splitter.feed(b"SELECT 'a long statement of little interest';\n" * 100)
        assert len(list(splitter.pieces())) == 100
        assert len(splitter._buffer) < 100


def test_a_long_dollar_quote_across_many_pieces() -> None:
    """A body much longer than the rescanned part ends at its own tag."""
    body = b"CREATE FUNCTION f() AS $function$" + b"x; $$ " * 5000 + b"$function$;"
    assert [p.text for p in split(body + b"SELECT 1;", list(range(0, len(body), 4097)))[0]] == [body, b"SELECT 1;"]


def test_rest_and_restart() -> None:
    """Non-SQL data is skipped by length, and the offsets continue after it."""
    splitter = StatementSplitter()
    splitter.feed(b"  COPY t FROM stdin;\n1\n2\n")
    for piece in splitter.pieces():
        assert piece.start == 2
        assert splitter.drop_rest() == len(b"\n1\n2\n")
        break
    splitter.restart(1000)
    splitter.feed(b"\nSELECT 1;")
    assert [p.start for p in splitter.pieces()] == [1001]
