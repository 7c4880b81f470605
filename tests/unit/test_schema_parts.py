"""Every statement belongs to a part of the schema and has a title, whatever its names look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.dump.schema_parts import (
    CONSTRAINTS,
    EXTENSIONS,
    INDEXES,
    MATERIALIZED,
    OTHER,
    PARTS,
    RIGHTS,
    TRIGGERS,
    Differences,
    Entry,
    compare_statements,
    part_of,
    title_of,
)
from tasks.engine.dump.schema_text import hash_of

STATEMENTS = [
    # Indexes.
    (INDEXES, "CREATE INDEX i ON public.t USING btree (a) WHERE (a > 1);", "CREATE INDEX i ON public.t"),
    (INDEXES, "CREATE UNIQUE INDEX i ON ONLY public.t USING btree (a);", "CREATE UNIQUE INDEX i ON public.t"),
    (INDEXES, 'CREATE INDEX "a ON b" ON s."x ON y" USING gin (c);', 'CREATE INDEX "a ON b" ON s."x ON y"'),
    (INDEXES, "ALTER INDEX s.i ATTACH PARTITION s.j;", "ALTER INDEX s.i ATTACH PARTITION s.j"),
    (INDEXES, "ALTER INDEX s.i ALTER COLUMN 1 SET STATISTICS 300;", "ALTER INDEX s.i ALTER COLUMN 1 SET STATISTICS"),
    (INDEXES, "ALTER TABLE s.t CLUSTER ON i;", "ALTER TABLE s.t CLUSTER ON i"),
    (INDEXES, "ALTER TABLE ONLY s.t REPLICA IDENTITY USING INDEX i;", "ALTER TABLE s.t REPLICA IDENTITY"),
    # Constraints.
    (CONSTRAINTS, "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (id);", "ALTER TABLE s.t ADD CONSTRAINT t_pkey"),
    (CONSTRAINTS, "ALTER TABLE s.t\n    ADD CONSTRAINT c CHECK ((a > 1)) NOT VALID;", "ALTER TABLE s.t ADD CONSTRAINT c"),
    (CONSTRAINTS, "ALTER TABLE s.t VALIDATE CONSTRAINT c;", "ALTER TABLE s.t VALIDATE CONSTRAINT c"),
    (CONSTRAINTS, "ALTER DOMAIN s.d\n    ADD CONSTRAINT c CHECK ((VALUE > 1)) NOT VALID;", "ALTER DOMAIN s.d ADD CONSTRAINT c"),
    (CONSTRAINTS, "ALTER FOREIGN TABLE s.t ADD CONSTRAINT c CHECK ((a > 1));", "ALTER FOREIGN TABLE s.t ADD CONSTRAINT c"),
    (CONSTRAINTS, "ALTER TABLE ONLY s.t ALTER COLUMN a SET NOT NULL;", "ALTER TABLE s.t ALTER COLUMN a SET NOT NULL"),
    (CONSTRAINTS, 'ALTER TABLE "x OWNER TO y" ADD CONSTRAINT "z TRIGGER" CHECK ((a <> \' OWNER TO b;\'));',
                  'ALTER TABLE "x OWNER TO y" ADD CONSTRAINT "z TRIGGER"'),
    # Triggers and rules.
    (TRIGGERS, "CREATE TRIGGER g BEFORE INSERT OR UPDATE OF a, b ON s.t FOR EACH ROW EXECUTE FUNCTION s.f();",
               "CREATE TRIGGER g ON s.t"),
    (TRIGGERS, 'CREATE CONSTRAINT TRIGGER "a ON b" AFTER UPDATE OF "c ON d" ON s.t FROM s.u EXECUTE FUNCTION f();',
               'CREATE CONSTRAINT TRIGGER "a ON b" ON s.t'),
    (TRIGGERS, "ALTER TABLE s.t DISABLE TRIGGER g;", "ALTER TABLE s.t DISABLE TRIGGER g"),
    (TRIGGERS, "ALTER TABLE s.t ENABLE ALWAYS TRIGGER g;", "ALTER TABLE s.t ENABLE ALWAYS TRIGGER g"),
    (TRIGGERS, "ALTER TABLE s.t ENABLE REPLICA RULE r;", "ALTER TABLE s.t ENABLE REPLICA RULE r"),
    (TRIGGERS, "CREATE RULE r AS\n    ON DELETE TO s.t DO INSTEAD NOTHING;", "CREATE RULE r ON DELETE TO s.t"),
    (TRIGGERS, "CREATE EVENT TRIGGER e ON sql_drop\n   EXECUTE FUNCTION f();", "CREATE EVENT TRIGGER e"),
    (TRIGGERS, "ALTER EVENT TRIGGER e ENABLE ALWAYS;", "ALTER EVENT TRIGGER e ENABLE ALWAYS"),
    (TRIGGERS, "ALTER EVENT TRIGGER e DISABLE;", "ALTER EVENT TRIGGER e DISABLE"),
    # Extensions.
    (EXTENSIONS, 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;', 'CREATE EXTENSION "uuid-ossp"'),
    (EXTENSIONS, "COMMENT ON EXTENSION hstore IS 'key and value; OWNER TO x';", "COMMENT ON EXTENSION hstore"),
    # Owners and rights.
    (RIGHTS, "ALTER TABLE s.t OWNER TO reader;", "ALTER TABLE s.t OWNER TO reader"),
    (RIGHTS, 'ALTER TABLE "a ADD CONSTRAINT b" OWNER TO "x TRIGGER y";', 'ALTER TABLE "a ADD CONSTRAINT b" OWNER TO "x TRIGGER y"'),
    (RIGHTS, 'ALTER FUNCTION s.f(a integer, "b OWNER TO x" text[]) OWNER TO r;', 'ALTER FUNCTION s.f(a integer, "b OWNER TO x" text[]) OWNER TO r'),
    (RIGHTS, "ALTER OPERATOR s.=== (integer, integer) OWNER TO r;", "ALTER OPERATOR s.=== (integer, integer) OWNER TO r"),
    (RIGHTS, "ALTER OPERATOR CLASS s.c USING btree OWNER TO r;", "ALTER OPERATOR CLASS s.c USING btree OWNER TO r"),
    (RIGHTS, "ALTER LARGE OBJECT 4711 OWNER TO r;", "ALTER LARGE OBJECT 4711 OWNER TO r"),
    (RIGHTS, "ALTER EVENT TRIGGER e OWNER TO r;", "ALTER EVENT TRIGGER e OWNER TO r"),
    (RIGHTS, "ALTER DOMAIN s.d OWNER TO r;", "ALTER DOMAIN s.d OWNER TO r"),
    (RIGHTS, "GRANT SELECT,INSERT ON TABLE s.t TO r;", "GRANT ON TABLE s.t TO r"),
    (RIGHTS, "GRANT ALL ON TABLE s.t TO r WITH GRANT OPTION;", "GRANT ON TABLE s.t TO r WITH GRANT OPTION"),
    (RIGHTS, "GRANT SELECT(a),UPDATE(a) ON TABLE s.t TO r;", "GRANT (a) ON TABLE s.t TO r"),
    (RIGHTS, 'GRANT SELECT("a) ON TABLE x") ON TABLE s."t TO z" TO r;', 'GRANT ("a) ON TABLE x") ON TABLE s."t TO z" TO r'),
    (RIGHTS, "REVOKE ALL ON FUNCTION s.f(a integer) FROM PUBLIC;", "REVOKE ON FUNCTION s.f(a integer) FROM PUBLIC"),
    (RIGHTS, "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT,UPDATE ON TABLES  TO r;",
             "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT ON TABLES TO r"),
    (RIGHTS, "ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON FUNCTIONS FROM PUBLIC;",
             "ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ON FUNCTIONS FROM PUBLIC"),
    (RIGHTS, "SET SESSION AUTHORIZATION 'reader';", "SET SESSION AUTHORIZATION 'reader'"),
    # Materialized views.
    (MATERIALIZED, "CREATE MATERIALIZED VIEW s.m AS\n SELECT 1\n  WITH NO DATA;", "CREATE MATERIALIZED VIEW s.m"),
    (MATERIALIZED, "REFRESH MATERIALIZED VIEW s.m;", "REFRESH MATERIALIZED VIEW s.m"),
    # Everything else.
    (OTHER, "CREATE TABLE public.books (\n    id integer NOT NULL\n);", "CREATE TABLE public.books"),
    (OTHER, 'CREATE UNLOGGED TABLE s."a\nb" (\n);', 'CREATE UNLOGGED TABLE s."a b"'),
    (OTHER, 'CREATE TABLE "CREATE TRIGGER x ON y" ();', 'CREATE TABLE "CREATE TRIGGER x ON y"'),
    (OTHER, "CREATE FOREIGN TABLE s.t (\n    a integer\n)\nSERVER far;", "CREATE FOREIGN TABLE s.t"),
    (OTHER, "ALTER FOREIGN TABLE ONLY s.t ALTER COLUMN a OPTIONS (\n    x 'y'\n);", "ALTER FOREIGN TABLE s.t ALTER COLUMN a OPTIONS"),
    (OTHER, "CREATE OR REPLACE VIEW s.v AS\n SELECT 1;", "CREATE VIEW s.v"),
    (OTHER, "CREATE VIEW s.v WITH (security_barrier='true') AS\n SELECT 1;", "CREATE VIEW s.v"),
    (OTHER, "CREATE SEQUENCE s.q\n    START WITH 1;", "CREATE SEQUENCE s.q"),
    (OTHER, "ALTER SEQUENCE s.q OWNED BY s.t.a;", "ALTER SEQUENCE s.q OWNED BY s.t.a"),
    (OTHER, "ALTER TABLE ONLY s.t ALTER COLUMN a SET DEFAULT ' OWNER TO x';", "ALTER TABLE s.t ALTER COLUMN a SET DEFAULT"),
    (OTHER, "ALTER TABLE s.t ALTER COLUMN a ADD GENERATED ALWAYS AS IDENTITY (\n);", "ALTER TABLE s.t ALTER COLUMN a ADD GENERATED"),
    (OTHER, "ALTER TABLE ONLY s.t ATTACH PARTITION s.u FOR VALUES IN ('a');", "ALTER TABLE s.t ATTACH PARTITION s.u"),
    (OTHER, "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;", "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY"),
    (OTHER, "ALTER TABLE ONLY s.t FORCE ROW LEVEL SECURITY;", "ALTER TABLE s.t FORCE ROW LEVEL SECURITY"),
    (OTHER, 'CREATE POLICY "a ON b" ON s.t FOR SELECT TO r USING (true);', 'CREATE POLICY "a ON b" ON s.t'),
    (OTHER, "CREATE FUNCTION public.f(a integer) RETURNS void\n    AS $$ CREATE INDEX i ON t (a); $$;",
            "CREATE FUNCTION public.f(a integer)"),
    (OTHER, "CREATE FUNCTION f(a numeric DEFAULT round((1.5 + 2), 1), b text[] DEFAULT ARRAY['x, ('::text, ')'::text], \"c DEFAULT d\" integer) RETURNS int;",
            'CREATE FUNCTION f(a numeric, b text[], "c DEFAULT d" integer)'),
    (OTHER, "CREATE OR REPLACE PROCEDURE s.p(INOUT a integer) LANGUAGE sql;", "CREATE PROCEDURE s.p(INOUT a integer)"),
    (OTHER, "CREATE AGGREGATE s.a(integer ORDER BY text) (\n    SFUNC = f\n);", "CREATE AGGREGATE s.a(integer ORDER BY text)"),
    (OTHER, "CREATE OPERATOR s.=== (\n    FUNCTION = s.f\n);", "CREATE OPERATOR s.==="),
    (OTHER, "CREATE OPERATOR CLASS s.c\n    FOR TYPE integer USING btree AS\n    OPERATOR 1 <;", "CREATE OPERATOR CLASS s.c"),
    (OTHER, "CREATE OPERATOR FAMILY s.f USING btree;", "CREATE OPERATOR FAMILY s.f USING btree"),
    (OTHER, "ALTER OPERATOR FAMILY s.f USING btree ADD\n    OPERATOR 1 <(integer,bigint);", "ALTER OPERATOR FAMILY s.f USING btree ADD"),
    (OTHER, "CREATE CAST (s.a AS integer) WITH FUNCTION s.f(s.a) AS ASSIGNMENT;", "CREATE CAST (s.a AS integer)"),
    (OTHER, "CREATE TRANSFORM FOR double precision LANGUAGE l (FROM SQL WITH FUNCTION f(internal));", "CREATE TRANSFORM FOR double precision LANGUAGE l"),
    (OTHER, "CREATE OR REPLACE TRUSTED PROCEDURAL LANGUAGE l HANDLER s.h;", "CREATE PROCEDURAL LANGUAGE l"),
    (OTHER, "CREATE DEFAULT CONVERSION s.c FOR 'LATIN1' TO 'UTF8' FROM f;", "CREATE DEFAULT CONVERSION s.c"),
    (OTHER, "CREATE TYPE s.e AS ENUM (\n    'CREATE INDEX'\n);", "CREATE TYPE s.e"),
    (OTHER, "CREATE DOMAIN s.d AS integer\n\tCONSTRAINT c CHECK ((VALUE > 0));", "CREATE DOMAIN s.d"),
    (OTHER, "CREATE COLLATION s.c (provider = libc, locale = 'C');", "CREATE COLLATION s.c"),
    (OTHER, 'CREATE TEXT SEARCH CONFIGURATION s.c (\n    PARSER = pg_catalog."default" );', "CREATE TEXT SEARCH CONFIGURATION s.c"),
    (OTHER, "ALTER TEXT SEARCH CONFIGURATION s.c\n    ADD MAPPING FOR word WITH s.d;", "ALTER TEXT SEARCH CONFIGURATION s.c ADD MAPPING FOR word"),
    (OTHER, "CREATE STATISTICS s.s (mcv) ON a, b FROM s.t;", "CREATE STATISTICS s.s"),
    (OTHER, "ALTER STATISTICS s.s SET STATISTICS 50;", "ALTER STATISTICS s.s SET STATISTICS"),
    (OTHER, "CREATE FOREIGN DATA WRAPPER w OPTIONS (\n    a 'b'\n);", "CREATE FOREIGN DATA WRAPPER w"),
    (OTHER, 'CREATE SERVER "far away" FOREIGN DATA WRAPPER w;', 'CREATE SERVER "far away"'),
    (OTHER, "CREATE USER MAPPING FOR r SERVER s OPTIONS (\n    password 'secret'\n);", "CREATE USER MAPPING FOR r SERVER s"),
    (OTHER, "CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');", "CREATE PUBLICATION p"),
    (OTHER, "ALTER PUBLICATION p ADD TABLE ONLY s.t WHERE ((a > 1));", "ALTER PUBLICATION p ADD TABLE s.t"),
    (OTHER, "ALTER PUBLICATION p ADD TABLES IN SCHEMA s;", "ALTER PUBLICATION p ADD TABLES IN SCHEMA s"),
    (OTHER, "CREATE SUBSCRIPTION s CONNECTION 'password=secret' PUBLICATION p WITH (streaming = parallel);", "CREATE SUBSCRIPTION s"),
    (OTHER, "CREATE ACCESS METHOD a TYPE TABLE HANDLER h;", "CREATE ACCESS METHOD a"),
    (OTHER, "CREATE SCHEMA s;", "CREATE SCHEMA s"),
    (OTHER, "COMMENT ON COLUMN public.t.c IS 'GRANT';", "COMMENT ON COLUMN public.t.c"),
    (OTHER, 'COMMENT ON TRIGGER "a IS b" ON s.t IS \'x IS y\';', 'COMMENT ON TRIGGER "a IS b" ON s.t'),
    (OTHER, "COMMENT ON CAST (s.a AS integer) IS 'x';", "COMMENT ON CAST (s.a AS integer)"),
    (OTHER, "COMMENT ON LARGE OBJECT 1 IS 'x';", "COMMENT ON LARGE OBJECT 1"),
    (OTHER, "SECURITY LABEL FOR p ON TABLE s.t IS 'x';", "SECURITY LABEL FOR p ON TABLE s.t"),
    (OTHER, "INSERT INTO s.t VALUES (1, 'private');", "INSERT INTO s.t"),
    (OTHER, "DROP TABLE s.t;", "DROP TABLE s.t;"),
    (OTHER, "SOMETHING new\nin two lines;", "SOMETHING new"),
    (OTHER, "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("part", "statement", "title"), STATEMENTS)
def test_parts_and_titles(part: str, statement: str, title: str) -> None:
    """Only a statement's keywords classify it, and its title names the object without private details."""
    assert (part_of(statement.encode()), title_of(statement.encode())) == (part, title)


