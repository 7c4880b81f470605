"""Ask the server what a backup's statement means, where a dump of the restored copy words it differently.

PostgreSQL keeps parsed expressions and prints them again (`src/backend/utils/adt/ruleutils.c`). Parsed again, some of them
become another tree with the same meaning, and are printed differently from then on: `IN` lists, `BETWEEN`, negative
constants with a cast, nameless columns. No list of such forms is complete, so none is kept. The copy's schema is made
a second time, with the backup's wording in place of the copy's, and dumped: if that dump is the copy's again, the
server reads both wordings in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from blocks.errors import RestoreError, RestoreFailed
from blocks.sql.server import Server
from tasks.engine.drill.schema_stream import SchemaStream
from tasks.engine.drill.verdict import blame
from tasks.engine.dump import schema_text as schema
from tasks.engine.dump.pg_dump import SCHEMA_ONLY, running_dump
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.dump.schema_parts import Entry, part_of, title_of, written_elsewhere
from tasks.engine.dump.source_settings import of_extensions
from tasks.engine.dump.splitter import StatementSplitter
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository.manifest import Verdict
from tasks.engine.restore.load import RestoreOptions, load
from tasks.engine.servers.programs import Client

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Copy:
    """A restored copy, and what it takes to make its schema a second time."""

    server: Server
    client: Client
    another: Callable[[], AbstractContextManager[Server]]  # an empty database like it
    options: RestoreOptions
    remaining_s: Callable[[], float]
    left_out: Sequence[str] = ()  # the arguments of pg_dump for what the backup leaves out


@dataclass(frozen=True)
class Reading:
    """The copy's summary in the backup's words, as far as both mean the same; `unread` says why nobody could tell."""

    summary: DumpSummary
    unread: str = ""


@dataclass(frozen=True)
class _Wording:
    """The statements about one thing that only the backup has, and those that only the copy has, by digest."""

    backup: Mapping[int, bytes]
    copy: Mapping[int, bytes]


def in_the_backups_words(copy: Copy, stored: DumpSummary, restored: DumpSummary) -> Reading:
    """Exchange every statement of the copy that the backup words differently, and that means the same, for the backup's."""
    pairs = _pairs(stored, restored)
    if stored.schema_cut or restored.schema_cut:
        return Reading(restored, "the schema is too large to be kept as a whole")
    if not pairs:
        return Reading(restored)
    text, before = _schema_of(copy.server, copy, stored.encoding)
    try:
        after = _made_again(copy, _reworded(text, pairs.values(), stored), stored.encoding)
    except RestoreFailed as error:
        return Reading(restored, _why_refused(copy, text, stored.encoding, error))
    for entry in _same(before, after, pairs):
        restored = restored.exchanged(pairs[entry].copy, pairs[entry].backup)
    return Reading(restored)


def _made_again(copy: Copy, text: bytes, encoding: str) -> DumpSummary:
    """Create a schema in another database, and return what a dump says of it; raises RestoreFailed if the server refuses it."""
    with copy.another() as database:
        options = replace(copy.options, timeout_s=copy.remaining_s())
        load(SchemaStream(text), database, options)
        return _schema_of(database, copy, encoding)[1]


def _why_refused(copy: Copy, text: bytes, encoding: str, error: RestoreFailed) -> str:
    """Say why the place cannot create the schema again; empty if only the backup's words are refused there.

    The copy's own words are the control: a server that refuses them too says nothing about the backup's.
    """
    if blame(error) is Verdict.FAILED:
        try:
            _made_again(copy, text, encoding)
        except RestoreFailed as control:
            error = control
        else:
            return ""
    return f"the server did not create the schema a second time: {error.context}"


