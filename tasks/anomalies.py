"""Look for what is odd about a backup before it is committed, and record that somebody knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from blocks.config import DEFAULT
from blocks.config.plan import Plan
from blocks.errors import KeyMissing, PgRoundtripError
from tasks.clock import utc_now
from tasks.engine.repository.anomaly import FEWEST, find_anomalies
from tasks.engine.repository.anomaly_facts import BackupFacts, facts_of, totals_of
from tasks.engine.repository.anomaly_history import read_facts, read_totals
from tasks.engine.repository.catalog import Backup, named
from tasks.engine.repository.manifest import Acknowledgement, Manifest
from tasks.engine.repository.of_plan import from_each
from tasks.engine.repository.outline import outline_of
from tasks.engine.repository.repository import Repository
from tasks.engine.wording import tool_version
from tasks.keys import repository_of
from tasks.orchestration import get_run_logger, task
from tasks.retries import ONCE


@task("look for anomalies", ONCE)
def look_for_anomalies(plan: Plan, repository: Repository, manifest: Manifest, history: Sequence[Backup]) -> Manifest:
    """Add to a manifest what is odd about it; whatever goes wrong here must not cost the backup."""
    logger = get_run_logger()
    try:
        before, now = _facts(repository, manifest, history)
        found = find_anomalies(now, before, plan.ignored_tables)
    except Exception as error:  # noqa: BLE001  (the backup is good whatever is found)
        reason = error.sentence if isinstance(error, PgRoundtripError) else type(error).__name__
        logger.warning("This backup could not be compared with those before it: %s", reason)
        return manifest
    for anomaly in found:
        logger.warning("Anomaly: %s\nHINT: %s", anomaly.sentence, when_anomalous(plan.name, manifest.name))
    compared_with = len(before) if len(before) >= FEWEST else 0
    return manifest.model_copy(update={"compared_with": compared_with, "anomalies": found})


def _facts(
    repository: Repository, manifest: Manifest, history: Sequence[Backup]
) -> tuple[list[BackupFacts], BackupFacts]:
    """Return what to compare: only totals where earlier backups can't be opened, as where backups are made."""
    try:
        return read_facts(repository, history), facts_of(manifest)
    except KeyMissing:
        text = "Only totals are compared with earlier backups: what they say of tables is encrypted, and no key here opens it"
        get_run_logger().info(text)
        return read_totals(repository, history), totals_of(outline_of(manifest))


def when_anomalous(plan: str, name: str) -> str:
    """Return what to do about anomalies."""
    chosen = "" if plan == DEFAULT else f" --plan {quote(plan)}"
    return (
        f"the backup before is kept; if this is what you intended, run `pg-roundtrip acknowledge {name}{chosen}`, "
        "else restore what is missing from that one"
    )


def acknowledge(plan: Plan, name: str) -> str:
    """Record, in each place that has it, that the anomalies of a backup are known; return in a sentence what that changed."""
    return next(iter(from_each(plan, lambda place: _acknowledge(place, name)).values()))


def _acknowledge(plan: Plan, name: str) -> str:
    repository = repository_of(plan)
    backup = named(repository.backups(), name)
    manifest = repository.outline(backup)
    if not manifest or not manifest.anomalies:
        return f"{backup.name} has no anomalies"
    given = Acknowledgement(tool_version=tool_version(), backup=backup.name, acknowledged_at=utc_now())
    if not repository.acknowledge(given):
        return f"{backup.name} was acknowledged before"
    return f"{backup.name} is acknowledged: the backup before it is kept no longer than the retention policy says"
