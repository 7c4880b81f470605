"""What a plan leaves out is read exactly, decided purely, and never forgotten beside a verdict."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.dump_options import ALLOWED, read_options, unknown_to, without
from blocks.config.selection import Selection, selection_of
from blocks.errors import BackupDamaged, ConfigurationError
from blocks.plan import BackupPlan
from blocks.sql.patterns import plain_pattern, split_patterns, table_pattern
from blocks.storage import BackupStorage
from tasks.engine.dump.selected import Catalog, Relation, Schema, decide
from tasks.engine.dump.selection import arguments_for_copy, names_in
from tasks.engine.repository.manifest import Manifest, Verdict, shown_verdict
from tasks.engine.repository.omissions import Omissions, in_words

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8) | st.sampled_from(
    ['a"b', "a.b", "a,b", "a b", "A", "ä", "Ä", "$1", "a\nb", "[]", "a*", "x|y", "\\", "(", ")$"]
)  # fmt: skip

STORAGE = BackupStorage.at(
    endpoint="https://s3.example.com", bucket="b", prefix="p", key_id="k", secret=SecretStr("s"), region="r"
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@given(NAMES, NAMES)
def test_a_quoted_name_matches_itself_alone(schema: str, name: str) -> None:
    """In double quotes no character has a meaning, whatever it is."""
    pattern = table_pattern(f"{quoted(schema)}.{quoted(name)}")
    assert pattern.schema
    assert re.match(pattern.name.replace("$", "\\Z") if name.endswith("\n") else pattern.name, name)
    others = {name.lower(), name.upper(), name + "x", "x" + name, name[:-1], name.replace("*", "xx")} - {name}
    assert not [other for other in others if re.fullmatch(pattern.name, other, re.DOTALL) and not other.endswith("\n")]


@given(st.lists(NAMES, max_size=5))
def test_a_list_is_split_where_names_end(names: list[str]) -> None:
    """Commas, blanks and quotes in quoted names split nothing."""
    assert split_patterns(" , ".join(map(quoted, names))) == tuple(map(quoted, names))


@pytest.mark.parametrize(("text", "schema", "name"), [
    ("Orders", None, "^(orders)$"), ("app.*", "^(app)$", "^(.*)$"), ('"Big".t?', "^(Big)$", "^(t.)$"), ("a|b", None, "^(a|b)$"),
    ("pay$", None, r"^(pay\$)$"), ('"a"B"C"', None, "^(abC)$"), ("ÄB", None, "^(Äb)$"), ("int[]", None, r"^(int\[])$"),
    ('a"."b', None, r"^(a\.b)$"), (".t", "^()$", "^(t)$"), ('"a""b"', None, '^(a"b)$'), ("x{2}", None, "^(x{2})$"),
])  # fmt: skip
def test_patterns_are_read_as_pg_dump_reads_them(text: str, schema: str | None, name: str) -> None:
    """Outside of quotes letters are folded, wildcards translated, and regular expressions passed on."""
    pattern = table_pattern(text)
    assert (pattern.schema, pattern.name) == (schema, name)


@pytest.mark.parametrize("text", ['"open', "db.app.t", "a.b.c.d", 'a"b'])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """A quote that never ends, and the name of a database, are refused before anything is asked."""
    with pytest.raises(ConfigurationError) as raised:
        selection_of({"exclude_tables": text})
    assert "BACKUP_EXCLUDE_TABLES" in raised.value.sentence
    with pytest.raises(ValueError, match="database"):
        plain_pattern("app.orders")


@pytest.mark.parametrize(("text", "said", "why"), [
    ("--clean", "--clean", "new database"), ("--inserts", "--inserts", "COPY"), ("-Fc", "-F", "plain stream"), ("--no-owner", "--no-owner", "owns"),
    ("--data-only", "--data-only", "BACKUP_EXCLUDE_TABLE_DATA"), ("-t orders", "-t", "BACKUP_INCLUDE_TABLES"), ("--no-comm", "--no-comm", "in full"),
    ("--dbname=postgresql://u:secret@h/d", "--dbname", "DATABASE_URL"), ("--role admin", "--role", "DATABASE_URL"),
    ("--no-comments=yes", "--no-comments", "none"), ("--extra-float-digits=99", "--extra-float-digits", "docs"), ("comments", "no option", "in full"),
    ("--enable-row-security", "--enable-row-security", "without a word"), ("--jobs=4", "--jobs", "plain stream"), ("--no-comments '", "can't be read", "quotes"),
    ("-Bs", "-B", "in full"), ("-Bx", "-B", "in full"), ("--no-comments -BB", "-B", "in full"),
    ("--lock-wait-timeout", "--lock-wait-timeout", "docs"), ("--exclude-extension=a.b", "--exclude-extension", "docs"),
])  # fmt: skip
def test_an_option_that_is_refused(text: str, said: str, why: str) -> None:
    """It is named with the reason, and its value, which could be a password, is not shown."""
    _, problems = read_options(text)
    assert said in problems[0].message
    assert why in problems[0].hint
    assert "secret" not in str(problems)


def test_options_that_a_drill_understands() -> None:
    """Each is accepted, split as a shell would, and refused for a pg_dump that lacks it."""
    given_ = "-B --exclude-extension 'my ext' --lock-wait-timeout=5s --extra-float-digits=-2 --statistics --no-comments"
    options, problems = read_options(given_)
    assert not problems
    assert options == (
        "--no-blobs", "--exclude-extension=my ext", "--lock-wait-timeout=5s", "--extra-float-digits=-2", "--statistics", "--no-comments",
    )  # fmt: skip
    assert [p.message for p in unknown_to(16, options)] == [
        f"PG_DUMP_OPTIONS has {name}, which pg_dump 16 doesn't know" for name in ("--exclude-extension", "--statistics")
    ]
    assert unknown_to(18, [f"{name}=1" for name in ALLOWED]) == []
    assert without(options) == ["large objects", "comments", "the last digits of floating-point numbers"]


def test_what_tells_selections_apart() -> None:
    """Order and what changes no contents don't matter; everything else does; a whole backup has no fingerprint."""
    assert Selection(options=("--lock-wait-timeout=1s", "--statistics")).fingerprint == ""
    one = Selection(exclude_tables=("a", "b"), options=("--no-comments", "--lock-wait-timeout=1s"))
    assert one.fingerprint == Selection(exclude_tables=("b", "a"), options=("--no-comments",)).fingerprint
    others = [
        Selection(exclude_tables=("a",)),
        Selection(exclude_table_data=("a",)),
        Selection(include_tables=("a",)),
        one,
    ]
    assert len({s.fingerprint for s in others}) == len(others)


