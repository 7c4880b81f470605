"""Two dumps of one schema normalise to the same statements, and real differences remain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.dump.schema_text import (
    COPY,
    EXTENSION,
    SETVAL,
    SchemaNormaliser,
    columns_of,
    hash_of,
    hex_digest,
    roles_of,
    unquote,
)


def normal(*statements: bytes) -> list[bytes]:
    """Return the schema statements of one dump."""
    normaliser = SchemaNormaliser()
    return [text for text in map(normaliser.normalise, statements) if text is not None]


@pytest.mark.parametrize("statement", [
    b"SET statement_timeout = 0;", b"SET default_tablespace = '';", b"RESET SESSION AUTHORIZATION;",
    b"SELECT pg_catalog.set_config('search_path', '', false);", b"BEGIN;", b"COMMIT;",
])  # fmt: skip
def test_a_session_is_no_schema(statement: bytes) -> None:
    """A dump's session settings depend on the client that wrote it."""
    assert normal(statement) == []


def test_a_policy_is_for_the_same_roles_in_any_order() -> None:
    """The order of a policy's roles doesn't matter: pg_dump lists them in order of creation."""
    one = b"CREATE POLICY p ON public.t AS RESTRICTIVE FOR SELECT TO zoe, \"a, b\" USING ((owner = 'zoe, amy'::text));"
    other = (
        b"CREATE POLICY p ON public.t AS RESTRICTIVE FOR SELECT TO \"a, b\", zoe USING ((owner = 'zoe, amy'::text));"
    )
    assert normal(one) == normal(other)
    assert normal(one) != normal(other.replace(b"TO ", b"TO amy, "))
    assert normal(b"CREATE POLICY p ON t USING (true);") == [b"CREATE POLICY p ON t USING (true);"]


def test_who_grants_is_schema() -> None:
    """A statement executed as another role is preceded by that role."""
    assert normal(b"SET SESSION AUTHORIZATION reader;") == [b"SET SESSION AUTHORIZATION reader;"]


def test_where_a_table_lives_is_schema() -> None:
    """A tablespace is set by a separate statement: it applies to the tables after it."""
    table, view = b"CREATE TABLE t (a int);", b"CREATE VIEW v AS SELECT 1;"
    plain = normal(b"SET default_tablespace = '';", table, view)
    fast = normal(b"SET default_tablespace = fast;", table, view)
    assert plain == [table, view]
    assert fast == [table + b" -- default_tablespace fast", view]
    assert normal(b"SET default_tablespace = fast;", b"SET default_tablespace = '';", table, view) == plain
    assert normal(b"SET default_tablespace = 'slow disk';", table) != normal(b"SET default_tablespace = fast;", table)


def test_the_usual_tablespace_may_be_named() -> None:
    """With another default tablespace, pg_default is written out; an object without storage has none at all."""
    table, owner = b"CREATE TABLE t (a int);", b"ALTER TABLE public.t OWNER TO app;"
    key = b"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (a);"
    assert normal(b"SET default_tablespace = pg_default;", table, key, owner) == [table, key, owner]
    assert normal(b"SET default_tablespace = fast;", owner) == [owner]
    assert normal(b"SET default_tablespace = fast;", key) != [key]


def test_a_null_has_the_type_of_its_column() -> None:
    """pg_dump writes a bare null for a child without its parent's default; any other default is different."""
    table = b'CREATE TABLE public.t (\n    a numeric(9,2) DEFAULT NULL%s,\n    "x DEFAULT NULL::text" text%s\n);'
    assert normal(table % (b"::numeric", b"")) == normal(table % (b"", b""))
    assert normal(table % (b"::numeric NOT NULL", b"")) != normal(table % (b"", b""))
    assert normal(table % (b"", b" DEFAULT 'b DEFAULT NULL::text'")) != normal(
        table % (b"", b" DEFAULT 'b DEFAULT NULL'")
    )
    assert normal(table.replace(b" DEFAULT NULL%s,", b"%s,") % (b"", b"")) != normal(table % (b"", b""))
    change = b"ALTER TABLE ONLY public.t ALTER COLUMN a SET DEFAULT %s;"
    assert normal(change % b"NULL::numeric") == normal(change % b"NULL") != normal(change % b"0::numeric")


def test_how_a_table_is_stored_is_schema() -> None:
    """Another access method makes another table; the usual one can be omitted."""
    table = b"CREATE TABLE t (a int);"
    assert normal(b"SET default_table_access_method = heap;", table) == [table]
    assert normal(b"SET default_table_access_method = columnar;", table) != [table]


