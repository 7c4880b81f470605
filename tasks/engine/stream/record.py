"""Build the manifest: a record of what was dumped, and what its object holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from blocks.config.plan import Plan
from blocks.sql.server import ServerFacts
from tasks.engine.dump.left_out import LeftOut
from tasks.engine.dump.schema_text import RULES
from tasks.engine.dump.source_settings import SourceSettings
from tasks.engine.dump.text_settings import MONETARY
from tasks.engine.repository.identity import Database
from tasks.engine.repository.manifest import Manifest, PartRecord, RoleRecord, SequenceRecord, TableRecord
from tasks.engine.repository.omissions import Omissions
from tasks.engine.servers.programs import Client
from tasks.engine.stream.pipeline import StreamResult
from tasks.engine.wording import tool_version


@dataclass(frozen=True)
class Source:
    """The database to be dumped, and the programs that dump it."""

    facts: ServerFacts
    client: Client
    extensions: dict[str, str]
    roles: tuple[RoleRecord, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    database: Database = field(default_factory=lambda: Database(""))
    settings: SourceSettings = field(default_factory=SourceSettings)
    partitions: dict[str, str] | None = None
    chosen: Omissions | None = None  # what the plan's selection leaves out


def manifest_of_dump(
    plan: Plan, source: Source, name: str, started: datetime, ended: datetime, result: StreamResult
) -> Manifest:
    """Build the manifest of a dump, including where its tables are in the object."""
    summary, facts = result.summary, source.facts
    sequences = tuple(SequenceRecord(name=n, value=v, called=c) for n, (v, c) in summary.sequences.items())
    parts = {n: PartRecord(statements=p.statements, digest=p.digest) for n, p in sorted(summary.parts.items())}
    return Manifest(
        tool_version=tool_version(), plan=plan.name, name=name, database=facts.database,
        system_identifier=source.database.system_identifier, database_oid=source.database.oid,
        server_version=facts.version, client_version=source.client.version, encoding=facts.encoding,
        collation=facts.collation, character_type=facts.character_type, locale_provider=facts.locale_provider,
        locale=facts.locale, collation_version=facts.collation_version, started_at=started, ended_at=ended, raw_bytes=summary.raw_bytes,
        object_bytes=result.object_bytes, sha256=result.sha256, compression=f"gzip, level {plan.dump.compression_level}",
        schema_digest=summary.schema_digest, schema_statements=summary.schema_statements, schema_rules=RULES, schema_parts=parts,
        tables=_tables(result), sequences=sequences, large_objects=summary.large_objects, large_object_digest=summary.large_object_digest,
        extensions={n: source.extensions.get(n, "") for n in sorted(summary.extensions)}, roles=tuple(sorted(summary.roles)),
        role_attributes=source.roles, lc_monetary=MONETARY, source_lc_monetary=facts.lc_monetary, source_settings=dict(source.settings.values),
        settings_left_out=source.settings.left_out, partitions=source.partitions,
        selection=plan.selection_mark, dump_options=plan.dump.selection.options, left_out=source.chosen,
        recipients=tuple(recipient.text for recipient in plan.encryption.recipients),
    )  # fmt: skip


def _tables(result: StreamResult) -> tuple[TableRecord, ...]:
    return tuple(
        TableRecord(
            name=t.name,
            columns=t.columns,
            rows=t.rows,
            digest=t.digest,
            raw_bytes=t.raw_bytes,
            member_offset=result.locate(t.start)[0],
            skip_bytes=result.locate(t.start)[1],
        )
        for t in result.summary.tables.values()
    )
