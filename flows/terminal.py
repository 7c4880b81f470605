"""Print results as tables for people, or as one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.config.says import WHEN_INVALID
from flows.lines import print_error, print_line
from tasks.engine.repository.checks import anomalies_counted, rows_of_tables, warnings_counted
from tasks.engine.repository.manifest import DrillReport, Verdict
from tasks.engine.repository.omissions import without_in_brackets
from tasks.engine.repository.retention import PrunePlan
from tasks.engine.repository.set_results import SetBackedUp, SetDrilled, SetRestored
from tasks.engine.wording import human_bytes, visible, visible_json
from tasks.reports import coverage, drills_table, retention_table, timings, verdict_line
from tasks.status.findings import Finding
from tasks.status.judgement import Colour
from tasks.status.listing import databases_shown
from tasks.status.summary import Status

if TYPE_CHECKING:
    from flows.backup import BackupResult
    from flows.copy import CopyResult

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]WARNING[/]", "error": "[red]ERROR[/]"}
_RESULTS = {
    "passed": "[green]passed[/]",
    "failed": "[red]FAILED[/]",
    "warning": "[yellow]WARNING[/]",
    "not possible": "[yellow]not possible[/]",
}


def show_json(document: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(visible_json(json.dumps(document, indent=1, ensure_ascii=False)) + "\n")


def show_findings(findings: Sequence[Finding]) -> None:
    """Print what `check` found, then what to do about it."""
    table = _table("", "check", "what was found")
    for finding in findings:
        table.row(Text.from_markup(_MARKS[finding.result]), finding.name, finding.text)
    _console().print(table)
    show_warnings(findings)


def show_warnings(findings: Sequence[Finding]) -> None:
    """Print the findings that are not fine, and what to do about them."""
    for finding in findings:
        if finding.result != "ok":
            print_error([finding.text, *([f"HINT: {finding.hint}"] if finding.hint else [])], finding.result.upper())


def show_backup(made: BackupResult | SetBackedUp, *, as_json: bool = False) -> None:
    """Print the result of a backup, of one database or several."""
    if as_json:
        show_json(made.model_dump())
    elif isinstance(made, SetBackedUp):
        show_set(made.model_dump())
    else:
        _show_backup(made.model_dump())


def _show_backup(done: Mapping[str, Any]) -> None:
    ratio = done["raw_bytes"] / done["object_bytes"]
    print_line(
        f"{done['name']}: {rows_of_tables(done['rows'], done['tables'])}, {human_bytes(done['raw_bytes'])} of SQL in "
        f"{human_bytes(done['object_bytes'])} ({ratio:.1f} to 1), {done['seconds']:.1f} s{without_in_brackets(done['without'])}"
    )
    _say_warnings(done["warnings"])
    _say_warnings([f"anomaly: {sentence}" for sentence in done["anomalies"]])


def show_set(done: Mapping[str, Any]) -> None:
    """Print what a backup of several databases took, and what it left alone."""
    print_line(f"{done['set']}: {done['counted']} databases are backed up")
    table = _table("database", "folder", "backup", "size", "rows")
    for made in done["databases"]:
        table.row(
            made["database"], made["folder"], made["backup"] or made["error"], human_bytes(made["object_bytes"]),
            f"{made['rows']:,}",
        )  # fmt: skip
    _console().print(table)
    for one in done["left_alone"]:
        print_line(f"Left alone: {visible(one['database'])}: {one['reason']}")


def _say_warnings(warnings: Sequence[str]) -> None:
    """Print what a backup lacks, or what is odd about it; the log, on standard error, has it with hints."""
    for warning in warnings:
        print_line(f"WARNING: {warning}")


def show_copies(made: CopyResult, *, as_json: bool = False) -> None:
    """Print what was copied, and what could not be."""
    if as_json:
        show_json(made.model_dump())
        return
    table = _table("backup", "plan", "to", "size", "")
    for done in made.copied:
        table.row(done.backup, done.plan, done.to, human_bytes(done.object_bytes), "copied")
    for failed in made.failed:
        table.row(failed.backup, failed.plan, failed.to, "", failed.reason)
    if made.copied or made.failed:
        _console().print(table)
    else:
        print_line("Every place has all backups")


def show_catalog(entries: Sequence[Mapping[str, Any]]) -> None:
    """Print the catalog, newest first."""
    if not entries:
        print_line("No backups found in S3")
        return
    whole, several = any("plan" in e for e in entries), any("places" in e for e in entries)
    columns = ("backup", "plan" if whole else "database", "taken at", "size", "rows", "verdict")
    table = _table(*columns, *(["in"] if several else []))
    for e, made in reversed(list(zip(entries, databases_shown(entries), strict=True))):
        rows = "foreign" if e["foreign"] else "unreadable" if e["rows"] is None else f"{e['rows']:,}"
        taken = e["taken_at"] + (" (future)" if e.get("from_future") else "")
        where = [_places(e["places"])] if several else []
        table.row(e["name"], e.get("plan", made), taken, human_bytes(e["object_bytes"]), rows, _verdict(e), *where)
    _console().print(table)


def _places(places: Mapping[str, str | None]) -> str:
    """Name the places that have a backup, with the verdict in each where it was drilled: `primary (PROVEN), copy`."""
    return ", ".join(f"{name} ({verdict})" if verdict else name for name, verdict in places.items())


def show_sets(sets: Sequence[Mapping[str, Any]]) -> None:
    """Print the sets, newest first, with what failed in each."""
    if not sets:
        print_line("No sets found in S3")
        return
    table = _table("set", "databases", "size", "rows", "without", "removed since")
    for made in reversed(sets):
        members = made["members"]
        failed, removed = ", ".join(one["database"] for one in made["failed"]), ", ".join(made["removed"])
        size = human_bytes(sum(m["object_bytes"] for m in members))
        table.row(made["name"], made["done"], size, f"{sum(m['rows'] for m in members):,}", failed, removed)
    _console().print(table)


def _verdict(entry: Mapping[str, Any]) -> str:
    odd = anomalies_counted(entry.get("anomalies", []), acknowledged=entry.get("acknowledged", False))
    without = without_in_brackets(entry.get("without") or "")
    return f"{entry['verdict'] or 'not drilled'}{without}{warnings_counted(entry.get('warnings', []))}{odd}"


def show_changes(rows: Sequence[tuple[str, str, str]]) -> None:
    """Print what an import of plans would change."""
    table = _table("plan", "is", "what changes")
    for row in rows:
        table.row(*row)
    if rows:
        _console().print(table)


def show_plans(plans: Sequence[Mapping[str, Any]]) -> None:
    """Print the saved plans."""
    if not plans:
        print_line("No plans are saved; the plan 'default' is what the environment describes")
        return
    table = _table("plan", "database", "storage", "backups due", "drills due")
    for plan in plans:
        shown = "?" if plan["fault"] else "none"
        table.row(plan["name"], *(plan[c] or shown for c in ("database", "storage", "backups_due", "drills_due")))
    _console().print(table)
    for plan in plans:
        if plan["fault"]:
            print_error([plan["fault"], f"HINT: {WHEN_INVALID}"], "WARNING")


def show_report(report: DrillReport) -> None:
    """Print a drill's verdict first, then what it covers, every check, and the timings."""
    style = {"PROVEN": "bold green", "FAILED": "bold red"}.get(report.verdict.value, "bold yellow")
    _console().print(_text(f"{verdict_line(report)}: {report.backup}", style))
    print_line(coverage(report))
    if report.hint:
        print_line(f"HINT: {report.hint}")
    _say_warnings(report.warnings)
    table = _table("result", "check", "evidence", "took")
    for check in report.checks:
        table.row(Text.from_markup(_RESULTS[check.result]), check.name, check.evidence, f"{check.seconds:.1f} s")
    _console().print(table)
    print_line("; ".join(f"{name}: {value}" for name, value in timings(report).items()))