@pytest.mark.parametrize(("statement", "roles"), [
    (b"ALTER TABLE public.t OWNER TO app;", {"app"}),
    (b'ALTER FUNCTION public.f(a integer) OWNER TO "r\xc3\xb6le ""x""";', {'röle "x"'}),
    (b"GRANT SELECT(id),UPDATE(id) ON TABLE public.t TO reader;", {"reader"}),
    (b"GRANT ALL ON TABLE public.t TO reader WITH GRANT OPTION;", {"reader"}),
    (b'GRANT ALL ON TABLE public."a TO b" TO reader;', {"reader"}),
    (b"REVOKE ALL ON FUNCTION public.f() FROM PUBLIC;", set()),
    (b"REVOKE USAGE ON SCHEMA public FROM app;", {"app"}),
    (b"ALTER SCHEMA public OWNER TO pg_database_owner;", set()),
    (b"ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA public GRANT SELECT ON TABLES  TO reader;", {"app", "reader"}),
    (b"ALTER DEFAULT PRIVILEGES FOR ROLE app REVOKE ALL ON FUNCTIONS  FROM PUBLIC;", {"app"}),
    (b"SET SESSION AUTHORIZATION 'it''s';", {"it's"}),
    (b"SET SESSION AUTHORIZATION DEFAULT;", set()),
    (b'CREATE POLICY p ON public.t FOR SELECT TO reader, "r 2" USING ((owner = CURRENT_USER));', {"reader", "r 2"}),
    (b"CREATE POLICY p ON public.t AS RESTRICTIVE TO app WITH CHECK (true);", {"app"}),
    (b"CREATE POLICY p ON public.t USING (true);", set()),
    (b'CREATE POLICY "what belongs TO me" ON public."x TO y" FOR ALL TO app USING (true);', {"app"}),
    (b"CREATE POLICY p ON public.t USING ((a = 'belongs TO nobody'::text));", set()),
    (b"CREATE USER MAPPING FOR app SERVER far;", {"app"}),
    (b'CREATE USER MAPPING FOR "app SERVER x" SERVER far OPTIONS (\n    "user" \'TO nobody\'\n);', {"app SERVER x"}),
    (b"CREATE USER MAPPING FOR public SERVER far;", set()),
    (b"COMMENT ON TABLE t IS 'OWNER TO nobody;';", set()),
    (b"CREATE FUNCTION f() RETURNS int AS $$ GRANT ALL ON t TO nobody; $$;", set()),
])  # fmt: skip
def test_the_roles_a_statement_needs(statement: bytes, roles: set[str]) -> None:
    """Owners, grantees and the roles of policies and mappings are listed; roles on every server are not."""
    assert roles_of(statement) == roles


@pytest.mark.parametrize(("quoted", "name"), [
    (b"plain", "plain"), (b'"odd ""name"""', 'odd "name"'), (b"'it''s'", "it's"), (b'"it\'s"', "it's"),
    (b"'a\"b'", 'a"b'), (b"\xc3\xa4", "ä"), (b'""""', '"'),
])  # fmt: skip
def test_unquote(quoted: bytes, name: str) -> None:
    """The name itself, without its quotes and with doubled quotes undone."""
    assert unquote(quoted) == name


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_unquote_undoes_quoting(name: str) -> None:
    """Any name survives being quoted as an identifier or as a literal."""
    assert unquote(b'"' + name.replace('"', '""').encode() + b'"') == name
    assert unquote(b"'" + name.replace("'", "''").encode() + b"'") == name


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_columns_of_any_names(names: list[str]) -> None:
    """Commas, parentheses and quotes in the names of columns don't split them."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    found = COPY.match(f"COPY public.t ({', '.join(quoted)}) FROM stdin;".encode())
    assert found
    assert columns_of(found[2]) == tuple(quoted)
    assert columns_of(None) == ()


def test_statements_that_are_looked_for() -> None:
    """COPY, setval and CREATE EXTENSION are recognised as pg_dump writes them, and nothing else is."""
    assert COPY.match(b"COPY t  FROM stdin;")
    assert not COPY.match(b"COPY t TO stdout;")
    assert not COPY.match(b"COPY t (a) FROM stdin WITH (FORMAT csv);")
    assert not COPY.match(b"COPY t (a) FROM stdin; SELECT 1;")
    value = SETVAL.match(b"SELECT pg_catalog.setval('public.\"it''s\"', -5, false);")
    assert value
    assert value.groups() == (b"public.\"it''s\"", b"-5", b"false")
    extension = EXTENSION.match(b'CREATE EXTENSION IF NOT EXISTS "a ""b""" WITH SCHEMA x;')
    assert extension
    assert unquote(extension[1]) == 'a "b"'


def test_digests_have_one_form() -> None:
    """128 bits as 32 digits, for small and overflowing sums alike; the empty row has XXH3's published hash."""
    assert hex_digest(0) == "0" * 32
    assert hex_digest(2**128 + 10) == "0" * 31 + "a"
    assert hex_digest(hash_of(b"")) == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize(
    ("statement", "kept"),
    [
        (b"ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=22133904);", None),
        (b'ALTER FOREIGN TABLE ONLY public."t SET (" ALTER COLUMN "a b" SET (pg_attver=2);', None),
        (b"ALTER TABLE ONLY t ALTER COLUMN a SET (pg_attver=22, n_distinct=5);", b"ALTER TABLE ONLY t ALTER COLUMN a SET (n_distinct=5);"),
        (b"ALTER TABLE ONLY t ALTER COLUMN a SET (n_distinct=5, pg_attver=22);", b"ALTER TABLE ONLY t ALTER COLUMN a SET (n_distinct=5);"),
        (b"ALTER TABLE t ALTER COLUMN a SET DEFAULT 'SET (pg_attver=2)';", b"ALTER TABLE t ALTER COLUMN a SET DEFAULT 'SET (pg_attver=2)';"),
    ],
)  # fmt: skip
def test_a_servers_count_of_a_columns_versions_is_no_part_of_the_schema(statement: bytes, kept: bytes | None) -> None:
    """Each server sets its own attribute version counts, so a faithful restore has other values."""
    assert SchemaNormaliser().normalise(statement) == kept