KINDS = st.sampled_from("rpfvmS")


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    schemas = tuple(Schema(n, f"s{n}", draw(st.booleans())) for n in range(1, 4))
    kinds = draw(st.lists(KINDS, max_size=8))
    relations = list[Relation]()
    for n, kind in enumerate(kinds, 100):
        owners = [r.oid for r in relations if r.kind in "rp"]
        owner = draw(st.sampled_from([None, *owners])) if kind == "S" else None
        schema = next((r.schema for r in relations if r.oid == owner), draw(st.integers(1, 3)))
        member = draw(st.booleans()) if owner is None and kind == "r" else False
        relations.append(
            Relation(n, schema, f"s{schema}.t{n}", kind, draw(st.booleans()), member, member and draw(st.booleans()), owner,
                     owner is not None and draw(st.booleans()))
        )  # fmt: skip
    return Catalog(tuple(relations), schemas)


OIDS = st.frozensets(st.integers(100, 107), max_size=4)
SCHEMAS = st.frozensets(st.integers(1, 3), max_size=2)


@given(catalogs(), OIDS, OIDS, SCHEMAS, SCHEMAS, OIDS, st.sampled_from([(), ("--no-unlogged-table-data",)]))
def test_what_is_left_out(
    catalog: Catalog, tables: frozenset[int], data: frozenset[int], out: frozenset[int], only: frozenset[int], included: frozenset[int],
    options: tuple[str, ...],
) -> None:  # fmt: skip
    """Nothing is left out that no setting names; nothing is both out and without rows; an owned sequence goes with its table."""
    known = {r.oid: r for r in catalog.relations}
    matched = {
        "exclude_tables": tables & known.keys(), "exclude_table_data": data & known.keys(), "exclude_schemas": out,
        "include_schemas": only, "include_tables": included & known.keys(),
    }  # fmt: skip
    selection = Selection(**{kind: tuple(map(str, found)) for kind, found in matched.items()}, options=options)
    left = decide(selection, catalog, matched)
    gone = {name for names in left.relations.values() for name in names}
    rowless = {name for names in left.rows_of.values() for name in names}
    inside = {r.name for r in catalog.relations if f"s{r.schema}" in left.schemas}
    assert not gone & rowless
    assert not gone & inside
    assert set(left.schemas) >= {f"s{oid}" for oid in out}
    for relation in catalog.relations:
        if relation.of_extension:
            assert relation.name not in gone
        if relation.owner is not None and relation.name in gone:
            assert known[relation.owner].name in gone
        if relation.oid in tables and not relation.of_extension and relation.owner is None:
            assert relation.name in gone | inside
        if (
            relation.oid in included
            and relation.oid not in tables
            and f"s{relation.schema}" not in left.schemas
            and relation.owner is None
        ):
            assert relation.name not in gone
    if not (only or included):
        named = tables | {r.oid for r in catalog.relations if r.owner in tables}
        assert {r.oid for r in catalog.relations if r.name in gone} <= named
    assert len(list(names_in(left))) == len(left.schemas) + len(gone) + len(rowless)