def test_every_part_is_tested() -> None:
    """The table of statements covers all parts."""
    assert {part for part, _, _ in STATEMENTS} == set(PARTS)


ANYTHING = st.binary(max_size=400) | st.lists(
    st.sampled_from([
        b"CREATE ", b"ALTER ", b"TABLE ", b"TRIGGER ", b"GRANT", b" ON ", b" TO ", b"FUNCTION ", b"f", b"(", b")", b"[", b'"', b"'",
        b",", b" DEFAULT ", b" OWNER TO ", b"COMMENT ON ", b" IS ", b"ALTER DEFAULT PRIVILEGES", b"  A", b"\n", b";", b"\xff",
    ]), max_size=60).map(b"".join)  # fmt: skip


@given(ANYTHING)
def test_no_bytes_are_too_odd(statement: bytes) -> None:
    """Any bytes in a dump have a part, and a title of one short line."""
    assert part_of(statement) in PARTS
    title = title_of(statement)
    assert len(title) <= 200
    assert len(title.splitlines()) <= 1


@pytest.mark.timeout(10)
@pytest.mark.parametrize("statement", [
    b"GRANT " + b"A  B, " * 100_000,
    b"GRANT SELECT" + b"(a)" * 100_000,
    b"CREATE FUNCTION f(" + b"(" * 300_000,
    b"CREATE FUNCTION f(" + b"a integer DEFAULT 'x', " * 50_000 + b"z int)",
    b"CREATE FUNCTION f() RETURNS int AS $$" + b"\n x := ' OWNER TO ' || \"y\";" * 100_000 + b"$$;",
    b"CREATE TRIGGER g " + b'"a" ' * 100_000,
    b"COMMENT ON TABLE t IS '" + b"x" * 3_000_000 + b"';",
    b"COMMENT ON " + b"TABLE t " * 100_000,
    b"ALTER " + b"A " * 300_000,
    b'ALTER TABLE "' + b'""' * 300_000,
    b"CREATE TABLE t (" + b"\n    a integer," * 100_000 + b");",
], ids=lambda statement: statement[:24].decode())  # fmt: skip
def test_no_statement_takes_long(statement: bytes) -> None:
    """The time a statement takes grows at most with its length."""
    assert part_of(statement) in PARTS
    assert title_of(statement)


