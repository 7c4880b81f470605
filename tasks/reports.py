"""Publish what a run did as Prefect artifacts, where the run's history is looked at."""

from __future__ import annotations

import re
from datetime import timedelta

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.engine import checklist, retention
from tasks.engine.manifest import DrillReport, Manifest, Verdict
from tasks.wording import human_age, human_bytes, iso

_MARKS = {"passed": "✅", "failed": "❌", "warning": "⚠️", "not possible": "⚪"}
_VERDICTS = {Verdict.PROVEN: "✅", Verdict.FAILED: "❌", Verdict.INCONCLUSIVE: "⚪"}
_LEGEND = (
    "✅ passed, ❌ failed, ⚠️ worth knowing and no fault of the backup, ⚪ not possible. Checks that were made in one pass share "
    "its time. Outside of a database, and so of its backup, are roles with their passwords, tablespaces, and the "
    "settings and rights of the database itself. Materialized views are filled anew and not compared row by row."
)


def publish_backup(plan: str, manifest: Manifest) -> None:
    """One report a backup: its size, what it holds and its digests."""
    rows = "\n".join(
        f"| {_cell(t.name)} | {t.rows:,} | {human_bytes(t.raw_bytes)} | `{t.digest}` |" for t in manifest.tables[:200]
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
    """One report a drill."""
    create_markdown_artifact(
        key=f"drill-{_key(plan)}", description=f"{report.verdict}: {report.backup}", markdown=drill_markdown(report)
    )


def drill_markdown(report: DrillReport) -> str:
    """A drill for people: the verdict first, then what it covers, what was found, how long it took, and every check."""
    title = f"# {_VERDICTS[report.verdict]} {report.verdict}: {report.backup or 'no backup could be looked at'}"
    times = "\n".join(f"| {name} | {value} |" for name, value in timings(report).items())
    rows = "\n".join(
        f"| {_MARKS[c.result]} | {_cell(c.name)} | {_cell(c.evidence.partition(chr(10))[0])} | {c.seconds:.1f} s |"
        for c in report.checks
    )
    return "\n\n".join([
        title, _cell(coverage(report)), *_findings(report), f"## Timings\n\n| | |\n|---|---|\n{times}",
        f"## Every check\n\n| | check | evidence | took |\n|---|---|---|---:|\n{rows}", f"{_LEGEND}\n",
    ])  # fmt: skip


def coverage(report: DrillReport) -> str:
    """What a verdict covers, in a sentence or two."""
    if report.verdict is Verdict.INCONCLUSIVE:
        return f"The drill could not be carried out, so it says nothing about the backup: {report.cause}"
    where = "a throwaway server" if report.place == "sandbox" else "a scratch database"
    if report.verdict is Verdict.FAILED:
        return f"This backup is not what it should be: {report.cause}"
    schema = next((c.evidence.partition("\n")[0] for c in report.checks if c.name == checklist.SCHEMA), "")
    impossible = [c.name for c in report.checks if c.result == "not possible"]
    rest = f" These checks were not possible: {', '.join(impossible)}." if impossible else ""
    return (
        f"{report.rows:,} rows of {report.tables:,} tables ({human_bytes(report.raw_bytes)} of SQL) were restored into {where} of "
        f"PostgreSQL {report.target_version} and dumped again: every row came back as it was stored. Schema: {schema}.{rest}"
    )


def timings(report: DrillReport) -> dict[str, str]:
    """How long a restore takes (the measured RTO) and what a loss now would have cost (the RPO)."""
    return {
        "Restore time (RTO)": f"{report.restore_seconds:.1f} s" if report.restore_seconds else "not restored",
        "Backup age (RPO)": human_age(timedelta(seconds=report.age_seconds)),
        "Comparison": f"{report.compare_seconds:.1f} s" if report.compare_seconds else "not compared",
        "Whole drill": f"{report.seconds:.1f} s",
    }


def _findings(report: DrillReport) -> list[str]:
    found = [c for c in report.checks if c.result in ("failed", "warning")]
    if not found:
        return []
    return ["## Findings", *(f"**{_MARKS[c.result]} {_cell(c.name)}**\n\n{_fenced(c.evidence)}" for c in found)]


def _fenced(text: str) -> str:
    """Text as it is, in a fence that nothing in it can close; a diff keeps its lines and gets its colours."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{'diff' if chr(10) in text else ''}\n{text}\n{fence}"


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
    """Text in one line of Markdown, as it is, whatever names it holds."""
    return re.sub(r"([\\|`*_<>\[\]#])", r"\\\1", " ".join(text.split()))
