"""Publish what a run did as Prefect artifacts, where the run's history is looked at."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.engine import retention
from tasks.engine.manifest import DrillReport, Manifest
from tasks.wording import human_bytes, iso

_MARKS = {"passed": "✅", "failed": "❌", "not possible": "⚪"}


def publish_backup(plan: str, manifest: Manifest) -> None:
    """One report a backup: its size, what it holds and its digests."""
    rows = "\n".join(
        f"| `{t.name}` | {t.rows:,} | {human_bytes(t.raw_bytes)} | `{t.digest}` |" for t in manifest.tables[:200]
    )
    more = f"\n\n… and {len(manifest.tables) - 200} tables more." if len(manifest.tables) > 200 else ""
    create_markdown_artifact(
        key=f"backup-{_key(plan)}",
        description=f"{manifest.name}: {human_bytes(manifest.object_bytes)}, {manifest.rows:,} rows",
        markdown=f"# {manifest.name}\n\n{manifest.rows:,} rows of {len(manifest.tables)} tables, {human_bytes(manifest.raw_bytes)} of SQL "
        f"in {human_bytes(manifest.object_bytes)}, {iso(manifest.started_at)} to {iso(manifest.ended_at)}.\n\n"
        f"SHA-256 `{manifest.sha256}`\n\n| table | rows | SQL | digest |\n|---|---:|---:|---|\n{rows}{more}\n",
    )


def publish_drill(plan: str, report: DrillReport) -> None:
    """One report a drill: the verdict first, then every check with its evidence."""
    checks = "\n".join(f"| {_MARKS[c.result]} {c.result} | {c.name} | {_cell(c.evidence)} |" for c in report.checks)
    cause = f"\n\n**{_cell(report.cause)}**" if report.cause else ""
    create_markdown_artifact(
        key=f"drill-{_key(plan)}",
        description=f"{report.verdict}: {report.backup}",
        markdown=f"# {report.verdict}: {report.backup}{cause}\n\nRestored in {report.restore_seconds:.1f} s, proven or not in "
        f"{report.seconds:.1f} s.\n\n| result | check | evidence |\n|---|---|---|\n{checks}\n",
    )


def publish_retention(plan: str, decided: retention.Plan) -> None:
    """One table a prune: every backup, what became of it, and why."""
    create_table_artifact(
        key=f"prune-{_key(plan)}", description=decided.warning or "retention", table=retention_table(decided)
    )


def retention_table(decided: retention.Plan) -> list[dict[str, str]]:
    """A plan's decisions for people, newest first."""
    return [
        {"backup": d.backup.name, "decision": "keep" if d.keep else "remove", "reason": d.reason}
        for d in reversed(decided.decisions)
    ]


def _key(plan: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in plan.lower())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