NAMES = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]) | st.just(" "), min_size=1).filter(
    lambda name: name == " ".join(name.split())
)
TRAPS = NAMES | st.sampled_from(
    ["x OWNER TO y", "CREATE INDEX", "a ON b", 'q" ADD CONSTRAINT c', "it's ENABLE TRIGGER t"]
)


@given(TRAPS, TRAPS)
def test_quoted_names_are_names(one: str, other: str) -> None:
    """No name changes how a statement is classified, however much it looks like SQL."""
    a, b = ('"' + name.replace('"', '""') + '"' for name in (one, other))
    for part, title, rest in [
        (RIGHTS, f"ALTER TABLE s.{a} OWNER TO {b}", ""),
        (CONSTRAINTS, f"ALTER TABLE s.{a} ADD CONSTRAINT {b}", " CHECK (true)"),
        (TRIGGERS, f"CREATE TRIGGER {a} ON s.{b}", " FOR EACH ROW EXECUTE FUNCTION f()"),
        (TRIGGERS, f"ALTER TABLE s.{a} DISABLE TRIGGER {b}", ""),
        (INDEXES, f"CREATE INDEX {a} ON s.{b}", " USING btree (a)"),
        (RIGHTS, f"ALTER FUNCTION s.{a}({b} integer) OWNER TO x", ""),
        (OTHER, f"COMMENT ON COLUMN s.{a}.{b}", " IS 'x'"),
        (OTHER, f"CREATE FUNCTION s.{a}({b} text)", " RETURNS text"),
    ]:
        whole = title if len(title) <= 200 else title[:199] + "…"
        statement = (title + rest + ";").encode()
        assert (part_of(statement), title_of(statement)) == (part, whole)


