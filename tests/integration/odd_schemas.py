"""Generate odd schemas at random: a server may refuse statements, and only the accepted ones matter."""

from __future__ import annotations

import random
from collections.abc import Iterator

_NAMES = ("a", "b", "c", "Select", "user", "with space", 'quo"te', "umlaut_ä", "x,y", "p(q", "it's", "end;", "$1", "A")
_TYPES = (
    "int", "bigint", "text", "varchar(7)", "numeric(9,2)", "boolean", "date", "timestamptz", "jsonb", "int[]", "bytea",
    "char(3)", "uuid", "interval", "mood", "code", "pair", "spans",
)  # fmt: skip
_DEFAULTS = {
    "int": ("7", "nextval('odd.numbers')", "length('a,b (c')"),
    "bigint": ("-1", "(2 + 3)", "nextval('odd.numbers')"),
    "text": ("'it''s, (odd'", "E'back\\\\slash\\n    , x'", "CURRENT_USER", "('a' || 'b')", "odd.words(1)"),
    "varchar(7)": ("'x'", "NULL"),
    "numeric(9,2)": ("1.50",),
    "boolean": ("true", "(1 IS DISTINCT FROM 2)", "('a' IN ('b', 'c'))"),
    "date": ("CURRENT_DATE", "'2020-02-29'"),
    "timestamptz": ("now()",),
    "int[]": ("ARRAY[1, 2]", "'{}'"),
    "mood": ("'sad'",),
    "code": ("'abc'",),
}
_CHECKS = (
    "{0} IS NOT NULL OR 1 = 1", "{0}::text <> 'x, (y'", "{0}::text IN ('a', 'b') OR true", "{0}::text NOT LIKE '%;%'",
    "coalesce({0}::text, '') = ANY (ARRAY['a'::varchar, 'b']) OR true", "CASE WHEN {0} IS NULL THEN true ELSE length({0}::text) > -1 END",
)  # fmt: skip
_BEGIN = (
    "CREATE SCHEMA odd", 'CREATE SCHEMA "Odd schema; --"', "CREATE SEQUENCE odd.numbers AS smallint INCREMENT 3 CYCLE CACHE 5",
    "CREATE TYPE mood AS ENUM ('sad', 'happy')", "ALTER TYPE mood ADD VALUE 'so, so' BEFORE 'happy'",
    "CREATE DOMAIN code AS varchar(5) DEFAULT 'q' CONSTRAINT \"no ;\" CHECK (VALUE <> ';') CHECK (VALUE IN ('abc', 'q', 'r'))",
    'CREATE TYPE pair AS (a int, gone text, b text COLLATE "C")', "ALTER TYPE pair DROP ATTRIBUTE gone",
    "CREATE FUNCTION odd.words(int) RETURNS text LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT 'w' || $1; END",
    "CREATE FUNCTION odd.gap(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2'",
    "CREATE TYPE spans AS RANGE (subtype = float8, subtype_diff = odd.gap, multirange_type_name = many_spans)",
    "CREATE FUNCTION odd.fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE FUNCTION odd.nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "CREATE TYPE row_type AS (k int, v text)", "CREATE COLLATION odd.blind (provider = icu, locale = 'und', deterministic = false)",
    "CREATE TEXT SEARCH CONFIGURATION odd.search (COPY = simple)", "CREATE FOREIGN DATA WRAPPER nothing", "CREATE SERVER far FOREIGN DATA WRAPPER nothing",
    "CREATE AGGREGATE odd.sums(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
    "CREATE OPERATOR odd.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = OPERATOR(odd.===))",
    "CREATE OPERATOR CLASS odd.backwards FOR TYPE int USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int, int)",
    "CREATE CAST (pair AS text) WITH INOUT AS ASSIGNMENT", "CREATE PROCEDURE odd.does(INOUT a int DEFAULT 3) LANGUAGE sql AS 'SELECT 1'",
    "CREATE PUBLICATION whole FOR TABLES IN SCHEMA odd", "CREATE PUBLICATION chosen WITH (publish = 'insert, delete')",
    "SELECT lo_from_bytea(4711, '\\x00ff')", "GRANT SELECT ON LARGE OBJECT 4711 TO odd_one",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA odd GRANT SELECT ON TABLES TO odd_one WITH GRANT OPTION",
    "CREATE TABLE no_columns ()", "CREATE TABLE typed OF row_type (k WITH OPTIONS PRIMARY KEY DEFAULT 4, CHECK (v <> ';'))",
    "CREATE EVENT TRIGGER late ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION odd.nothing()",
)  # fmt: skip
ROLES = 'DO $$ BEGIN CREATE ROLE odd_one; CREATE ROLE "odd, two"; EXCEPTION WHEN duplicate_object THEN NULL; END $$'


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


