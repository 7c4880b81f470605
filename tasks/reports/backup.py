"""Report on one backup: what it contains, how it compares with the one before, and how to restore it by hand."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote

from tasks.engine.repository.checks import anomalies_counted, counted, rows_of_tables, warnings_counted
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.names import object_file
from tasks.engine.repository.omissions import without_in_brackets
from tasks.engine.repository.outline import Outline, outline_of
from tasks.engine.repository.repository import Repository
from tasks.engine.wording import change, human_bytes, human_seconds, iso
from tasks.reports.markdown import cell, facts, fenced, table, warnings_shown
from tasks.reports.publish import publish, published

_TABLES = 25


@published("The report of the backup")
def publish_backup(
    plan: str, repository: Repository, manifest: Manifest, before: Outline | None, seconds: float
) -> None:
    """Publish a backup's report; `seconds` is how long dumping and storing took."""
    text = backup_markdown(plan, repository, manifest, before, seconds)
    publish("backup", plan, f"{manifest.name}: {backup_sentence(outline_of(manifest))}", text)


def backup_sentence(manifest: Outline) -> str:
    """`1,234 rows of 12 tables, 3.4M`."""
    tables = counted(manifest.tables, "table")
    size = human_bytes(manifest.object_bytes)
    without = without_in_brackets(manifest.without)
    return f"{counted(manifest.rows, 'row')} of {tables}, {size}{without}{warnings_counted(manifest.warnings)}{anomalies_counted(manifest.anomalies)}"


def backup_markdown(
    plan: str, repository: Repository, manifest: Manifest, before: Outline | None, seconds: float
) -> str:
    """Format a backup's report: the figures first, then how to restore it, then the details.

    Of an encrypted backup, it has no more than anyone may read in the bucket.
    """
    outline = outline_of(manifest)
    raw, stored = human_bytes(manifest.raw_bytes), human_bytes(manifest.object_bytes)
    ratio, speed = manifest.raw_bytes / max(1, manifest.object_bytes), manifest.raw_bytes / max(seconds, 0.001)
    summary = (
        f"**{rows_of_tables(manifest.rows, len(manifest.tables))}**: {raw} of SQL in an object of {stored} "
        f"({ratio:.1f} to 1), dumped and stored in {human_seconds(seconds)} ({human_bytes(speed)}/s of SQL)."
    )
    return "\n\n".join([
        f"# {manifest.name}", summary, *warnings_shown(outline.warnings), *_odd(plan, outline), _compared(outline, before), "## Restore it", _by_hand(plan, repository, manifest),
        *([] if outline.encrypted else [_largest(manifest)]), "## Details", facts(_details(repository, manifest)) + "\n",
    ])  # fmt: skip


def _odd(plan: str, manifest: Outline) -> list[str]:
    """Format what is odd about a backup; empty if nothing is."""
    if not manifest.anomalies:
        return []
    listed = "\n".join(f"- ⚠️ {cell(anomaly.sentence)}" for anomaly in manifest.anomalies)
    chosen = "" if plan == "default" else f" --plan {quote(plan)}"
    known = "The backup before is kept until this is acknowledged, or three later days' backups agree:"
    return ["## Anomalies", listed, known, fenced(f"pg-roundtrip acknowledge {manifest.name}{chosen}", "sh")]


def _compared(manifest: Outline, before: Outline | None) -> str:
    if before is None:
        return "There is no backup before this one to compare it with."
    compared: list[tuple[str, Callable[[float], str], str]] = [
        ("object", human_bytes, "object_bytes"), ("SQL", human_bytes, "raw_bytes"),
        ("rows", "{:,}".format, "rows"), ("tables", "{:,}".format, "tables"),
    ]  # fmt: skip
    rows = [
        [name, *(show(getattr(one, field)) for one in (manifest, before)), change(getattr(manifest, field), getattr(before, field))]
        for name, show, field in compared
    ]  # fmt: skip
    columns = {" ": "---", "this backup": "---:", cell(before.name): "---:", "change": "---:"}
    return table(columns, rows)