def schema(*statements: str) -> dict[int, bytes]:
    """Return the statements as a scan keeps them."""
    return {hash_of(statement.encode()): statement.encode() for statement in statements}


TABLE = "CREATE TABLE s.t (\n    a integer\n);"
BOOKS = schema(TABLE, "CREATE INDEX i ON s.t USING btree (a);", "GRANT SELECT ON TABLE s.t TO r;")


@pytest.mark.parametrize("exact", [True, False])
def test_equal_schemas_do_not_differ(exact: bool) -> None:
    """The order of statements is not part of the schema."""
    assert compare_statements(BOOKS, dict(reversed(BOOKS.items())), exact=exact) == Differences()


@pytest.mark.parametrize("exact", [True, False])
def test_what_differs_is_missing_added_or_changed(exact: bool) -> None:
    """A title on one side only is missing or added; with other text on both it is changed."""
    after = schema(TABLE, "CREATE INDEX j ON s.t USING btree (a);", "GRANT ALL ON TABLE s.t TO r;")
    assert compare_statements(BOOKS, after, exact=exact) == Differences(
        missing=(Entry(INDEXES, "CREATE INDEX i ON s.t"),),
        added=(Entry(INDEXES, "CREATE INDEX j ON s.t"),),
        changed=(Entry(RIGHTS, "GRANT ON TABLE s.t TO r"),),
    )