def show_drill(found: DrillReport | SetDrilled, *, as_json: bool = False) -> Verdict | None:
    """Print what a drill found, of one database or of all; return its verdict, of several the worst."""
    if as_json:
        show_json(found.summary())
    elif isinstance(found, DrillReport):
        show_report(found)
    else:
        _show_drills(found)
    if isinstance(found, DrillReport):
        return found.verdict
    return found.worst.report.verdict if found.worst else None


def _show_drills(found: SetDrilled) -> None:
    """Print a row for each database, then the whole report of each that is not PROVEN."""
    print_line(f"{found.counted} databases are PROVEN")
    table = _table("database", "verdict", "backup", "restored in", "why")
    for row in drills_table(found):
        table.row(*row)
    _console().print(table)
    for one in found.drills:
        if one.report.verdict is not Verdict.PROVEN:
            print_line(f"{one.plan}:")
            show_report(one.report)


def show_restore(done: int | SetRestored, *, as_json: bool = False, of_rows: bool = True) -> None:
    """Print what was restored, of one database or several."""
    rows = done if isinstance(done, int) else done.rows
    if as_json:
        show_json({"rows": rows} if isinstance(done, int) else done.model_dump())
    elif of_rows:
        print_line(f"Restored {rows:,} rows")


def show_sql(statements: Sequence[str]) -> None:
    """Print statements, with their line breaks and tabs."""
    text = "\n\n".join(statements)
    sys.stdout.write("\t".join(visible(part, lines=True) for part in text.split("\t")) + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of names and other text."""
    table = _table(*columns)
    for row in rows:
        table.row(*row)
    _console().print(table)


def show_facts(facts: Mapping[str, str]) -> None:
    """Print names and values in two columns."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        table.add_row(_text(name, "bold"), _text(value))
    _console().print(table)


def show_retention(decided: PrunePlan, *, dry_run: bool) -> None:
    """Print what happened, or would happen, to every backup, and why."""
    table = _table("backup", "decision", "reason")
    for row in retention_table(decided):
        table.row(row["backup"], row["decision"], row["reason"])
    _console().print(table)
    verb = "Would delete" if dry_run else "Deleted"
    failed = f"; {decided.failed} could not be deleted" if decided.failed else ""
    print_line(f"{verb} {len(decided.removals)} of {len(decided.decisions)} backups{failed}")


def show_status(status: Status) -> None:
    """Print the sentence, a row for each database, and what to do about what is wrong."""
    style = {Colour.FINE: "bold green", Colour.BAD: "bold red"}.get(status.judgement.colour, "bold yellow")
    _console().print(_text(status.judgement.sentence, style))
    table = _table("status", "database", "folder", "backups", "size", "what is known")
    for plan in status.plans:
        word, _, known = plan.judgement.sentence.partition(": ")
        table.row(word, plan.title, plan.folder, f"{plan.backups:,}", human_bytes(plan.stored_bytes), known)
    if status.plans:
        _console().print(table)
    for reason in status.judgement.reasons:
        print_line(f"- {reason.text}" + (f"\n  HINT: {reason.hint}" if reason.hint else ""))
    if status.note:
        print_line(f"- {status.note}")


class _Table(Table):
    """A table with literal cells: names in them are neither markup nor terminal escapes."""

    def row(self, *cells: str | Text) -> None:
        """Add a row; a `Text` is already styled."""
        self.add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in cells))


def _text(text: str, style: str = "") -> Text:
    return Text(visible(text, lines=True), style=style)


def _table(*columns: str) -> _Table:
    table = _Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _console() -> Console:
    # Don't wrap lines in a pipe: scripts read them.
    return Console(width=None if sys.stdout.isatty() else 200, soft_wrap=not sys.stdout.isatty())