def _by_hand(plan: str, repository: Repository, manifest: Manifest) -> str:
    """Return commands that take the target's URL from the reader's environment, so that they contain no secret.

    Don't pipe the download into psql, which takes a broken download for the end of the data.
    """
    chosen = "" if plan == "default" else f" --plan {quote(plan)}"
    file, store = object_file(manifest.name, encrypted=bool(manifest.recipients)), repository.store
    opened = f'age -d -i "$KEY_FILE" {file} | gunzip' if manifest.recipients else f"gunzip -c {file}"
    place = quote(f"s3://{store.bucket}/{store.key(file)}")
    return fenced(
        f'# checked while it streams, visible when all of it is right\npg-roundtrip restore {manifest.name} --to "$TARGET_URL"{chosen}\n\n'
        f"# without pg-roundtrip: fetch it, check it, restore it\naws s3 cp --endpoint-url {quote(store.endpoint)} \\\n  {place} .\n"
        f'echo "{manifest.sha256}  {file}" | sha256sum --check &&\n'
        f'  {opened} | psql -X -v ON_ERROR_STOP=1 "$TARGET_URL"', "sh",
    )  # fmt: skip


def _largest(manifest: Manifest) -> str:
    """List the largest tables; the manifest has them all."""
    largest = sorted(manifest.tables, key=lambda t: t.raw_bytes, reverse=True)[:_TABLES]
    rows = [
        [
            cell(t.name),
            f"{t.rows:,}",
            human_bytes(t.raw_bytes),
            f"{t.raw_bytes / max(1, manifest.raw_bytes):.0%}",
            f"`{t.digest}`",
        ]
        for t in largest
    ]
    shown = table({"table": "---", "rows": "---:", "SQL": "---:", "share": "---:", "digest of its rows": "---"}, rows)
    rest = len(manifest.tables) - len(largest)
    more = f"\n\n… and {counted(rest, 'smaller table')}, which the manifest beside the backup has." if rest else ""
    return f"## {'Largest tables' if rest else 'Tables'}\n\n{shown}{more}"


def _details(repository: Repository, manifest: Manifest) -> dict[str, str]:
    return _in_the_open(repository, manifest) | ({} if manifest.recipients else _sealed_otherwise(manifest))


def _in_the_open(repository: Repository, manifest: Manifest) -> dict[str, str]:
    return {
        "database": cell(f"{manifest.database}, PostgreSQL {manifest.server_version}, {manifest.encoding}"),
        "dumped by": f"pg_dump {cell(manifest.client_version)}, pg-roundtrip {cell(manifest.tool_version)}",
        "begun, ended": f"{iso(manifest.started_at)}, {iso(manifest.ended_at)}",
        "bucket": cell(repository.store.bucket),
        "key": f"`{repository.key(manifest.name)}`",
        "SHA-256": f"`{manifest.sha256}`",
        "compression": cell(manifest.compression),
        **({"left out": cell(manifest.without)} if manifest.without else {}),
        **({"encrypted to": cell(", ".join(manifest.fingerprints))} if manifest.recipients else {}),
    }


def _sealed_otherwise(manifest: Manifest) -> dict[str, str]:
    extensions = ", ".join(f"{name} {version}".strip() for name, version in manifest.extensions.items())
    return {
        "schema": f"{counted(manifest.schema_statements, 'statement')}, digest `{manifest.schema_digest}`",
        "large objects": f"{manifest.large_objects:,}",
        "extensions": cell(extensions) or "none",
        "roles and settings": cell(_around(manifest)),
    }


def _around(manifest: Manifest) -> str:
    """Say what comes with the dump: roles, and the settings of roles and the database."""
    if found := manifest.globals:
        return (
            f"{counted(found.roles, 'role')}, {counted(found.settings, 'setting')}, {human_bytes(found.object_bytes)}"
        )
    return f"not in the backup: {manifest.globals_left_out}" if manifest.globals_left_out else "not in the backup"
