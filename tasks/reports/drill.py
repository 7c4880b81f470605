"""Report on one drill: the verdict first, then what it covers and every check that was made."""

from __future__ import annotations

from datetime import timedelta

from tasks.engine.repository import checks as checklist
from tasks.engine.repository.checks import globals_proven, rows_of_tables, warnings_counted
from tasks.engine.repository.manifest import DrillReport, Verdict, shown_verdict
from tasks.engine.repository.omissions import without_in_brackets
from tasks.engine.wording import human_age, human_bytes, human_seconds
from tasks.reports.markdown import cell, fenced, table, warnings_shown
from tasks.reports.publish import publish, published

_MARKS = {"passed": "✅", "failed": "❌", "warning": "⚠️", "not possible": "⚪"}
_VERDICTS = {Verdict.PROVEN: "✅", Verdict.FAILED: "❌", Verdict.INCONCLUSIVE: "⚪"}
_LEGEND = (
    "✅ passed, ❌ failed, ⚠️ worth knowing but not a problem with the backup, ⚪ not possible. Checks that were made in one pass "
    "share its time. Roles, their settings, and those of the database itself are in the row of the globals; passwords are in "
    "no backup. Materialized views are refreshed, not compared row by row."
)


@published("The report of the drill")
def publish_drill(plan: str, report: DrillReport) -> None:
    """Publish a drill's report."""
    publish("drill", plan, f"{verdict_line(report)}: {report.backup}{_where(report)}", drill_markdown(report))


def drill_markdown(report: DrillReport) -> str:
    """Format a drill's report: the verdict, what it covers, what was found, how long it took, and every check."""
    timed = timings(report)
    checks = [
        [_MARKS[c.result], cell(c.name), f"{c.seconds:.1f} s", cell(c.evidence.partition("\n")[0])]
        for c in report.checks
    ]
    return "\n\n".join([
        f"# {_VERDICTS[report.verdict]} {verdict_line(report)}: {report.backup or 'no backup could be looked at'}{_where(report)}",
        cell(coverage(report)), *_what_to_do(report), *warnings_shown(report.warnings), *_findings(report), "## Timings", table(dict.fromkeys(timed, "---"), [[*timed.values()]]),
        "## Every check", table({" ": "---", "check": "---", "took": "---:", "evidence": "---"}, checks), f"{_LEGEND}\n",
    ])  # fmt: skip


def _where(report: DrillReport) -> str:
    """Name the place that was drilled, if the plan has several: what it shows is true of that one."""
    return f" in {report.destination}" if report.destination else ""


def verdict_line(report: DrillReport) -> str:
    """Return the verdict with its warnings: with `PROVEN, 1 warning`, something was not dumped."""
    return f"{shown_verdict(report.verdict, report.without)}{warnings_counted(report.warnings)}"


def drill_sentence(report: DrillReport) -> str:
    """Summarize a drill for the run's history."""
    if report.verdict is Verdict.PROVEN:
        rows = rows_of_tables(report.rows, report.tables)
        took = human_seconds(report.restore_seconds)
        warned = warnings_counted(report.warnings)
        beside = ", with its roles and settings" if globals_proven(report.checks) else ""
        without = without_in_brackets(report.without)
        return f"{report.backup}{_where(report)} was restored in {took}, dumped again, and is what was dumped: {rows}{beside}{without}{warned}"
    if report.verdict is Verdict.FAILED:
        return f"{report.backup}{_where(report)} is not what it should be: {report.cause}"
    return f"{report.backup or 'The newest backup'}{_where(report)} could not be drilled, which says nothing about it: {report.cause}"


def coverage(report: DrillReport) -> str:
    """Say in a sentence or two what a verdict covers."""
    if report.verdict is Verdict.INCONCLUSIVE:
        return f"The drill could not be carried out, so it says nothing about the backup: {report.cause}"
    where = "a throwaway server" if report.place == "sandbox" else "a scratch database"
    if report.verdict is Verdict.FAILED:
        return f"This backup is not what it should be: {report.cause}"
    schema = next((c.evidence.partition("\n")[0] for c in report.checks if c.name == checklist.SCHEMA), "")
    impossible = [c.name for c in report.checks if c.result == "not possible"]
    around = [c.evidence for c in report.checks if c.name == checklist.GLOBALS]
    beside = f" Globals: {around[0]}." if globals_proven(report.checks) else ""
    rest = f" These checks were not possible: {', '.join(impossible)}." if impossible else ""
    rest += f" The backup was taken without {report.without}: nothing is proven of that." if report.without else ""
    return (
        f"{rows_of_tables(report.rows, report.tables)} ({human_bytes(report.raw_bytes)} of SQL), restored into {where} of "
        f"PostgreSQL {report.target_version} and dumped again: every row came back as it was stored. Schema: {schema}.{beside}{rest}"
    )


def timings(report: DrillReport) -> dict[str, str]:
    """Return how long a restore takes (the measured RTO) and what a loss now would cost (the RPO)."""
    return {
        "Restore time (RTO)": human_seconds(report.restore_seconds) if report.restore_seconds else "not restored",
        "Backup age (RPO)": human_age(timedelta(seconds=report.age_seconds)),
        "Comparison": human_seconds(report.compare_seconds) if report.compare_seconds else "not compared",
        "Whole drill": human_seconds(report.seconds),
    }


def _what_to_do(report: DrillReport) -> list[str]:
    return [f"**What to do:** {cell(report.hint)}"] if report.hint else []


def _findings(report: DrillReport) -> list[str]:
    """Format failures and warnings in full; a diff keeps its lines and gets its colours."""
    shown = []
    for check in (c for c in report.checks if c.result in ("failed", "warning")):
        evidence = fenced(check.evidence, "diff" if "\n" in check.evidence else "")
        shown.append(f"**{_MARKS[check.result]} {cell(check.name)}**\n\n{evidence}")
    return ["## Findings", *shown] if shown else []
