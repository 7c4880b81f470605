"""Report on all backups of a plan: how their size changes, and which of them were proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import anomalies_counted, counted, warnings_counted
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.omissions import without_in_brackets
from tasks.engine.repository.repository import Repository
from tasks.engine.wording import change, human_bytes
from tasks.reports.markdown import cell, table
from tasks.reports.publish import publish, published
from tasks.status.listing import databases_shown, read_entries

_SHOWN = 500
# Names, dates and sizes come from the listing; rows and verdicts cost two requests per backup.
_READ, _AT_ONCE = 50, 4
_UNREAD = "…"
_MARKS = {Verdict.PROVEN: "✅", Verdict.FAILED: "❌", Verdict.INCONCLUSIVE: "⚪"}
_COLUMNS = {
    "backup": "---",
    "taken at (UTC)": "---",
    "size": "---:",
    "change": "---:",
    "rows": "---:",
    "verdict": "---",
}


@published("The catalog")
def publish_catalog(
    plan: str, repository: Repository, backups: Sequence[Backup] | None = None, report: DrillReport | None = None
) -> None:
    """Publish the list of all backups; `report` is that of a drill, which the storage may not have."""
    backups = repository.backups() if backups is None else backups
    entries = {entry["name"]: entry for entry in read_entries(repository, backups[-_READ:], _AT_ONCE)}
    if report and report.backup in entries:
        entries[report.backup]["verdict"] = report.verdict.value
    publish("catalog", plan, _summary(backups), catalog_markdown(plan, backups, entries))


def catalog_markdown(plan: str, backups: Sequence[Backup], entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the catalog, newest first; `entries` has rows and verdicts of those backups that were read."""
    shown = backups[-_SHOWN:]
    databases = dict(zip(entries, databases_shown(list(entries.values())), strict=True))
    several = len(set(databases.values()) - {""}) > 1
    before = _before(shown, databases if several else {})
    rows = [_row(backup, before.get(backup.name), entries.get(backup.name)) for backup in reversed(shown)]
    if several:
        rows = [
            [*row, cell(databases.get(backup.name, _UNREAD))] for row, backup in zip(rows, reversed(shown), strict=True)
        ]
    columns = {**_COLUMNS, "database": "---"} if several else _COLUMNS
    notes = ["The change is in size, compared with the backup before."]
    if unread := [b for b in shown if b.name not in entries]:
        notes.append(
            f"Rows and verdicts ({_UNREAD}) of {counted(len(unread), 'older backup')} were not looked up here."
        )
    if more := len(backups) - len(shown):
        notes.append(f"{counted(more, 'older backup')} more are not shown; `pg-roundtrip list` shows everything.")
    return f"# Backups of {plan}\n\n**{_summary(backups)}**\n\n{table(columns, rows)}\n\n{' '.join(notes)}\n"


def _before(backups: Sequence[Backup], databases: Mapping[str, str]) -> dict[str, Backup]:
    """Map each backup's name to the backup of the same database before it."""
    last = dict[str, Backup]()
    before = dict[str, Backup]()
    for backup in backups:
        database = databases.get(backup.name, "")
        if database in last:
            before[backup.name] = last[database]
        last[database] = backup
    return before


def _summary(backups: Sequence[Backup]) -> str:
    if not backups:
        return "no backups"
    return f"{counted(len(backups), 'backup')}, {human_bytes(sum(b.object_bytes for b in backups))} in all"


def _row(backup: Backup, before: Backup | None, entry: Mapping[str, Any] | None) -> list[str]:
    rows = verdict = _UNREAD
    if backup.foreign:
        rows = "foreign"
    elif entry:
        rows = "unreadable" if entry["rows"] is None else f"{entry['rows']:,}"
    if entry:
        verdict = f"{_MARKS[Verdict(entry['verdict'])]} {entry['verdict']}" if entry["verdict"] else "not drilled"
        verdict += cell(without_in_brackets(entry.get("without") or ""))
        verdict += warnings_counted(entry.get("warnings", []))
        verdict += anomalies_counted(entry.get("anomalies", []), acknowledged=backup.acknowledged)
    trend = change(backup.object_bytes, before.object_bytes) if before else ""
    taken = f"{backup.taken_at:%Y-%m-%d %H:%M}"
    return [f"`{backup.name}`", taken, human_bytes(backup.object_bytes), trend, rows, verdict]
