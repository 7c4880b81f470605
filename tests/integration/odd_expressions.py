"""Generate random expressions wherever SQL allows them: a server parses, prints and reparses them."""

from __future__ import annotations

import random
from collections.abc import Iterator

_COLUMNS = {"int": ("a", "b"), "text": ("c", "d"), "date": ("e", "f"), "bool": ("g", "h"), "ints": ("i",), "float": ("j",),
            "stamp": ("k",), "json": ("l",)}  # fmt: skip
BEGIN = (
    "CREATE TABLE t (a int, b int, c text, d varchar(9), e date, f date, g bool, h bool, i int[], j float8, k timestamp, l jsonb)",
    "INSERT INTO t VALUES (1, 2, 'c', 'd', '2026-01-01', '2026-02-01', true, false, '{1,2}', 1.5, '2026-01-01 10:00', '{\"a\": 1}'), (NULL)",
    "CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
)
# Each with the types of its placeholders.
_FORMS: dict[str, tuple[tuple[str, str], ...]] = {
    "bool": (
        ("{} AND {}", "bool bool"), ("{} OR {}", "bool bool"), ("{} AND {} AND {}", "bool bool bool"), ("{} OR {} OR {}", "bool bool bool"),
        ("NOT {}", "bool"), ("{} AND ({} OR {})", "bool bool bool"), ("({} AND {}) OR {}", "bool bool bool"), ("{} AND ({} AND {})", "bool bool bool"),
        ("{} BETWEEN {} AND {}", "int int int"), ("{} NOT BETWEEN {} AND {}", "int int int"), ("{} BETWEEN SYMMETRIC {} AND {}", "date date date"),
        ("{} NOT BETWEEN SYMMETRIC {} AND {}", "float float float"), ("{} BETWEEN {} AND {} AND {}", "int int int bool"), ("{} OR {} NOT BETWEEN {} AND {}", "bool text text text"),
        ("{} IN ({}, {})", "int int int"), ("{} IN ({}, {}, 7)", "int int int"), ("{} NOT IN ({}, 'x', 'y')", "text text"), ("{} IN ('x', 'y', 'z')", "text"), ("{} NOT IN (1, 2)", "int"),
        ("({}, {}) = ({}, {})", "int text int text"), ("({}, {}) <> ({}, {})", "int int int int"), ("({}, {}) < ({}, {})", "int text int text"),
        ("({}, {}) IN ((1, 2), (3, 4), (5, {}))", "int int int"), ("({}, {}) IS DISTINCT FROM ({}, {})", "int text int text"), ("ROW({}, {}) = ROW({}, {})", "int int int int"),
        ("{} = {}", "int int"), ("{} <> {}", "text text"), ("{} < {}", "date date"), ("{} IS DISTINCT FROM {}", "int int"), ("{} IS NOT DISTINCT FROM {}", "text text"),
        ("{} IS NULL", "text"), ("{} IS NOT NULL", "int"), ("{} IS TRUE", "bool"), ("{} IS NOT FALSE", "bool"), ("{} IS UNKNOWN", "bool"), ("{} = {}", "bool bool"),
        ("{} LIKE {}", "text text"), ("{} NOT ILIKE 'a%'", "text"), ("{} LIKE 'a!%' ESCAPE '!'", "text"), ("{} SIMILAR TO 'a|b'", "text"), ("{} ~* 'x'", "text"), ("{} ^@ 'x'", "text"),
        ("{} = ANY ({})", "int ints"), ("{} <> ALL ({})", "int ints"), ("{} = ANY (ARRAY[{}, {}])", "int int int"), ("{} = ANY ('{{1,2}}')", "int"), ("{} && {}", "ints ints"), ("{} @> ARRAY[1]", "ints"),
        ("CASE WHEN {} THEN {} ELSE {} END", "bool bool bool"), ("CASE {} WHEN 1 THEN {} WHEN {} THEN true END", "int bool int"), ("coalesce({}, {})", "bool bool"),
        ("(e, f) OVERLAPS (f, {})", "date"), ("{} ? 'a'", "json"), ("{} @> '{{\"a\": 1}}'", "json"), ("({} -> 'a') IS NOT NULL", "json"), ("({})::text = 'true'", "bool"), ("{} IS JSON", "text"),
        ("{} IS NFC NORMALIZED", "text"),
    ),
    "int": (
        ("{} + {}", "int int"), ("{} - ({} - {})", "int int int"), ("- {}", "int"), ("{} * {} + {}", "int int int"), ("{} % 7", "int"), ("({} & {}) | {}", "int int int"), ("abs({})", "int"), ("length({})", "text"),
        ("CASE WHEN {} THEN {} END", "bool int"), ("coalesce({}, {}, 0)", "int int"), ("nullif({}, {})", "int int"), ("greatest({}, {})", "int int"), ("least({}, 3)", "int"), ("{}[1]", "ints"),
        ("({} || {})[2]", "ints int"), ("({})::int", "float"), ("CAST({} AS int)", "float"), ("extract(year FROM {})::int", "date"), ("position({} IN {})", "text text"), ("{} - {}", "date date"), ("cardinality({})", "ints"),
        ("({} ->> 'a')::int", "json"), ("char_length({})", "text"), ("{}::smallint::int", "int"),
    ),
    "text": (
        ("{} || {}", "text text"), ("lower({})", "text"), ("substring({} FROM 2 FOR {})", "text int"), ("trim(BOTH 'x' FROM {})", "text"), ("overlay({} PLACING 'x' FROM 1)", "text"), ("({})::text", "int"),
        ("coalesce({}, 'x')", "text"), ("CASE WHEN {} THEN {} ELSE 'y' END", "bool text"), ("({})::varchar(5)", "text"), ('{} COLLATE "C"', "text"), ("concat({}, {})", "text int"), ("{} ->> 'a'", "json"),
        ("to_char({}, 'YYYY')", "stamp"), ("({})::text", "bool"), ("format('%s', {})", "int"), ("E'it''s\\n((a AND b) AND c)' || {}", "text"), ("substring({} SIMILAR 'a#\"b#\"c' ESCAPE '#')", "text"), ("quote_ident({})", "text"), ("normalize({}, NFC)", "text"),
    ),
    "date": (("{} + {}", "date int"), ("({})::date", "stamp"), ("coalesce({}, {})", "date date"), ("greatest({}, '2026-01-01')", "date")),
    "stamp": (("{} + interval '1 day'", "stamp"), ("date_trunc('hour', {})", "stamp"), ("({})::timestamp", "date"), ("{} AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'", "stamp")),
    "float": (("{} / 2.0", "float"), ("({})::float8", "int"), ("sqrt(abs({}))", "float"), ("{} ^ 2", "float"), ("round({})", "float")),
    "ints": (("{} || {}", "ints ints"), ("ARRAY[{}, {}]", "int int"), ("{}[1:2]", "ints"), ("array_append({}, {})", "ints int"), ("ARRAY[]::int[]", ""), ("ARRAY[{}]::bigint[]::int[]", "int")),
    "json": (("{} -> 'a'", "json"), ("{} || '{{}}'", "json"), ("to_jsonb({})", "int"), ("jsonb_build_object('a', {})", "text"), ("{} #> '{{a,b}}'", "json"), ("({} - 'a')", "json")),
}  # fmt: skip