def test_what_is_unlogged() -> None:
    """The option leaves out the rows of unlogged tables and the values of unlogged sequences, and both are counted."""
    unlogged = [Relation(n, 1, f"s.{kind}", kind, unlogged=True) for n, kind in enumerate("rS")]
    logged = [Relation(n, 1, f"s.logged_{kind}", kind) for n, kind in enumerate("rpfvmS", 10)]
    catalog = Catalog((*unlogged, *logged), (Schema(1, "s"),))
    left = decide(Selection(options=("--no-unlogged-table-data",)), catalog, {})
    assert left.rows_of == {"table": ("s.r",), "sequence": ("s.S",)}
    assert in_words(left, ("--no-unlogged-table-data",)) == "the rows of 1 table and the value of 1 sequence"
    assert decide(Selection(), catalog, {}).rows_of == {}


@pytest.mark.parametrize(("left_out", "options", "words"), [
    (Omissions(relations={"table": ("a", "b")}, rows_of={"table": ("c",)}), (), "2 tables and the rows of 1"),
    (Omissions(rows_of={"table": ("c",)}), ("--no-unlogged-table-data",), "the rows of 1 table"),
    (Omissions(schemas=("s",), in_schemas={"table": 1234}, extensions=("x",)), ("--no-comments",), "1 schema, 1,234 tables, 1 extension and comments"),
    (Omissions(relations={"view": ("v",)}, rows_of={"table": ("c",), "sequence": ("s",)}), (), "1 view, the rows of 1 table and the value of 1 sequence"),
    (Omissions(patterns={"exclude_tables": ("a",)}), (), ""), (None, ("--no-blobs",), "large objects"), (None, (), ""),
    (None, ("--unheard-of",), ""),
])  # fmt: skip
def test_what_is_left_out_in_words(left_out: Omissions | None, options: tuple[str, ...], words: str) -> None:
    """A verdict has the counts, and PROVEN never stands alone if something was left out."""
    assert in_words(left_out, options) == words
    assert shown_verdict(Verdict.PROVEN, words) == (f"PROVEN (without {words})" if words else "PROVEN")
    assert shown_verdict(Verdict.FAILED, words) == "FAILED"


def test_a_saved_plan_selects() -> None:
    """The fields of a block reach the dump as the variables do, and what a form accepted and can't be used is named."""
    with_server = BackupPlan.model_construct(exclude_tables="a, b", pg_dump_options="--no-comments", storage=STORAGE)
    assert with_server.plan("p").dump.selection == Selection(exclude_tables=("a", "b"), options=("--no-comments",))
    with pytest.raises(ConfigurationError) as raised:
        BackupPlan.model_construct(include_schemas="a.b", pg_dump_options="-c", storage=STORAGE).plan("p")
    assert [p.message for p in raised.value.problems] == [
        "Invalid BACKUP_INCLUDE_SCHEMAS [a.b: it names a database, or a dot in a name is not in double quotes]", "PG_DUMP_OPTIONS can't have -c",
    ]  # fmt: skip


@pytest.mark.parametrize("left_out", [
    Omissions.model_construct(rows_of={"table": ("a\0b",)}), Omissions.model_construct(extensions=("\0",)),
    Omissions.model_construct(rows_of={"tables": ("a",)}), Omissions.model_construct(relations={"": ("a",)}),
    Omissions.model_construct(relations={"view\n": ("a",)}),
    Omissions.model_construct(schemas=("s",), in_schemas={"index": 1}), Omissions.model_construct(schemas=("s",), in_schemas={"table": -1}),
])  # fmt: skip
def test_a_forged_manifest(left_out: Omissions) -> None:
    """What can't be a name, or a kind that nobody counts, makes a manifest unreadable, and what is too much for a command makes it damaged."""
    with pytest.raises(ValueError, match="validation error"):
        Omissions.model_validate(left_out.model_dump())
    fields: dict[str, Any] = {
        "dump_options": ("--extra-float-digits=x", "--filter=/etc/passwd"), "left_out": Omissions(rows_of={"table": ("a" * 2_000_000,)}),
    }  # fmt: skip
    many = Manifest.model_construct(**fields)
    with pytest.raises(BackupDamaged):
        arguments_for_copy(many)
    assert many.without == "the rows of 1 table"
    assert arguments_for_copy(many.model_copy(update={"left_out": None})) == ["--extra-float-digits=x"]
