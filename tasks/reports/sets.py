"""Report on the databases of a server together: what a run did for each of them."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.engine.repository.set_results import SetDrilled
from tasks.engine.repository.sets import BackupSet
from tasks.engine.wording import human_bytes, human_seconds
from tasks.reports.drill import verdict_line
from tasks.reports.markdown import cell, table
from tasks.reports.publish import publish, published

_MOST_SHOWN = 500
_LEFT, _RIGHT = "---", "---:"


@published("The report of the set")
def publish_set(plan: str, made: BackupSet) -> None:
    """Publish which databases a run backed up."""
    said = f"{made.counted} databases are backed up"
    rows = [
        [cell(m.database), m.backup or cell(m.error), human_bytes(m.object_bytes), f"{m.rows:,}"]
        for m in (*made.failed, *made.done)
    ]
    columns = {"database": _LEFT, "backup": _LEFT, "size": _RIGHT, "rows": _RIGHT}
    publish("set", plan, f"{made.name}: {said}", _page(f"{made.name}: {said}", columns, rows))


@published("The report of the drills")
def publish_drills(plan: str, found: SetDrilled) -> None:
    """Publish the verdict on each database; each drill has a report of its own, too."""
    said = f"{found.counted} databases are PROVEN"
    columns = {"database": _LEFT, "verdict": _LEFT, "backup": _LEFT, "restored in": _RIGHT, "why": _LEFT}
    publish("drills", plan, said, _page(said, columns, [[cell(c) for c in row] for row in drills_table(found)]))


def drills_table(found: SetDrilled) -> list[list[str]]:
    """Return a row for each database: its name, the verdict, the backup, how long its restore took, and what is wrong."""
    drilled = [
        [d.database, verdict_line(d.report), d.report.backup, human_seconds(d.report.restore_seconds), d.report.cause]
        for d in sorted(found.drills, key=lambda d: d.report.verdict.value == "PROVEN")
    ]
    return [*([one.database, "not drilled", "", "", one.reason] for one in found.failed), *drilled]


def _page(title: str, columns: dict[str, str], rows: Sequence[Sequence[str]]) -> str:
    more = len(rows) - _MOST_SHOWN
    rest = [f"and {more} more"] if more > 0 else []
    return "\n\n".join([f"# {cell(title)}", table(columns, [list(row) for row in rows[:_MOST_SHOWN]]), *rest])
