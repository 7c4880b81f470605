"""Name every check of a drill, so that a report has a row for each, made or not, in reading order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tasks.engine.repository.manifest import Check

OBJECT = "object present"
MANIFEST = "manifest"
SIZE = "size and SHA-256"
GZIP = "gzip integrity"
COMPLETE = "dump complete"
RESTORED = "restored without error"
TABLES = "every table present"
ROWS = "row counts"
DIGESTS = "row digests"
LARGE_OBJECTS = "large objects"
SCHEMA = "schema"
INDEXES = "indexes"
CONSTRAINTS = "constraints"
TRIGGERS = "triggers"
SEQUENCES = "sequences"
EXTENSIONS = "extensions"
RIGHTS = "ownership and grants"
MATERIALIZED = "materialized views"
COLLATIONS = "collation versions"
GLOBALS = "globals"
AGE = "backup age"
ANOMALIES = "anomalies"
RESTORE_TIME = "restore time"
TABLE_QUERY = "query: table count"
ROW_QUERY = "query: row counts"
INDEX_QUERY = "query: indexes"

ALL = (
    OBJECT, MANIFEST, SIZE, GZIP, COMPLETE, RESTORED, TABLES, ROWS, DIGESTS, LARGE_OBJECTS, SCHEMA, INDEXES, CONSTRAINTS,
    TRIGGERS, SEQUENCES, EXTENSIONS, RIGHTS, MATERIALIZED, COLLATIONS, GLOBALS, AGE, ANOMALIES, RESTORE_TIME, TABLE_QUERY, ROW_QUERY, INDEX_QUERY,
)  # fmt: skip
_SHOWN = 5


def passed(name: str, evidence: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name=name, result="passed", evidence=evidence)


def failed(name: str, evidence: str) -> Check:
    """Return a check that found a problem with the backup."""
    return Check(name=name, result="failed", evidence=evidence)


def warned(name: str, evidence: str) -> Check:
    """Return a check that found something worth knowing that is not a problem with the backup."""
    return Check(name=name, result="warning", evidence=evidence)


def not_possible(name: str, why: str) -> Check:
    """Return a check that could not be made."""
    return Check(name=name, result="not possible", evidence=why)


def compared(name: str, differences: list[str], evidence: str) -> Check:
    """Return the check of a comparison: failed if there are differences; the first five are named."""
    if not differences:
        return passed(name, evidence)
    return failed(name, "; ".join(shortened(differences)))


def shortened(differences: list[str]) -> list[str]:
    """Return the first five, and how many more there are."""
    more = [f"… and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
    return differences[:_SHOWN] + more


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as people write it."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def warnings_counted(warnings: Collection[str]) -> str:
    """Return `, 1 warning` to append to a verdict or a size; empty if there is none."""
    return f", {counted(len(warnings), 'warning')}" if warnings else ""


def anomalies_counted(anomalies: Collection[object], *, acknowledged: bool = False) -> str:
    """Return `, 1 anomaly` to append like `warnings_counted`; empty if there is none."""
    known = " (acknowledged)" if acknowledged else ""
    return f", {counted(len(anomalies), 'anomaly', 'anomalies')}{known}" if anomalies else ""


def rows_of_tables(rows: int, tables: int) -> str:
    """Return what a backup holds, in the words that every command and report uses."""
    return f"{counted(rows, 'row')} of {counted(tables, 'table')}"


def timed(checks: Iterable[Check], seconds: float) -> list[Check]:
    """Record in checks made in one pass how long the pass took."""
    return [c.model_copy(update={"seconds": round(seconds, 3)}) for c in checks]


def completed(checks: Iterable[Check], why: str) -> tuple[Check, ...]:
    """Return every check in order, the user's queries last; `why` says why the missing ones could not be made.

    Several results for one check become one row, with the worst result.
    """
    made: dict[str, Check] = {}
    for check in checks:
        made[check.name] = _joined(made[check.name], check) if check.name in made else check
    rest = [c for name, c in made.items() if name not in ALL]
    return tuple([made.get(name) or not_possible(name, why) for name in ALL] + rest)


def _joined(one: Check, other: Check) -> Check:
    worst = min(one.result, other.result, key=("failed", "warning", "not possible", "passed").index)
    said = [c.evidence for c in (one, other) if worst in (c.result, "passed")]
    return Check(name=one.name, result=worst, evidence="; ".join(said), seconds=round(one.seconds + other.seconds, 3))


def globals_proven(checks: Sequence[Check]) -> bool:
    """Whether a verdict covers all roles and settings; a warning names what it doesn't cover."""
    return any(check.name == GLOBALS and check.result == "passed" for check in checks)
