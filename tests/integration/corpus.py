"""The ways to damage a sound backup of corpus.sql, and which checks must find each."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tasks.engine.repository import checks as checklist
from tasks.engine.repository.manifest import Manifest
from tests.integration.objects import inserted

Edit = Callable[[bytes], bytes]
Expected = Mapping[str, str]  # the failing checks, and a pattern for the evidence of each

SIZE: Expected = {checklist.SIZE: r"it has \d+ bytes, the manifest says \d+"}


@dataclass(frozen=True)
class Case:
    """A damage and what finds it: with the manifest kept, with size and checksum forged to match, and without one."""

    damage: Edit
    forged: Expected
    foreign: Expected
    kept: Expected = field(default_factory=lambda: SIZE)

    def expected(self, how: str) -> Expected:
        """Return the expected findings for one of the three ways."""
        return {"kept": self.kept, "forged": self.forged, "foreign": self.foreign}[how]


def damaged(edit: Edit, check: str, evidence: str, kept: Expected = SIZE) -> Case:
    """Return a damage that the same check finds without a manifest too."""
    return Case(edit, {check: evidence}, {check: evidence}, kept)


def changed(edit: Edit, foreign: Expected | None = None, **found: str) -> Case:
    """Return an edit that only a manifest reveals; checks are named by their constants."""
    return Case(edit, {getattr(checklist, name): evidence for name, evidence in found.items()}, foreign or {})


# --- the object -------------------------------------------------------------------------------------------------------


def flipped_bit(data: bytes) -> bytes:
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0x10
    return bytes(flipped)


def truncated(data: bytes) -> bytes:
    return data[:-2000]


def truncated_in_the_checksum(data: bytes) -> bytes:
    return data[:-3]


def with_garbage_behind_it(data: bytes) -> bytes:
    return data + b"garbage"


def stored_twice(data: bytes) -> bytes:
    return data + data


def empty_file(_: bytes) -> bytes:
    return b""


def gzip_of_nothing(_: bytes) -> bytes:
    nothing = gzip.compress(b"")
    assert len(nothing) == 20
    return nothing


def gzip_of_spaces(_: bytes) -> bytes:
    return gzip.compress(b" \n" * 100)


def error_page(_: bytes) -> bytes:
    return b"<html>an error page</html>"


def not_compressed(data: bytes) -> bytes:
    return gzip.decompress(data)


def cut_in_rows(data: bytes) -> bytes:
    dump = gzip.decompress(data)
    start = dump.index(b"COPY public.books")
    return gzip.compress(dump[: dump.index(b"\n", start + 4000) + 1])


def cut_in_a_row(data: bytes) -> bytes:
    dump = gzip.decompress(data)
    return gzip.compress(dump[: dump.index(b"COPY public.books") + 4005])


def cut_between_tables(data: bytes) -> bytes:
    dump = gzip.decompress(data)
    return gzip.compress(dump[: dump.index(b"COPY public.books")])


def cut_in_a_statement(data: bytes) -> bytes:
    dump = gzip.decompress(data)
    return gzip.compress(dump[: dump.index(b"RETURN price * 0.9")])


def cut_before_its_last_comment(data: bytes) -> bytes:
    dump = gzip.decompress(data)
    return gzip.compress(dump[: dump.index(b"--\n-- PostgreSQL database dump complete")])


def with_a_psql_command(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b"CREATE TABLE", b"\\! true\nCREATE TABLE", 1))


def error_in_the_middle(data: bytes) -> bytes:
    """Imitate a file from `pg_dump 2>&1` that failed and was followed by a successful dump."""
    return gzip.compress(b"pg_dump: error: connection lost\n" + gzip.decompress(data))


GZIP_BROKEN = {checklist.GZIP: "the gzip stream is damaged"}
NOT_THERE = {checklist.OBJECT: "Backup file is empty or does not exist"}
DAMAGES = [
    damaged(flipped_bit, checklist.GZIP, "the gzip stream is damaged", GZIP_BROKEN),
    damaged(truncated, checklist.GZIP, "the gzip stream is cut off"),
    damaged(truncated_in_the_checksum, checklist.GZIP, "the gzip stream is cut off"),
    damaged(with_garbage_behind_it, checklist.GZIP, "the gzip stream is (damaged|cut off)"),
    damaged(stored_twice, checklist.RESTORED, "already exists"),
    damaged(empty_file, checklist.OBJECT, "the object is empty", NOT_THERE),
    damaged(gzip_of_nothing, checklist.COMPLETE, "there is no SQL in it"),
    damaged(gzip_of_spaces, checklist.COMPLETE, "it has no completion comment at its end"),
    damaged(error_page, checklist.GZIP, "the gzip stream is damaged"),
    damaged(not_compressed, checklist.GZIP, "the gzip stream is damaged"),
    damaged(cut_in_rows, checklist.COMPLETE, r"it ends inside the rows of table public\.books"),
    damaged(cut_in_a_row, checklist.COMPLETE, r"it ends inside the rows of table public\.books"),
    damaged(cut_between_tables, checklist.COMPLETE, "it has no completion comment at its end"),
    damaged(cut_in_a_statement, checklist.COMPLETE, "it ends inside a statement"),
    damaged(cut_before_its_last_comment, checklist.COMPLETE, "it has no completion comment at its end"),
    damaged(with_a_psql_command, checklist.COMPLETE, "it contains a psql command"),
    damaged(error_in_the_middle, checklist.RESTORED, 'syntax error at or near "pg_dump"'),
]


# --- the dump in it ---------------------------------------------------------------------------------------------------


def without(start: str, end: str = ";\n") -> Edit:
    """Return an edit that removes the statement that begins with this."""

    def edit(dump: bytes) -> bytes:
        begin = dump.index(b"\n" + start.encode()) + 1
        return dump[:begin] + dump[dump.index(end.encode(), begin) + len(end) :]

    edit.__name__ = f"without {start}"
    return edit


def with_other(old: str, new: str) -> Edit:
    """Return an edit that replaces the only occurrence."""

    def edit(dump: bytes) -> bytes:
        assert dump.count(old.encode()) == 1
        return dump.replace(old.encode(), new.encode())

    edit.__name__ = f"{old!r} becomes {new!r}"
    return edit


def table_missing(dump: bytes) -> bytes:
    for start, end in (("COPY public.empty", "\\.\n"), ("CREATE TABLE public.empty", ";\n"), ("ALTER TABLE public.empty OWNER", ";\n")):  # fmt: skip
        dump = without(start, end)(dump)
    return dump


def row_missing(dump: bytes) -> bytes:
    return without("7\t8\t", "\n")(dump)


def row_doubled(dump: bytes) -> bytes:
    return dump.replace(b"\n4711\n", b"\n4711\n4711\n")


def row_with_a_key_doubled(dump: bytes) -> bytes:
    return dump.replace(b"\n7\tauthor 7\n", b"\n7\tauthor 7\n7\tauthor 7\n")


def rows_of_another_table(dump: bytes) -> bytes:
    """Swap the rows of two tables."""
    return dump.replace(b"COPY public.empty (a)", b"COPY public.points (a)").replace(
        b"COPY public.points_to_large_objects (content)", b"COPY public.empty (a)"
    ).replace(b"COPY public.points (a)", b"COPY public.points_to_large_objects (content)")  # fmt: skip


STATEMENTS = r"the manifest's \d+ statements are not the \d+ in the object"
HSTORE_GONE = {checklist.RESTORED: r'\[extension "hstore" does not exist\]'}
OBJECT_GONE = {checklist.RESTORED: "large object 4712 does not exist"}
KEY_DOUBLED = {checklist.RESTORED: r'\[could not create unique index "authors_pkey"\]'}
DUMP_EDITS = [
    changed(table_missing, TABLES=r"^public\.empty is in the manifest, not in the object$", SCHEMA=STATEMENTS, RIGHTS=STATEMENTS),
    changed(without("COPY public.books (", "\\.\n"), TABLES=r"^public\.books is in the manifest, not in the object; "),
    changed(row_missing, ROWS=r"^public\.books: 300 rows in the manifest, 299 in the object$"),
    changed(with_other("author 7\n", "author 8\n"), DIGESTS=r"^public\.authors: the 20 rows in the object are not those in the manifest$"),
    changed(row_doubled, ROWS=r"^public\.points_to_large_objects: 2 rows in the manifest, 3 in the object$"),
    changed(rows_of_another_table, ROWS=r"public\.empty: 0 rows in the manifest, 2 in the object; public\.points_to_large_objects: 2"),
    changed(row_with_a_key_doubled, KEY_DOUBLED, RESTORED=KEY_DOUBLED[checklist.RESTORED]),
    changed(without("CREATE INDEX books_by_title"), SCHEMA=STATEMENTS, INDEXES=STATEMENTS),
    changed(without("ALTER TABLE ONLY public.books\n    ADD CONSTRAINT by_author"), SCHEMA=STATEMENTS, CONSTRAINTS=STATEMENTS),
    changed(without("ALTER TABLE public.books\n    ADD CONSTRAINT long_title"), SCHEMA=STATEMENTS, CONSTRAINTS=STATEMENTS),
    changed(without("CREATE TRIGGER stamped"), SCHEMA=STATEMENTS, TRIGGERS=STATEMENTS),
    changed(without("ALTER TABLE public.books DISABLE TRIGGER asleep"), SCHEMA=STATEMENTS, TRIGGERS=STATEMENTS),
    changed(with_other("price * 0.9", "price * 0.8"), SCHEMA=STATEMENTS),
    changed(without("CREATE VIEW public.titles", "OWNER TO postgres;\n"), SCHEMA=STATEMENTS, RIGHTS=STATEMENTS),
    changed(without("GRANT SELECT ON TABLE public.books"), SCHEMA=STATEMENTS, RIGHTS=STATEMENTS),
    changed(without("ALTER TABLE public.authors OWNER"), SCHEMA=STATEMENTS, RIGHTS=STATEMENTS),
    changed(without("REFRESH MATERIALIZED VIEW public.counted"), SCHEMA=STATEMENTS, MATERIALIZED=STATEMENTS),
    changed(without("CREATE EXTENSION"), HSTORE_GONE, RESTORED=HSTORE_GONE[checklist.RESTORED]),
    changed(without("COMMENT ON EXTENSION"), SCHEMA=STATEMENTS, EXTENSIONS=STATEMENTS),
    changed(without("COMMENT ON TABLE"), SCHEMA=STATEMENTS),
    changed(without("CREATE POLICY"), SCHEMA=STATEMENTS),
    changed(with_other("name text DEFAULT 'nobody'::text NOT NULL", "name text NOT NULL"), SCHEMA=STATEMENTS),
    changed(with_other("'public.numbers', 8", "'public.numbers', 3"),
            SEQUENCES=r"^public\.numbers is at 8 in the manifest, 3 in the object$"),
    changed(with_other("'public.numbers', 8, true", "'public.numbers', 8, false"), SEQUENCES=r"8, which it has not handed out yet, in the object$"),
    changed(with_other("'public.books_id_seq', 300", "'public.books_id_seq', 3"), SEQUENCES=r"^public\.books_id_seq is at 300 in the manifest, 3 in the object"),
    changed(without("SELECT pg_catalog.lowrite(0, '\\x73686f7274')"), LARGE_OBJECTS="^the 2 in the object are not those in the manifest$"),
    changed(without("SELECT pg_catalog.lo_create('4712')"), OBJECT_GONE, RESTORED=OBJECT_GONE[checklist.RESTORED]),
]  # fmt: skip
# A sandbox creates unknown roles; the changed owner is noticed all the same.
OTHER_OWNER = changed(
    with_other("OWNER TO corpus_reader", "OWNER TO nobody_knows"), SCHEMA=STATEMENTS, RIGHTS=STATEMENTS
)


# --- the manifest -----------------------------------------------------------------------------------------------------


def of_another_backup(manifest: Manifest) -> bytes:
    return manifest.model_copy(update={"name": "backup_20240101_000000"}).encode()


def cut_short(manifest: Manifest) -> bytes:
    return manifest.encode()[:40]


def of_a_later_format(manifest: Manifest) -> bytes:
    return manifest.encode().replace(b'"format": 1', b'"format": 2')


def with_another_checksum(manifest: Manifest) -> bytes:
    return manifest.model_copy(update={"sha256": "0" * 64}).encode()


def with_one_row_more(manifest: Manifest) -> bytes:
    tables = tuple(t.model_copy(update={"rows": t.rows + (t.name == "public.books")}) for t in manifest.tables)
    return manifest.model_copy(update={"tables": tables}).encode()


def with_one_table_more(manifest: Manifest) -> bytes:
    more = manifest.tables[0].model_copy(update={"name": "public.more"})
    return manifest.model_copy(update={"tables": (*manifest.tables, more)}).encode()


def with_one_table_less(manifest: Manifest) -> bytes:
    tables = tuple(t for t in manifest.tables if t.name != "public.books")
    return manifest.model_copy(update={"tables": tables}).encode()


def with_another_schema(manifest: Manifest) -> bytes:
    return manifest.model_copy(update={"schema_digest": "0" * 32}).encode()


def with_a_large_object_more(manifest: Manifest) -> bytes:
    return manifest.model_copy(update={"large_objects": 3}).encode()


def of_a_different_database(manifest: Manifest) -> bytes:
    return manifest.model_copy(
        update={
            "tables": (),
            "sequences": (),
            "schema_digest": "1" * 32,
            "schema_parts": {},
            "large_objects": 0,
            "large_object_digest": "0" * 32,
        }
    ).encode()


MANIFEST_EDITS: list[tuple[Callable[[Manifest], bytes], Expected]] = [
    (of_another_backup, {checklist.MANIFEST: "the manifest beside backup_20240207_143022 belongs to backup_20240101_000000"}),
    (cut_short, {checklist.MANIFEST: "the manifest of backup_20240207_143022 cannot be read"}),
    (with_another_checksum, {checklist.SIZE: "its SHA-256 is not the one in the manifest"}),
    (with_one_row_more, {checklist.ROWS: r"^public\.books: 301 rows in the manifest, 300 in the object$"}),
    (with_one_table_more, {checklist.TABLES: r"^public\.more is in the manifest, not in the object$"}),
    (with_one_table_less, {checklist.TABLES: r"^public\.books is in the object, not in the manifest$"}),
    (with_another_schema, {checklist.SCHEMA: STATEMENTS}),
    (with_a_large_object_more, {checklist.LARGE_OBJECTS: "3 in the manifest, 2 in the object"}),
    (of_a_different_database, {
        checklist.TABLES: r"public\.books is in the object, not in the manifest",
        checklist.LARGE_OBJECTS: "0 in the manifest, 2 in the object",
        **dict.fromkeys((checklist.SCHEMA, checklist.INDEXES, checklist.CONSTRAINTS, checklist.TRIGGERS, checklist.EXTENSIONS,
                         checklist.RIGHTS, checklist.MATERIALIZED), r"the \d+ in the object"),
    }),
]  # fmt: skip


# --- the restored copy ------------------------------------------------------------------------------------------------


def meddled(statement: str) -> Edit:
    """Return an edit that changes the copy by way of a setting: settings aren't schema, so no statement is added."""
    quoted = statement.replace("'", "''")
    return inserted(f"SELECT pg_catalog.set_config('corpus.meddled', public.meddle('{quoted}'), false);")