def test_statements_of_one_title_are_counted() -> None:
    """Of several statements with the same title each counts."""
    one, two, three = (f"GRANT {right} ON TABLE s.t TO r;" for right in ("SELECT", "INSERT", "UPDATE"))
    entry = Entry(RIGHTS, "GRANT ON TABLE s.t TO r")
    assert compare_statements(schema(one, two, three), schema(one), exact=True).missing == (entry, entry)
    assert compare_statements(schema(one, two), schema(three), exact=True) == Differences((entry,), (), (entry,))


def test_a_column_without_nulls_may_be_said_in_two_places() -> None:
    """NOT NULL that PostgreSQL 18 moved into CREATE TABLE isn't missing because it used to be a separate statement."""
    alter = "ALTER TABLE ONLY s.t ALTER COLUMN {} SET NOT NULL;"
    old = schema("CREATE TABLE s.t (\n)\nINHERITS (s.p);", alter.format("a"), alter.format('"b c"'))
    new = schema('CREATE TABLE s.t (\n    NOT NULL a,\n    CONSTRAINT n NOT NULL "b c"\n)\nINHERITS (s.p);')
    seen = compare_statements(old, new, exact=False)
    assert (seen.missing, seen.added, len(seen.changed)) == ((), (), 3)
    less = schema("CREATE TABLE s.t (\n    NOT NULL a\n)\nINHERITS (s.p);")
    gone = Entry(CONSTRAINTS, 'ALTER TABLE s.t ALTER COLUMN "b c" SET NOT NULL')
    assert compare_statements(old, less, exact=False).missing == (gone,)
    assert len(compare_statements(old, new, exact=True).missing) == 2
