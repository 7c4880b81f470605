"""A failed connection has no SQLSTATE: its message tells whether a retry can help, and what to do."""

from __future__ import annotations

import psycopg
import pytest

from blocks.errors import DatabaseError, DatabaseRefused, DatabaseTimeout, DatabaseUnreachable
from blocks.sql.errors import translated

AT = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
SAID: dict[str, tuple[type[DatabaseError], str]] = {
    "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?": (DatabaseUnreachable, "host and port"),
    "FATAL:  the database system is starting up": (DatabaseUnreachable, "host and port"),
    "FATAL:  sorry, too many clients already": (DatabaseUnreachable, "host and port"),
    "timeout expired": (DatabaseTimeout, "network"),
    'FATAL:  password authentication failed for user "u"': (DatabaseRefused, "password"),
    'FATAL:  database "d" does not exist': (DatabaseRefused, "database name"),
    'FATAL:  database "a\nb" does not exist\nDETAIL:  It seems to have just been dropped.': (DatabaseRefused, "database name"),
    'FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "u", database "d", no encryption': (DatabaseRefused, "pg_hba.conf"),
    'FATAL:  pg_hba.conf rejects connection for host "10.0.0.2", user "u", database "d", SSL encryption': (DatabaseRefused, "pg_hba.conf"),
    "server does not support SSL, but SSL was required": (DatabaseRefused, "sslmode"),
    "SSL error: certificate verify failed": (DatabaseRefused, "sslrootcert"),
    'invalid integer value "q" for connection option "keepalives"': (DatabaseRefused, "parameter"),
    'FATAL:  invalid value for parameter "client_encoding": "xx"': (DatabaseRefused, "parameter"),
}  # fmt: skip


@pytest.mark.parametrize("said", SAID)
def test_what_is_said_of_a_connection(said: str) -> None:
    """Permanent errors aren't retried, and each has its own hint."""
    assert_told(AT + said, said)


@pytest.mark.parametrize("said", [said for said in SAID if said.startswith(("FATAL", "SSL", "server"))])
@pytest.mark.parametrize("first", [True, False])
def test_what_a_server_says_comes_before_a_dead_end(said: str, first: bool) -> None:
    """For a name with several addresses, psycopg reports all failures, last one first: the server's own answer wins."""
    nowhere = 'connection failed: connection to server at "fd00::1", port 5432 failed: Network is unreachable'
    attempts = [AT + said, nowhere] if first else [nowhere, AT + said]
    listed = [f"- host: 'db', port: '5432', hostaddr: '{n}': {text}" for n, text in enumerate(attempts)]
    assert_told("\n".join([attempts[-1], "Multiple connection attempts failed. All failures were:", *listed]), said)


@pytest.mark.parametrize("wrong", ["sslmode=yes", "connect_timeout=soon", "target_session_attrs=any1"])
def test_a_parameter_that_cannot_be_is_no_server_that_is_away(wrong: str) -> None:
    """Nothing was contacted: don't suggest checking host or network, and don't retry."""
    with pytest.raises(DatabaseError) as raised, translated("db:5432/d"):
        psycopg.connect("postgresql://127.0.0.1:1/d?" + wrong)
    assert type(raised.value) is DatabaseRefused
    assert "parameter" in raised.value.hint


def assert_told(text: str, said: str) -> None:
    expected, hint = SAID[said]
    with pytest.raises(DatabaseError) as raised, translated("db:5432/d"):
        raise psycopg.OperationalError(text)
    assert type(raised.value) is expected
    assert hint in raised.value.hint
    told = said.partition("\nDETAIL:")[0].partition("\n\t")[0].replace("\n", " ")
    assert raised.value.context == "db:5432/d: " + told.removeprefix("FATAL:").strip()