class OddExpressions:
    """Statements with random expressions; the same seed generates the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def statements(self, count: int = 130) -> Iterator[str]:
        """Return the statements that create such a database; a server may refuse some."""
        yield from BEGIN
        for number in range(count):
            yield self._random.choice(_PLACES).format(
                n=number, bool=self.one("bool"), other=self.one("bool"), text=self.one("text"), int=self.one("int"),
                new=self._of_new_row(), value=self._of_value(),
            )  # fmt: skip

    def one(self, kind: str, depth: int = 4) -> str:
        """Return an expression of a type."""
        if kind in _COLUMNS and (depth <= 0 or self._random.random() < 0.2):
            return self._random.choice(_COLUMNS[kind])
        form, inputs = self._random.choice(_FORMS[kind])
        made = form.format(*(self.one(part, depth - 1) for part in inputs.split()))
        return made if self._random.random() < 0.15 and depth == 4 else f"({made})"

    def _of_new_row(self) -> str:
        return f"(NEW.a BETWEEN {self._random.randint(0, 5)} AND 9) AND NEW.b IS NOT NULL"

    def _of_value(self) -> str:
        return self._random.choice((
            "VALUE BETWEEN 1 AND 9 AND VALUE <> 5", "VALUE > 0 AND (VALUE < 7 AND VALUE <> 3)", "VALUE NOT BETWEEN 2 AND 3 OR VALUE IS NULL",
            "VALUE IN (1, 2, VALUE + 1) OR VALUE = 9",
        ))  # fmt: skip


_PLACES = (
    "ALTER TABLE t ADD CONSTRAINT c{n} CHECK ({bool}) NOT VALID", "CREATE TABLE k{n} (LIKE t, CHECK ({bool}), CHECK ({other}))",
    "CREATE VIEW v{n} AS SELECT {text} AS x, {int} AS y FROM t WHERE {bool}", "CREATE VIEW j{n} AS SELECT p.a FROM t p JOIN t USING (a, b, c, d, e, f, g, h, i, j, k, l) WHERE {bool}",
    "CREATE VIEW w{n} AS SELECT count(*) FILTER (WHERE {bool}) AS x, sum({int}) OVER (PARTITION BY {text} ORDER BY {int} ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS y FROM t GROUP BY a, b, c, d, e, f, g, h, i, j, k, l HAVING {other}",
    "CREATE VIEW s{n} AS SELECT (SELECT {text} FROM t LIMIT 1) AS x, EXISTS (SELECT 1 FROM t WHERE {bool}) AS y, a IN (SELECT {int} FROM t) AS z FROM t",
    "CREATE MATERIALIZED VIEW m{n} AS SELECT {bool} AS x, {text} AS y FROM t WITH NO DATA", "CREATE INDEX i{n} ON t (({int}), ({text})) WHERE {bool}",
    "CREATE TABLE g{n} (LIKE t, z bool GENERATED ALWAYS AS ({bool}) STORED)", "CREATE POLICY p{n} ON t USING ({bool}) WITH CHECK ({other})",
    "CREATE TRIGGER r{n} BEFORE UPDATE ON t FOR EACH ROW WHEN ({new}) EXECUTE FUNCTION fires()", "CREATE RULE u{n} AS ON DELETE TO t WHERE {bool} DO ALSO SELECT {int} FROM t WHERE {other}",
    "CREATE DOMAIN d{n} AS int CHECK ({value})", "CREATE FUNCTION f{n}() RETURNS SETOF bool LANGUAGE sql BEGIN ATOMIC SELECT {bool} FROM t WHERE {other}; END",
    "CREATE STATISTICS x{n} ON ({int}), ({text}) FROM t", "CREATE VIEW n{n} AS SELECT CASE WHEN {bool} THEN (SELECT {text} FROM t LIMIT 1) ELSE (SELECT 'x') END FROM t",
    "CREATE TABLE e{n} (LIKE t, EXCLUDE USING btree (a WITH =) WHERE ({bool}))", "CREATE PUBLICATION o{n} FOR TABLE t WHERE ({bool})",
)  # fmt: skip