class OddSchema:
    """A random schema; the same seed generates the same one."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tables: dict[str, dict[str, str]] = {}
        self._number = 0

    def statements(self, steps: int = 90) -> Iterator[str]:
        """Return the statements that create it, in order."""
        yield from _BEGIN
        makers = (self._table, self._child, self._partitioned)
        for _ in range(6):
            for make in makers:
                yield from make()
        others = (
            *makers, self._column, self._column, self._inherit, self._inherit, self._constraint, self._constraint, self._index, self._index,
            self._view, self._trigger, self._rights, self._comment, self._setting, self._setting, self._rule, self._policy,
            self._statistics, self._foreign_key, self._published, self._rows, self._foreign,
        )  # fmt: skip
        for _ in range(steps):
            yield from self._random.choice(others)()
        for name in self._tables:
            yield f"INSERT INTO {name} DEFAULT VALUES"

    def _new(self, word: str) -> str:
        self._number += 1
        schema = self._random.choice(("public", "odd", '"Odd schema; --"'))
        return f"{schema}.{quoted(f'{word} {self._number}{self._random.choice(_NAMES)}')}"

    def _any(self) -> tuple[str, str]:
        """Return a table and one of its columns."""
        table = self._random.choice(list(self._tables))
        return table, self._random.choice(list(self._tables[table]) or ['"none"'])

    def _columns(self) -> dict[str, str]:
        names = self._random.sample(_NAMES, self._random.randint(1, 5))
        return {quoted(n): self._random.choice(_TYPES) for n in names}

    def _defined(self, columns: dict[str, str]) -> str:
        return ", ".join(f"{name} {kind}{self._extras(kind)}" for name, kind in columns.items())

    def _extras(self, kind: str) -> str:
        chance = self._random.random()
        if chance < 0.35 and kind in _DEFAULTS:
            return f" DEFAULT {self._random.choice(_DEFAULTS[kind])}" + self._random.choice(("", " NOT NULL"))
        if chance < 0.45 and kind in ("int", "bigint"):
            return self._random.choice(
                (
                    " GENERATED ALWAYS AS IDENTITY (START 5)",
                    " GENERATED BY DEFAULT AS IDENTITY",
                    " GENERATED ALWAYS AS (1 + 2) STORED",
                )
            )
        if chance < 0.5 and kind in ("text", "varchar(7)"):
            return self._random.choice((' COLLATE "C"', " COLLATE odd.blind"))
        return " NOT NULL" if chance > 0.9 else ""

    def _table(self) -> Iterator[str]:
        name, columns = self._new("t"), self._columns()
        self._tables[name] = columns
        kind = self._random.choice(("", "", "", "UNLOGGED "))
        yield f"CREATE {kind}TABLE {name} ({self._defined(columns)})" + self._random.choice(
            ("", " WITH (fillfactor = 70, toast.autovacuum_enabled = off)")
        )

    def _child(self) -> Iterator[str]:
        if not self._tables:
            return
        parent, _ = self._any()
        name, own = self._new("child"), self._columns()
        inherited = self._tables[parent]
        for other in self._random.sample(list(inherited), self._random.randint(0, len(inherited))):
            own[other] = inherited[other]
        own = {c: inherited.get(c, t) for c, t in own.items()}
        shuffled = dict(self._random.sample(list(own.items()), len(own)))
        if self._random.random() < 0.5:
            # Create it with all columns in random order, then attach it to the parent.
            every = {**shuffled, **inherited}
            every = dict(self._random.sample(list(every.items()), len(every)))
            self._tables[name] = every
            yield f"CREATE TABLE {name} ({self._defined(every)})"
            yield f"ALTER TABLE {name} INHERIT {parent}"
        else:
            self._tables[name] = {**inherited, **shuffled}
            yield f"CREATE TABLE {name} ({self._defined(shuffled)}) INHERITS ({parent})"

    def _partitioned(self) -> Iterator[str]:
        name, columns = self._new("parted"), {**self._columns(), '"key"': "int"}
        self._tables[name] = columns
        how = self._random.choice(("RANGE", "LIST", "HASH"))
        yield f'CREATE TABLE {name} ({self._defined(columns)}) PARTITION BY {how} ("key")'
        bounds = {
            "RANGE": ("FROM (MINVALUE) TO (5)", "FROM (5) TO (9)"), "LIST": ("IN (1, 2)", "IN (NULL, 7)"),
            "HASH": ("WITH (MODULUS 2, REMAINDER 0)", "WITH (MODULUS 2, REMAINDER 1)"),
        }[how]  # fmt: skip
        first, second = self._new("part"), self._new("part")
        yield f"CREATE TABLE {first} PARTITION OF {name} FOR VALUES {bounds[0]}" + self._random.choice(
            ("", ' PARTITION BY LIST ("key")')
        )
        shuffled = dict(self._random.sample(list(columns.items()), len(columns)))
        yield f"CREATE TABLE {second} (gone int, {', '.join(f'{n} {t}' for n, t in shuffled.items())})"
        yield f"ALTER TABLE {second} DROP COLUMN gone"
        yield f"ALTER TABLE {name} ATTACH PARTITION {second} FOR VALUES {bounds[1]}"
        self._tables |= {first: columns, second: shuffled}

    def _column(self) -> Iterator[str]:
        table, column = self._any()
        only = self._random.choice(("", "ONLY "))
        kind = self._random.choice(_TYPES)
        fresh = quoted(self._random.choice(_NAMES))
        default = self._random.choice(_DEFAULTS.get(self._tables[table].get(column, ""), ("NULL",)))
        yield self._random.choice((
            f"ALTER TABLE {table} ADD COLUMN {fresh} {kind}{self._extras(kind)}", f"ALTER TABLE {only}{table} DROP COLUMN {column}",
            f"ALTER TABLE {table} RENAME COLUMN {column} TO {fresh}", f"ALTER TABLE {only}{table} ALTER COLUMN {column} SET DEFAULT {default}",
            f"ALTER TABLE {only}{table} ALTER COLUMN {column} DROP DEFAULT", f"ALTER TABLE {only}{table} ALTER COLUMN {column} SET NOT NULL",
            f"ALTER TABLE {only}{table} ALTER COLUMN {column} DROP NOT NULL", f"ALTER TABLE {table} ALTER COLUMN {column} TYPE text",
            f"ALTER TABLE {table} ALTER COLUMN {column} DROP IDENTITY", f"ALTER TABLE {table} ALTER COLUMN {column} ADD GENERATED ALWAYS AS IDENTITY",
            f"ALTER TABLE {table} ADD CONSTRAINT {fresh} NOT NULL {column} NO INHERIT",
            f"ALTER TABLE {table} ADD CONSTRAINT {fresh} NOT NULL {column} NOT VALID",
        ))  # fmt: skip

    def _inherit(self) -> Iterator[str]:
        (one, _), (other, _) = self._any(), self._any()
        yield f"ALTER TABLE {one} {self._random.choice(('INHERIT', 'NO INHERIT'))} {other}"

    def _constraint(self) -> Iterator[str]:
        table, column = self._any()
        name = quoted(f"con {self._random.choice(_NAMES)}")
        check = self._random.choice(_CHECKS).format(column)
        tail, only = self._random.choice(("", " NO INHERIT", " NOT VALID")), self._random.choice(("", "ONLY "))
        yield self._random.choice((
            f"ALTER TABLE {only}{table} ADD CONSTRAINT {name} CHECK ({check}){tail}", f"ALTER TABLE {table} ADD CHECK ({check})",
            f"ALTER TABLE {table} ADD PRIMARY KEY ({column})", f"ALTER TABLE {table} ADD UNIQUE NULLS NOT DISTINCT ({column}) DEFERRABLE",
            f"ALTER TABLE {table} ADD UNIQUE ({column}) INCLUDE ({column})", f"ALTER TABLE {table} ADD EXCLUDE USING btree ({column} WITH =) WHERE ({check})",
            f"ALTER TABLE {only}{table} DROP CONSTRAINT {name}",
        ))  # fmt: skip

    def _index(self) -> Iterator[str]:
        table, column = self._any()
        check, only = self._random.choice(_CHECKS).format(column), self._random.choice(("", "ONLY "))
        name = quoted(f"ix {self._number} {self._random.random():.6f}")
        key = self._random.choice(
            (
                column,
                f"{column} DESC NULLS LAST",
                f'lower({column}::text) COLLATE "C" text_pattern_ops',
                f"{column} odd.backwards",
            )
        )
        yield f"CREATE INDEX {name} ON {only}{table} USING btree ({key}){self._random.choice((f' WHERE {check}', '', ' WITH (fillfactor = 60)'))}"
        yield f"ALTER INDEX {table.partition('.')[0]}.{name} ALTER COLUMN 1 SET STATISTICS 77"
        if self._random.random() < 0.3:
            yield f"ALTER TABLE {table} CLUSTER ON {name}"

    def _view(self) -> Iterator[str]:
        (one, column), (other, second) = self._any(), self._any()
        name = self._new("view")
        query = self._random.choice((
            f"SELECT * FROM {one}", f"SELECT x, x.{column} AS y FROM {one} x", f"SELECT a.{column}, b.{second} AS z FROM {one} a LEFT JOIN {other} b ON true",
            f"SELECT * FROM {one} NATURAL JOIN {other}", f"SELECT {column} FROM ONLY {one} UNION ALL SELECT {column} FROM {one}",
            f"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT r.*, q FROM r, {one} q",
            f"SELECT count(*) FILTER (WHERE {column}::text IN ('a', 'b')) OVER w AS k, 'x' AS lit FROM {one} WINDOW w AS (PARTITION BY {column})",
            f"SELECT * FROM {one} JOIN {other} USING ({column})", f"SELECT (SELECT 'a' LIMIT 1) AS s, ROW(t.*)::text AS w FROM {one} t",
        ))  # fmt: skip
        kind = self._random.choice(("VIEW", "VIEW", "MATERIALIZED VIEW"))
        tail = self._random.choice(("", " WITH NO DATA")) if kind != "VIEW" else ""
        self._tables[name] = {column: "text"}
        yield f"CREATE {kind} {name} AS {query}{tail}"
        yield f"ALTER TABLE {name} RENAME COLUMN {column} TO {quoted(self._random.choice(_NAMES))}"

    def _trigger(self) -> Iterator[str]:
        table, column = self._any()
        name = quoted(f"trig {self._random.choice(_NAMES)}")
        when = self._random.choice((f"AFTER UPDATE OF {column}", "BEFORE INSERT OR DELETE", "INSTEAD OF INSERT"))
        yield f"CREATE TRIGGER {name} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION odd.fires('a, (b', 'it''s')"
        state = self._random.choice(("DISABLE", "ENABLE REPLICA", "ENABLE ALWAYS", "ENABLE"))
        yield f"ALTER TABLE {self._random.choice(('', 'ONLY '))}{table} {state} TRIGGER {name}"

    def _rights(self) -> Iterator[str]:
        table, column = self._any()
        role, other = self._random.sample(("odd_one", '"odd, two"'), 2)
        yield self._random.choice((
            f"GRANT SELECT ({column}), UPDATE ({column}) ON {table} TO {role}", f"GRANT ALL ON {table} TO {role} WITH GRANT OPTION",
            f"ALTER TABLE {table} OWNER TO {role}", f"SET ROLE {role}; GRANT SELECT ON {table} TO {other}; RESET ROLE",
            f"GRANT INSERT ON {table} TO PUBLIC", f"REVOKE ALL ON {table} FROM {role}", f"REVOKE SELECT ON {table} FROM CURRENT_USER",
        ))  # fmt: skip

    def _comment(self) -> Iterator[str]:
        table, column = self._any()
        text = self._random.choice(("it''s; -- x", "COPY t FROM stdin;\n1\n\\.", "ä\\\\"))
        yield self._random.choice(
            (
                f"COMMENT ON TABLE {table} IS '{text}'",
                f"COMMENT ON COLUMN {table}.{column} IS '{text}'",
                f"COMMENT ON VIEW {table} IS '{text}'",
            )
        )

    def _setting(self) -> Iterator[str]:
        table, column = self._any()
        target = f"ALTER TABLE {self._random.choice(('', 'ONLY '))}{table}"
        yield self._random.choice((
            f"{target} ALTER COLUMN {column} SET STORAGE {self._random.choice(('PLAIN', 'EXTERNAL', 'MAIN', 'EXTENDED'))}",
            f"{target} ALTER COLUMN {column} SET COMPRESSION {self._random.choice(('pglz', 'default'))}", f"{target} ALTER COLUMN {column} SET STATISTICS 42",
            f"{target} ALTER COLUMN {column} SET (n_distinct = -0.5)", f"{target} REPLICA IDENTITY {self._random.choice(('FULL', 'NOTHING'))}",
            f"{target} SET (autovacuum_enabled = off)", f"{target} SET UNLOGGED", f"{target} SET LOGGED", f"{target} SET TABLESPACE pg_default",
        ))  # fmt: skip

    def _rule(self) -> Iterator[str]:
        table, _ = self._any()
        name = quoted(f"rule {self._random.choice(_NAMES)}")
        yield f"CREATE RULE {name} AS ON DELETE TO {table} DO {self._random.choice(('INSTEAD NOTHING', 'ALSO NOTIFY odd', 'ALSO SELECT 1; SELECT 2'))}".replace(
            "SELECT 1; SELECT 2", "(SELECT 1; SELECT 2)"
        )

    def _policy(self) -> Iterator[str]:
        table, column = self._any()
        yield f'CREATE POLICY {quoted(self._random.choice(_NAMES))} ON {table} TO "odd, two", odd_one USING ({self._random.choice(_CHECKS).format(column)})'
        yield f"ALTER TABLE {table} {self._random.choice(('ENABLE', 'FORCE', 'NO FORCE'))} ROW LEVEL SECURITY"

    def _statistics(self) -> Iterator[str]:
        table, column = self._any()
        rest = ", ".join([*self._tables[table]][:3])
        self._number += 1
        yield f"CREATE STATISTICS odd.st{self._number} {self._random.choice(('', '(mcv, ndistinct)'))} ON {rest}, (lower({column}::text)) FROM {table}"

    def _foreign_key(self) -> Iterator[str]:
        (one, a), (other, b) = self._any(), self._any()
        yield f"ALTER TABLE {one} ADD FOREIGN KEY ({a}) REFERENCES {other} ({b}) ON DELETE SET NULL {self._random.choice(('', 'NOT VALID', 'DEFERRABLE INITIALLY DEFERRED'))}"
        yield f"ALTER TABLE {one} ADD FOREIGN KEY ({a}) REFERENCES {one} ({a})"

    def _published(self) -> Iterator[str]:
        table, column = self._any()
        listed = ", ".join(self._tables[table])
        yield f"ALTER PUBLICATION chosen ADD TABLE {table} {self._random.choice(('', f'({listed})', f'({column})'))} {self._random.choice(('', f'WHERE ({column} IS NULL)'))}"

    def _rows(self) -> Iterator[str]:
        table, _ = self._any()
        yield f"INSERT INTO {table} DEFAULT VALUES"

    def _foreign(self) -> Iterator[str]:
        name, columns = self._new("far"), self._columns()
        listed = ", ".join(f"{n} {t} OPTIONS (x 'a, (b')" for n, t in columns.items())
        yield f"CREATE FOREIGN TABLE {name} ({listed}) SERVER far OPTIONS (y 'it''s')"
        yield f"ALTER FOREIGN TABLE {name} INHERIT {self._any()[0]}"
