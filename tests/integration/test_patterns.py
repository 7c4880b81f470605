"""A pattern matches what pg_dump's own options match, whatever the names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.config.environment import child_environment
from blocks.config.selection import selection_of
from blocks.errors import ConfigurationError
from blocks.sql.server import Server
from tasks.engine.dump.selection import read_selection
from tasks.engine.servers.programs import Client
from tests.conftest import MAJORS

NAMES = ["orders", "Orders", "ORDERS", "order", "a b", 'a"b', "a.b", "a,b", "a\nb", "$pay", "pay$", "ähre", "Ähre", "x|y", "x", "t1", "t[]", "back\\slash",
         "(p)", "wild*", "a?", "user", "日本", "o'clock"]  # fmt: skip
SCHEMAS = ["public", "App", "a.b", "ünder"]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


PIECES = st.sampled_from(
    [*NAMES, *map(quoted, NAMES), "*", "?", "o*", "Or?ers", "(x|y)", "t[0-9]", '"a" "b"', "a+", ".*", "\\w+", '"A"pp']
)
PATTERNS = st.one_of(
    PIECES, st.tuples(st.sampled_from([*map(quoted, SCHEMAS), "public", "app", "*", "pub*"]), PIECES).map(".".join)
)


@pytest.fixture(scope="module", params=MAJORS)
def place(
    request: pytest.FixtureRequest, server_of: Callable[[int], Server], clients: dict[int, Client]
) -> Iterator[tuple[Server, Client]]:
    """A database with a table of each name in each schema; the number in a table's column tells which it is."""
    server, name = server_of(request.param), "patterns"
    with server.connect(own_names=True) as connection:
        connection.execute("CREATE DATABASE {}", name)
    with server.on(name).connect(own_names=True) as connection:
        for schema in SCHEMAS[1:]:
            connection.execute("CREATE SCHEMA {}", schema)
        for n, (schema, table) in enumerate((s, t) for s in SCHEMAS for t in NAMES):
            connection.execute(f"CREATE TABLE {{}}.{{}} (c{n} int)", schema, table)
    yield server.on(name), clients[request.param]
    with server.connect() as connection:
        connection.execute("DROP DATABASE {} WITH (FORCE)", name)


def of_pg_dump(server: Server, client: Client, pattern: str) -> set[int] | None:
    """Return which tables pg_dump dumps for a pattern; None if it refuses it."""
    command = [client.program("pg_dump"), "--schema-only", "--no-password", f"--table={pattern}"]
    environ = child_environment(server.child_environment())
    done = subprocess.run(command, env=environ, capture_output=True, check=False)
    if done.returncode:
        assert re.search(
            "no matching tables|regular expression|improper qualified|cross-database", done.stderr.decode()
        ), done.stderr
        return None
    return {int(n) for n in re.findall(rb"^    c(\d+) integer", done.stdout, re.MULTILINE)}


def of_ours(server: Server, client: Client, pattern: str) -> set[int] | None:
    """Return which tables a setting names; None if it is refused."""
    tables = [(s, t) for s in SCHEMAS for t in NAMES]
    try:
        selection = selection_of({"exclude_tables": pattern})
        with server.connect(own_names=True) as connection:
            left_out = read_selection(connection, selection, client.major)
            shown = {
                (s, t): str(connection.query("SELECT pg_catalog.format('%%I.%%I', %s::text, %s::text)", s, t)[0][0])
                for s, t in tables
            }
    except ConfigurationError:
        return None
    assert left_out
    return {n for n, table in enumerate(tables) if shown[table] in left_out.relations["table"]}


@settings(max_examples=25)
@given(PATTERNS.filter(lambda p: "," not in re.sub('"[^"]*"', "", p) and p.count('"') % 2 == 0))
def test_a_pattern_means_what_it_means_to_pg_dump(place: tuple[Server, Client], pattern: str) -> None:
    """Case, quotes, wildcards, dollar signs, regular expressions, newlines and other letters: the same tables match."""
    assert of_ours(*place, pattern) == of_pg_dump(*place, pattern)


def test_names_that_were_found_are_found_again(place: tuple[Server, Client]) -> None:
    """What is passed to pg_dump for a found name matches that table alone."""
    server, client = place
    if client.major not in (MAJORS[0], MAJORS[-1]):
        return
    for n, (schema, table) in enumerate((s, t) for s in SCHEMAS[::3] for t in NAMES):
        number = n if schema == "public" else n + len(NAMES) * 2
        with server.connect() as connection:
            ((name,),) = connection.query("SELECT pg_catalog.format('%%I.%%I', %s::text, %s::text)", schema, table)
        assert of_pg_dump(server, client, str(name)) == {number}
