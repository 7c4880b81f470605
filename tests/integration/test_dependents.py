"""What can't be restored without what a selection leaves out is named, whatever kind of object it is, on every version."""

from __future__ import annotations

import pytest

from blocks.config.selection import selection_of
from tasks.engine.dump.dependents import dependents, what_needs_it
from tasks.engine.dump.selection import read_selection
from tasks.engine.servers.programs import Client
from tests.conftest import HARD_SQL, MAJORS, NewDatabase, psql

SQL = HARD_SQL.with_name("dependents.sql").read_text()
# Of the extensions that are here, one with a function: without its schema, it can't be created either.
OF_EXTENSION = {
    "pgcrypto": "CREATE FUNCTION of_extension() RETURNS bytea LANGUAGE sql RETURN gone.digest('a', 'sha1');",
    "vector": "CREATE FUNCTION of_extension() RETURNS float8 LANGUAGE sql RETURN gone.l2_distance('[1]'::gone.vector, '[2]'::gone.vector);",
}
EXTENSIONS = {15: "pgcrypto", 16: "vector", 17: "pgcrypto", 18: "vector"}
PUBLICATIONS = (
    "CREATE PUBLICATION of_table FOR TABLE left_table, t; CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA gone;"
)
LEFT_OUT = {"exclude_tables": "left_table, parent", "exclude_schemas": "gone"}
NEEDING = """
access method am needs gone.am_handler(pg_catalog.internal)
aggregate public.agg(pg_catalog.text) needs gone.sfunc(pg_catalog.text,pg_catalog.text)
cast (gone.pair AS pg_catalog.text) needs gone."cast"(gone.pair)
cast (gone.pair AS pg_catalog.text) needs gone.pair
domain constraint dom_check on public.dom needs gone.one()
event trigger et needs gone.evt()
extension EXTENSION needs schema gone
foreign table public.foreign_table needs server far
foreign-data wrapper wrapper needs gone.handler()
foreign-data wrapper wrapper needs gone.validator(pg_catalog.text[],pg_catalog.oid)
function public.of_array(public.left_table[]) needs public.left_table
function public.of_extension() needs extension EXTENSION
function public.of_v1(public.v1) needs public.v1
index public.classed_index needs gone.class USING btree
index public.classed_index needs public.of_mood
index public.collated_index needs gone.col
index public.documents_index needs gone.cfg
operator class public.class2 USING btree needs gone.family USING btree
operator of access method operator 1 (integer, pg_catalog.text) of public.loose USING btree needs gone.<<<(integer,pg_catalog.text)
operator public.<<|<<(integer,pg_catalog.text) needs gone.lt(integer,pg_catalog.text)
policy pol on public.t needs public.left_table
rule ru on public.t needs public.left_table
server far needs foreign-data wrapper wrapper
statistics object public.stats needs gone.one()
table constraint referring_id_fkey on public.referring needs gone.inner_table
table constraint referring_l_fkey on public.referring needs public.left_table
table public.collated needs gone.col
table public.documents needs gone.cfg
table public.of_composite needs public.of_mood
text search configuration public.cfg2 needs gone.parser
text search configuration public.cfg3 needs gone.dict
text search dictionary public.dict2 needs gone.template
trigger tr on public.t needs gone.trg()
type public.dom_default needs gone.one()
type public.dom_of needs gone.positive
type public.of_mood needs gone.mood
type public.of_mood_range needs gone.positive
user mapping public on server far needs server far
view public.v1 needs public.left_table
view public.v2 needs public.v1
"""
# pg_dump dumps these since version 18, though the table and the schema are left out.
PUBLISHED = """
publication namespace gone in publication of_schema needs schema gone
publication relation public.inherits in publication of_table needs public.inherits
publication relation public.left_table in publication of_table needs public.left_table
"""


def said(text: str) -> set[str]:
    return set(text.strip().splitlines())


@pytest.mark.parametrize("major", MAJORS)
def test_every_kind_of_object(major: int, new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """Each is named with what it needs, and nothing that can be restored is, nor what a session or an extension made."""
    extension, server = EXTENSIONS[major], new_database(major)
    more = f"CREATE EXTENSION {extension} SCHEMA gone; {OF_EXTENSION[extension]} {PUBLICATIONS}"
    psql(clients[major], server, SQL + more)
    with server.connect(own_names=True) as connection:
        left_out = read_selection(connection, selection_of(LEFT_OUT), major)
        assert left_out
        # This session's own.
        connection.execute("CREATE TEMP TABLE passing (m gone.mood DEFAULT 'sad', i int DEFAULT gone.one())")
        connection.execute("SET search_path = pg_catalog")
        found = dependents(connection, left_out, major)
        without = dependents(connection, left_out, major, ["--no-publications"])
    named = {f"{what} needs {needed}".replace(extension, "EXTENSION") for what, needed in found}
    assert named == said(NEEDING) | (said(PUBLISHED) if major >= 18 else set())
    assert [pair for pair in found if not pair[0].startswith("publication")] == without
    # What is left out comes first: all else follows from it.
    assert found.index(("view public.v2", "public.v1")) > found.index(("view public.v1", "public.left_table"))


def test_a_database_without_the_schema_public(new_database: NewDatabase) -> None:
    """Somebody dropped it: all the same, what needs something is named."""
    server = new_database(17, "DROP SCHEMA public; CREATE SCHEMA a; CREATE TABLE a.t (); CREATE VIEW a.v AS TABLE a.t;")
    with server.connect(own_names=True) as connection:
        left_out = read_selection(connection, selection_of({"exclude_tables": "a.t"}), 17)
    with server.connect() as connection:
        assert left_out
        assert dependents(connection, left_out, 17) == [("view a.v", "a.t")]


def test_the_schema_public_is_in_every_database(new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """Without its contents, an extension in it is restored nevertheless, and so is what needs only that."""
    server = new_database(15)
    psql(clients[15], server, "CREATE EXTENSION hstore; CREATE SCHEMA a; CREATE TABLE a.t (h hstore); CREATE TABLE u ();"
         "CREATE VIEW a.v AS TABLE u;")  # fmt: skip
    with server.connect(own_names=True) as connection:
        left_out = read_selection(connection, selection_of({"exclude_schemas": "public"}), 15)
        assert left_out
        assert dependents(connection, left_out, 15) == [("view a.v", "public.u")]


def test_a_foreign_key_to_a_partitioned_table_is_one(new_database: NewDatabase) -> None:
    """Without one partition, or its rows, it can be restored unless rows refer to them; and it is named once."""
    partitions = "".join(f"CREATE TABLE p{n} PARTITION OF p FOR VALUES IN ({n});" for n in range(30))
    server = new_database(
        16,
        f"CREATE TABLE p (a int PRIMARY KEY) PARTITION BY LIST (a); CREATE TABLE r (a int REFERENCES p); {partitions}",
    )
    lead = "1 foreign key can't be restored unless its table is empty, because the rows it refers to are left out"
    for chosen, table in (({"exclude_tables": "p1"}, "p1"), ({"exclude_table_data": "p"}, "p0")):
        with server.connect(own_names=True) as connection:
            left_out = read_selection(connection, selection_of(chosen), 16)
        with server.connect() as connection:
            found = what_needs_it(connection, left_out, 16)
        assert [one.text for one in found] == [f"{lead}: r_a_fkey on public.r refers to public.{table}"]