def _pairs(stored: DumpSummary, restored: DumpSummary) -> dict[Entry, _Wording]:
    """What both dumps have statements about, each in words of its own."""
    backup = _by_entry(stored.schema_kept, restored.schema_kept)
    copy = _by_entry(restored.schema_kept, stored.schema_kept)
    both = {entry: _Wording(backup[entry], copy[entry]) for entry in backup.keys() & copy.keys()}
    if stored.printers != restored.printers:
        both = {entry: wording for entry, wording in both.items() if not _is_divided(wording)}
    # A table is created where the copy's is, so a different place is not a different wording.
    return {entry: w for entry, w in both.items() if _places(w.backup) == _places(w.copy)}


def _is_divided(wording: _Wording) -> bool:
    """Whether one major version says a part of it in another statement, which would have no counterpart then."""
    return any(any(written_elsewhere(text)) for side in (wording.backup, wording.copy) for text in side.values())


def _places(statements: Mapping[int, bytes]) -> list[bytes]:
    """Return where tables live: the comments that `SchemaNormaliser` writes behind statements."""
    return sorted(b"" if text.endswith(b";") else text.rpartition(b"; -- ")[2] for text in statements.values())


def _by_entry(these: Mapping[int, bytes], others: Mapping[int, bytes]) -> dict[Entry, dict[int, bytes]]:
    found: dict[Entry, dict[int, bytes]] = {}
    for digest, text in these.items():
        if digest not in others:
            found.setdefault(Entry(part_of(text), title_of(text)), {})[digest] = text
    return found


def _schema_of(server: Server, copy: Copy, encoding: str) -> tuple[bytes, DumpSummary]:
    """The schema of a database as pg_dump writes it, and what the scanner reads in it."""
    scanner, blocks = DumpScanner(keep_schema=True), []
    monetary, settings = bool(copy.options.monetary), of_extensions(copy.options.settings)
    with running_dump(
        server,
        copy.client,
        encoding or None,
        copy.remaining_s(),
        monetary=monetary,
        settings=settings,
        options=[SCHEMA_ONLY, *copy.left_out],
    ) as dump:
        while block := os.read(dump.output, _BLOCK_BYTES):
            blocks.append(block)
            scanner.feed(block)
        dump.check_end()
    summary = scanner.finish()
    if summary.problem:
        raise RestoreError(f"the schema of the restored copy could not be dumped: {summary.problem}")
    return b"".join(blocks), summary


def _reworded(text: bytes, wordings: Iterable[_Wording], stored: DumpSummary) -> bytes:
    """Return the copy's schema with the backup's statements, as they were dumped, in place of the copy's."""
    instead: dict[int, bytes] = {}
    for wording in wordings:
        backup = [stored.schema_as_dumped.get(digest, text) for digest, text in wording.backup.items()]
        if len(backup) != len(wording.copy):
            backup = [b"\n".join(backup), *[b""] * (len(wording.copy) - 1)]
        instead |= dict(zip(wording.copy, backup, strict=True))
    return b"".join(_exchanged(text, instead))


def _exchanged(text: bytes, instead: Mapping[int, bytes]) -> Iterator[bytes]:
    splitter, normaliser, at = StatementSplitter(), schema.SchemaNormaliser(), 0
    splitter.feed(text)
    for piece in splitter.pieces(final=True):
        normal = normaliser.normalise(piece.text) if piece.kind == "statement" else None
        if normal is not None and (digest := schema.hash_of(normal)) in instead:
            yield text[at : piece.start]
            yield instead[digest]
            at = piece.start + len(piece.text)
    yield text[at:]


def _same(before: DumpSummary, after: DumpSummary, pairs: Mapping[Entry, _Wording]) -> list[Entry]:
    """Which wordings the server reads as the copy's: none of them where anything else came out differently as well."""
    gone, come = (_by_entry(a.schema_kept, b.schema_kept) for a, b in ((before, after), (after, before)))
    differing = gone.keys() | come.keys()
    if differing - pairs.keys() or (not differing and before.schema_digest != after.schema_digest):
        return []
    exchanged = [entry for entry, wording in pairs.items() if wording.copy.keys() <= before.schema_kept.keys()]
    return [entry for entry in exchanged if entry not in differing]
