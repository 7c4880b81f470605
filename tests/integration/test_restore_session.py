"""A restore's session carries out one statement at a time, and ends without a commit when something goes wrong."""

# ruff: noqa: PT012  (what is raised passes through the session, which must be left by it)

from __future__ import annotations

import signal
import time
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.errors import DatabaseUnreachable
from blocks.sql.restore_session import OutOfTime, Refusal
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from tests.conftest import MAJORS, NewDatabase
from tests.integration.objects import asked, until
from tests.integration.proxy import proxy_to


def code_of(refusal: Refusal | None) -> str:
    """Return the code of a refusal that there must be."""
    assert refusal is not None
    return refusal.sqlstate


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("text", [
    "CREATE TABLE a (a int); CREATE TABLE b (a int)", "CREATE TABLE a (a int); COPY a FROM stdin",
    "BEGIN; CREATE TABLE a (a int); COMMIT", "/* ; */ CREATE TABLE a (a int); --;\nSELECT 1", "SELECT 1 \\; CREATE TABLE a (a int)",
])  # fmt: skip
def test_several_statements_in_one(text: str, major: int, new_database: NewDatabase) -> None:
    """The server refuses a text with several statements; none of them is carried out."""
    server = new_database(major)
    with server.connect() as connection, connection.restore_session() as session:
        assert code_of(session.execute(text.encode())) == "42601"
        assert session.execute(b"CREATE TABLE public.after (a int);") is None
    assert asked(server, "SELECT relname FROM pg_class WHERE relname IN ('a', 'b', 'after')") == [("after",)]


def test_the_server_decides_whether_rows_follow(new_database: NewDatabase) -> None:
    """If it waits for rows where we expect none, or the other way round, nothing is sent."""
    server = new_database(16, "CREATE TABLE t (a int)")
    with pytest.raises(InterruptedError), server.connect() as connection, connection.restore_session() as session:
        assert code_of(session.execute(b"SELECT 1", rows_follow=True)) == "42601"
        assert code_of(session.execute(b"COPY public.t FROM stdin")) == "42601"
        raise InterruptedError
    assert asked(server, "SELECT count(*) FROM t") == [(0,)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.sampled_from(["1", "\\N", "20000", "\\\\.", "."]), max_size=9), cuts=st.lists(st.integers(0, 40))
)
def test_rows_in_any_pieces(rows: list[str], cuts: list[int], new_database: NewDatabase) -> None:
    """Every row arrives, and the end marker is not one of them."""
    server = new_database(16, "CREATE TABLE t (a text)")
    data = "".join(f"{row}\n" for row in rows).encode() + b"\\.\n"
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    with server.connect() as connection, connection.restore_session() as session:
        assert session.execute(b"COPY public.t FROM stdin;", rows_follow=True) is None
        for begin, end in pairwise(places):
            session.write_rows(memoryview(data)[begin:end])
        assert session.end_rows() is None
    found = [value for (value,) in asked(server, "SELECT a FROM t ORDER BY ctid")]
    assert found == [{"\\N": None, "\\\\.": "\\."}.get(row, row) for row in rows]


def test_a_row_that_is_refused(new_database: NewDatabase) -> None:
    """The refusal says where, and the session goes on."""
    server = new_database(16, "CREATE TABLE t (a int)")
    with server.connect() as connection, connection.restore_session() as session:
        assert session.execute(b"COPY public.t (a) FROM stdin;", rows_follow=True) is None
        session.write_rows(memoryview(b"1\nx\n\\.\n"))
        refusal = session.end_rows()
        assert code_of(refusal) == "22P02"
        assert refusal
        assert refusal.context == ('COPY t, line 2, column a: "x"',)
        assert session.execute(b"SELECT 1;") is None


@pytest.mark.parametrize("error", [OutOfTime, KeyboardInterrupt])
def test_what_the_server_does_is_cancelled(error: type[BaseException], new_database: NewDatabase) -> None:
    """A statement doesn't run on, and isn't committed, when nobody waits for it any more."""
    server = new_database(
        16,
        "CREATE TABLE t AS SELECT 1 AS a; CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN 1; END'",
    )
    with pytest.raises(error), server.connect() as connection, connection.restore_session(1) as session:
        if error is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            signal.signal(signal.SIGALRM, signal.default_int_handler)
        session.execute(b"CREATE INDEX i ON public.t (public.f(a));")
    until(
        lambda: (
            asked(
                server, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX i%' AND state = 'active'"
            )
            == [(0,)]
        )
    )
    assert asked(server, "SELECT count(*) FROM pg_class WHERE relname = 'i'") == [(0,)]


def test_rows_without_their_end(new_database: NewDatabase) -> None:
    """An end that was not seen is not assumed."""
    server = new_database(16, "CREATE TABLE t (a int)")
    with (
        pytest.raises(ValueError, match="end marker"),
        server.connect() as connection,
        connection.restore_session() as session,
    ):
        session.execute(b"COPY public.t (a) FROM stdin;", rows_follow=True)
        session.write_rows(memoryview(b"1\n2\n"))
        session.end_rows()
    assert asked(server, "SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("statement", [b"SELECT pg_sleep(60);", b"COPY public.t (a) FROM stdin;"])
def test_time_is_up(statement: bytes, new_database: NewDatabase) -> None:
    """A server that doesn't answer, or takes no more rows, isn't waited for any longer."""
    server = new_database(16, "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';"
                          "CREATE TABLE t (a int); CREATE TRIGGER s BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()")  # fmt: skip
    begun = time.monotonic()
    with pytest.raises(OutOfTime), server.connect() as connection, connection.restore_session(0.5) as session:
        assert session.execute(statement, rows_follow=b"COPY" in statement) is None
        while True:
            session.write_rows(memoryview(b"1\n" * (1 << 20)))
    assert time.monotonic() - begun < 20


def test_a_connection_that_breaks(new_database: NewDatabase) -> None:
    """It is noticed while rows are sent, not at their end."""
    server = new_database(16, "CREATE TABLE t (a int)")
    parameters = server.parameters()
    with proxy_to(int(parameters["port"])) as proxy:
        far = Server(url=SecretStr(conninfo_url({**parameters, "host": "127.0.0.1", "port": str(proxy.port)})))
        with pytest.raises(DatabaseUnreachable), far.connect() as connection, connection.restore_session() as session:
            assert session.execute(b"COPY public.t (a) FROM stdin;", rows_follow=True) is None
            proxy.close()
            for _ in range(1000):
                session.write_rows(memoryview(b"1\n" * (1 << 10)))
    assert asked(server, "SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("script", ["BEGIN;", "BEGIN; CREATE TABLE public.u (a int);"])
def test_what_is_left_open_is_not_committed(script: str, new_database: NewDatabase) -> None:
    """An error inside a transaction ends it without a commit."""
    server = new_database(16)
    with pytest.raises(InterruptedError), server.connect() as connection, connection.restore_session() as session:
        for statement in script.split(";")[:-1]:
            assert session.execute(statement.encode()) is None
        assert session.in_transaction
        raise InterruptedError
    assert asked(server, "SELECT count(*) FROM pg_class WHERE relname = 'u'") == [(0,)]
