"""A schema restored on another major version keeps everything, and what is missing is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from blocks.sql.server import Server
from tasks.engine.dump.pg_dump import running_dump
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_parts import (
    CONSTRAINTS,
    INDEXES,
    MATERIALIZED,
    OTHER,
    RIGHTS,
    TRIGGERS,
    Entry,
    compare_statements,
)
from tasks.engine.servers.programs import Client
from tests.conftest import HARD_SQL, MAJORS, NewDatabase, psql

EVERY_KIND_SQL = HARD_SQL.with_name("every_kind.sql")
PAIRS = [(source, target) for source in MAJORS for target in MAJORS if source <= target]
ROLES = "SELECT format('CREATE ROLE %I NOLOGIN', name) FROM unnest(ARRAY['reader', 'röle with \"quotes\"']) name "
ROLES += "WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \\gexec"
Schema = dict[int, bytes]


def dumped(server: Server, client: Client) -> tuple[str, Schema]:
    """Return a dump of a database, and the statements of its schema."""
    scanner, blocks = DumpScanner(keep_schema=True), []
    with running_dump(server, client) as dump:
        while block := os.read(dump.output, 1 << 20):
            blocks.append(block)
            scanner.feed(block)
        dump.check_end()
    assert scanner.finish().problem == ""
    return b"".join(blocks).decode(), scanner.summary.schema_kept


@pytest.fixture(scope="module")
def sources() -> dict[int, tuple[str, Schema]]:
    """The dumps of the hard databases made so far, by major version."""
    return {}


@pytest.fixture
def source_of(
    sources: dict[int, tuple[str, Schema]],
    hard_database: Callable[[int], Server],
    clients: dict[int, Client],
) -> Callable[[int], tuple[str, Schema]]:
    """A function that dumps a database with every kind of object on a major version."""

    def make(major: int) -> tuple[str, Schema]:
        if major not in sources:
            server = hard_database(major)
            psql(clients[major], server, EVERY_KIND_SQL.read_text())
            sources[major] = dumped(server, clients[major])
        return sources[major]

    return make


@pytest.fixture
def restored(new_database: NewDatabase, clients: dict[int, Client]) -> Callable[[str, int], Server]:
    """A function that restores a dump into a new database."""

    def restore(dump: str, major: int) -> Server:
        server = new_database(major)
        psql(clients[major], server, ROLES)
        psql(clients[major], server, dump)
        return server

    return restore


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_nothing_is_missing_after_a_move(
    source: int,
    target: int,
    source_of: Callable[[int], tuple[str, Schema]],
    restored: Callable[[str, int], Server],
    clients: dict[int, Client],
) -> None:
    """Between any versions nothing is missing and nothing is added; what is changed, the server is asked about."""
    dump, before = source_of(source)
    after = dumped(restored(dump, target), clients[target])[1]
    assert len(before) > 300
    seen = compare_statements(before, after, exact=source == target)
    assert (seen.missing, seen.added) == ((), ())


# What is done to a copy before it is dumped, and what the comparison then reports as missing.
DAMAGE = [
    ("DROP INDEX statuses_partial", [Entry(INDEXES, "CREATE INDEX statuses_partial ON public.statuses")]),
    ("ALTER TABLE other.books SET WITHOUT CLUSTER", [Entry(INDEXES, "ALTER TABLE other.books CLUSTER ON books_pkey")]),
    ("ALTER TABLE many REPLICA IDENTITY DEFAULT", [Entry(INDEXES, "ALTER TABLE public.many REPLICA IDENTITY")]),
    ("ALTER TABLE other.books DROP CONSTRAINT once", [
        Entry(CONSTRAINTS, "ALTER TABLE other.books ADD CONSTRAINT once"),
        Entry(OTHER, "COMMENT ON CONSTRAINT once ON other.books"),
    ]),
    ("ALTER TABLE other.books DROP CONSTRAINT by_author", [
        Entry(CONSTRAINTS, "ALTER TABLE other.books ADD CONSTRAINT by_author"),
    ]),
    ("ALTER DOMAIN other.code DROP CONSTRAINT short", [
        Entry(CONSTRAINTS, "ALTER DOMAIN other.code ADD CONSTRAINT short"),
    ]),
    ("ALTER TABLE nulls_child ALTER COLUMN a DROP NOT NULL", [
        Entry(CONSTRAINTS, "ALTER TABLE public.nulls_child ALTER COLUMN a SET NOT NULL"),
    ]),
    ("DROP TRIGGER late ON watched", [Entry(TRIGGERS, "CREATE CONSTRAINT TRIGGER late ON public.watched")]),
    ("ALTER TABLE watched ENABLE TRIGGER disabled", [
        Entry(TRIGGERS, "ALTER TABLE public.watched DISABLE TRIGGER disabled"),
    ]),
    ("ALTER EVENT TRIGGER sleeping ENABLE", [Entry(TRIGGERS, "ALTER EVENT TRIGGER sleeping DISABLE")]),
    ("DROP RULE no_delete ON no_rows", [
        Entry(OTHER, "COMMENT ON RULE no_delete ON public.no_rows"),
        Entry(TRIGGERS, "CREATE RULE no_delete ON DELETE TO public.no_rows"),
    ]),
    ("DROP FUNCTION other.add(int, int, text[])", [
        Entry(OTHER, "CREATE FUNCTION other.add(a integer, b integer, c text[])"),
        Entry(RIGHTS, "ALTER FUNCTION other.add(a integer, b integer, c text[]) OWNER TO reader"),
    ]),
    ("REVOKE SELECT ON measures FROM reader", [Entry(RIGHTS, "GRANT ON TABLE public.measures TO reader")]),
    ("REVOKE SELECT (title) ON other.books FROM reader", []),  # the right to update it stays, so this is a change
    ('REVOKE GRANT OPTION FOR ALL ON looks_like_syntax FROM "röle with ""quotes"""', [
        Entry(RIGHTS, 'GRANT ON TABLE public.looks_like_syntax TO "röle with ""quotes""" WITH GRANT OPTION'),
    ]),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM reader", [
        Entry(RIGHTS, "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA public GRANT ON TABLES TO reader"),
    ]),
    ("DROP VIEW recursive_view", [
        Entry(OTHER, "COMMENT ON VIEW public.recursive_view"),
        Entry(OTHER, "CREATE VIEW public.recursive_view"),
        Entry(RIGHTS, "ALTER TABLE public.recursive_view OWNER TO postgres"),
        Entry(RIGHTS, "GRANT ON TABLE public.recursive_view TO reader"),
    ]),
    ("DROP MATERIALIZED VIEW unfilled", [
        Entry(MATERIALIZED, "CREATE MATERIALIZED VIEW public.unfilled"),
        Entry(RIGHTS, "ALTER TABLE public.unfilled OWNER TO postgres"),
        Entry(RIGHTS, "GRANT ON TABLE public.unfilled TO reader"),
    ]),
    ("REFRESH MATERIALIZED VIEW filled WITH NO DATA", [
        Entry(MATERIALIZED, "REFRESH MATERIALIZED VIEW public.filled"),
    ]),
    ('DROP POLICY "all TO everybody" ON guarded', [
        Entry(OTHER, 'CREATE POLICY "all TO everybody" ON public.guarded'),
    ]),
    ("ALTER TABLE guarded DISABLE ROW LEVEL SECURITY", [
        Entry(OTHER, "ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY"),
    ]),
    ("DROP STATISTICS other.expressions", [
        Entry(OTHER, "CREATE STATISTICS other.expressions"),
        Entry(RIGHTS, "ALTER STATISTICS other.expressions OWNER TO postgres"),
    ]),
    ("ALTER PUBLICATION several DROP TABLE watched", [Entry(OTHER, "ALTER PUBLICATION several ADD TABLE public.watched")]),
    ("ALTER SEQUENCE guarded_id_seq OWNED BY NONE", [
        Entry(OTHER, "ALTER SEQUENCE public.guarded_id_seq OWNED BY public.guarded.id"),
        Entry(OTHER, "ALTER TABLE public.guarded ALTER COLUMN id SET DEFAULT"),  # now part of CREATE TABLE
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target"), [(15, 15), (17, 17), (15, 16), (15, 18), (17, 18)])
def test_what_is_gone_is_named(
    source: int,
    target: int,
    source_of: Callable[[int], tuple[str, Schema]],
    restored: Callable[[str, int], Server],
    clients: dict[int, Client],
) -> None:
    """Whatever the copy lacks, and nothing else, is named with its part of the schema."""
    dump, before = source_of(source)
    server = restored(dump, target)
    psql(clients[target], server, "".join(f"{statement};\n" for statement, _ in DAMAGE))
    seen = compare_statements(before, dumped(server, clients[target])[1], exact=source == target)
    assert list(seen.missing) == sorted(entry for _, entries in DAMAGE for entry in entries)
    # The right itself stays; only its grant option was revoked.
    assert list(seen.added) == [Entry(RIGHTS, 'GRANT ON TABLE public.looks_like_syntax TO "röle with ""quotes"""')]
    assert Entry(RIGHTS, "GRANT (title) ON TABLE other.books TO reader") in seen.changed


def test_what_is_new_and_what_is_changed(
    source_of: Callable[[int], tuple[str, Schema]],
    restored: Callable[[str, int], Server],
    clients: dict[int, Client],
) -> None:
    """Within one version a changed body, type or option, and anything extra in the copy, is noticed too."""
    server = restored(source_of(16)[0], 16)
    before = dumped(server, clients[16])[1]
    psql(clients[16], server, CHANGES)
    seen = compare_statements(before, dumped(server, clients[16])[1], exact=True)
    assert seen.missing == ()
    assert seen.added == (Entry(INDEXES, "CREATE INDEX extra ON public.many"),)
    assert seen.changed == (
        Entry(OTHER, "CREATE FUNCTION public.bump()"),
        Entry(OTHER, "CREATE TABLE public.no_columns"),
        Entry(RIGHTS, "GRANT ON TABLE public.measures TO reader"),
    )


CHANGES = """
CREATE INDEX extra ON many (t);
CREATE OR REPLACE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
ALTER TABLE no_columns ADD COLUMN a int;
GRANT INSERT ON measures TO reader;
"""