def lost(part: str, *titles: str, schema: str = "", **more: str) -> Expected:
    """Return the findings for a schema that lost statements: the schema check's own, and the part's."""
    found = {checklist.SCHEMA: schema or f"^differs in {part}; printed by pg_dump 15", part: "; ".join(f"not restored: {t}" for t in titles)}  # fmt: skip
    return {**found, **{getattr(checklist, name): evidence for name, evidence in more.items()}}


OTHER_BODY = """CREATE OR REPLACE FUNCTION public.discount(price numeric) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
  -- The rate is far from the name.
  --
  RETURN price * 0.8;
END $$"""
MEDDLING: dict[str, Expected] = {
    "DELETE FROM public.books WHERE id = 5": {
        checklist.ROWS: r"^public\.books: 300 rows in the object, 299 in the restored copy$",
        checklist.ROW_QUERY: r"^public\.books: 300 rows in the backup, 299 counted$",
    },
    "UPDATE public.authors SET name = 'x' WHERE id = 5": {
        checklist.DIGESTS: r"^public\.authors: the 20 rows in the restored copy are not those in the object$",
    },
    "INSERT INTO public.points_to_large_objects VALUES (4711)": {
        checklist.ROWS: r"public\.points_to_large_objects: 2 rows in the object, 3 in the restored copy",
        checklist.ROW_QUERY: r"public\.points_to_large_objects: 2 rows in the backup, 3 counted",
    },
    "DROP TABLE public.empty": lost(
        checklist.RIGHTS, r"ALTER TABLE public\.empty OWNER TO postgres", schema=r"^not restored: CREATE TABLE public\.empty; printed",
        TABLES=r"^public\.empty is in the object, not in the restored copy$", TABLE_QUERY="4 tables, 5 in the backup",
    ),
    "CREATE TABLE public.uninvited ()": {
        checklist.TABLES: r"^public\.uninvited is in the restored copy, not in the object$",
        checklist.SCHEMA: r"^not in the backup: CREATE TABLE public\.uninvited",
        checklist.RIGHTS: r"not in the backup: ALTER TABLE public\.uninvited OWNER TO postgres",
    },
    "SELECT pg_catalog.lo_unlink(4711)": lost(
        checklist.RIGHTS, "ALTER LARGE OBJECT 4711 OWNER TO postgres", LARGE_OBJECTS="^2 in the object, 1 in the restored copy$",
    ),
    "SELECT pg_catalog.lo_put(4712, 0, 'SHORT')": {
        checklist.LARGE_OBJECTS: "^the 2 in the restored copy are not those in the object$",
    },
    "DROP INDEX public.books_by_title": lost(checklist.INDEXES, r"CREATE INDEX books_by_title ON public\.books$"),
    "CREATE INDEX uninvited ON public.books (price)": {
        checklist.SCHEMA: "differs in indexes", checklist.INDEXES: r"^not in the backup: CREATE INDEX uninvited ON public\.books$",
    },
    "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'public.books_by_title'::regclass": lost(
        checklist.INDEXES, r"CREATE INDEX books_by_title ON public\.books; public\.books_by_title is not valid$",
    ),
    "ALTER TABLE public.books DROP CONSTRAINT by_author": lost(checklist.CONSTRAINTS, r"ALTER TABLE public\.books ADD CONSTRAINT by_author$"),
    "ALTER TABLE public.books DROP CONSTRAINT long_title": lost(checklist.CONSTRAINTS, r"ALTER TABLE public\.books ADD CONSTRAINT long_title$"),
    "ALTER TABLE public.books DROP CONSTRAINT priced": {checklist.SCHEMA: r"^changed: CREATE TABLE public\.books;"},
    "UPDATE pg_catalog.pg_constraint SET convalidated = true WHERE conname = 'long_title'": {
        checklist.SCHEMA: r"^changed: CREATE TABLE public\.books;|long_title", checklist.CONSTRAINTS: r"public\.books ADD CONSTRAINT long_title",
    },
    "DROP TRIGGER stamped ON public.books": lost(checklist.TRIGGERS, r"CREATE TRIGGER stamped ON public\.books$"),
    "ALTER TABLE public.books ENABLE TRIGGER asleep": lost(checklist.TRIGGERS, r"ALTER TABLE public\.books DISABLE TRIGGER asleep$"),
    OTHER_BODY: {checklist.SCHEMA: r"(?s)^changed: CREATE FUNCTION public\.discount\(price numeric\);.*-  RETURN price \* 0\.9;\n\+  RETURN price \* 0\.8;"},
    "DROP FUNCTION public.discount(numeric)": lost(
        checklist.RIGHTS, r"ALTER FUNCTION public\.discount\(price numeric\) OWNER TO postgres$",
        schema=r"^not restored: CREATE FUNCTION public\.discount\(price numeric\);",
    ),
    "REVOKE SELECT ON public.books FROM corpus_reader": lost(checklist.RIGHTS, r"GRANT ON TABLE public\.books TO corpus_reader$"),
    "ALTER TABLE public.authors OWNER TO postgres": lost(
        checklist.RIGHTS, r"ALTER TABLE public\.authors OWNER TO corpus_reader; not in the backup: ALTER TABLE public\.authors OWNER TO postgres$",
    ),
    "DROP VIEW public.titles": lost(
        checklist.RIGHTS, r"ALTER TABLE public\.titles OWNER TO postgres$", schema=r"^not restored: CREATE VIEW public\.titles;",
    ),
    "REFRESH MATERIALIZED VIEW public.counted WITH NO DATA": lost(checklist.MATERIALIZED, r"REFRESH MATERIALIZED VIEW public\.counted$"),
    "REFRESH MATERIALIZED VIEW public.unfilled": {
        checklist.SCHEMA: "differs in materialized views", checklist.MATERIALIZED: r"^not in the backup: REFRESH MATERIALIZED VIEW public\.unfilled$",
    },
    "COMMENT ON TABLE public.authors IS NULL": {checklist.SCHEMA: r"^not restored: COMMENT ON TABLE public\.authors;"},
    "DROP POLICY only_cheap ON public.books": {checklist.SCHEMA: r"^not restored: CREATE POLICY only_cheap ON public\.books;"},
    "ALTER TABLE public.authors ALTER COLUMN name DROP DEFAULT": {checklist.SCHEMA: r"^changed: CREATE TABLE public\.authors;"},
    "ALTER TABLE public.authors ALTER COLUMN name DROP NOT NULL": {checklist.SCHEMA: r"^changed: CREATE TABLE public\.authors;"},
    "ALTER TABLE public.books ADD COLUMN uninvited int": {
        checklist.SCHEMA: r"^changed: CREATE TABLE public\.books;", checklist.DIGESTS: r"^public\.books:",
    },
    "DROP EXTENSION hstore CASCADE": {
        checklist.EXTENSIONS: "not restored: CREATE EXTENSION hstore; hstore is missing$",
        checklist.SCHEMA: r"^changed: CREATE TABLE public\.books;", checklist.DIGESTS: r"^public\.books:",
    },
    "DROP TYPE public.mood": lost(
        checklist.RIGHTS, r"ALTER TYPE public\.mood OWNER TO postgres$", schema=r"^not restored: CREATE TYPE public\.mood;",
    ),
    "ALTER SEQUENCE public.numbers RESTART WITH 3": {
        checklist.SEQUENCES: r"^public\.numbers is at 8 in the object, 3, which it has not handed out yet, in the restored copy$",
    },
    "ALTER SEQUENCE public.numbers INCREMENT 2": {checklist.SCHEMA: r"^changed: CREATE SEQUENCE public\.numbers;"},
    "DROP SEQUENCE public.numbers": lost(
        checklist.RIGHTS, r"ALTER TABLE public\.numbers OWNER TO postgres$", schema=r"^not restored: CREATE SEQUENCE public\.numbers;",
        SEQUENCES=r"^public\.numbers is at 8 in the object, nowhere in the restored copy$",
    ),
}  # fmt: skip
