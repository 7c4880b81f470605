"""Take one backup: dump, upload, commit, prune."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, Field

from blocks.config import DEFAULT
from blocks.config.load import Need
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan
from blocks.errors import PgRoundtripError
from flows.prune import continuing, prune
from flows.runs.hooks import with_hooks
from flows.runs.logs import log_plainly
from flows.runs.parameters import PlanName
from flows.runs.wrapping import named, newest_slot_only, run, say_when_next, with_final_state
from flows.whole_server import back_up_databases
from tasks.anomalies import look_for_anomalies
from tasks.backup import (
    commit_backup,
    dump_tags,
    dump_to_storage,
    inspect_source,
    name_backup,
    read_previous,
)
from tasks.engine.repository.catalog import Listing
from tasks.engine.repository.checks import counted
from tasks.engine.repository.held import told_of_due
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.globals import read_beside, with_globals
from tasks.keys import repository_of
from tasks.orchestration import flow, get_run_logger
from tasks.outcome import Outcome
from tasks.reports import backup_sentence, publish_backup, publish_catalog
from tasks.sweep import sweep_stale_uploads

log_plainly()
_NEEDS: frozenset[Need] = frozenset({"database", "storage"})


class BackupResult(BaseModel):
    """The result of a backup, for scripts: `pg-roundtrip backup --json`."""

    name: str
    key: str
    object_bytes: int
    raw_bytes: int
    rows: int
    tables: int
    sha256: str
    seconds: float
    warnings: list[str] = []
    anomalies: list[str] = []
    without: str = ""
    has_globals: bool = Field(default=False, exclude=True)


@flow(name="backup", flow_run_name=named("backup"), validate_parameters=False)
@newest_slot_only
@with_final_state
@with_hooks
def backup(plan: PlanName = DEFAULT) -> Outcome[BackupResult]:
    """Back up a plan's database, or all of a server's that it means, to its storage, then apply its retention policy.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
    """
    chosen_plan = resolve_plan(plan, _NEEDS)
    if chosen_plan.databases:
        whole: Outcome[Any] = back_up_databases(chosen_plan, lambda member: run(backup_member, member))
        return whole  # of several, the result is another: SetBackedUp
    made = _back_up(chosen_plan)
    say_when_next("backup")
    return made


@flow(name="backup-member", flow_run_name=named("backup"), validate_parameters=False)
@with_final_state
def backup_member(plan: PlanName) -> Outcome[BackupResult]:
    """Back up one of the databases of a server, as a part of a backup of all."""
    return _back_up(resolve_plan(plan, _NEEDS))


def _back_up(chosen_plan: Plan) -> Outcome[BackupResult]:
    plan, repository = chosen_plan.name, repository_of(chosen_plan)
    source = inspect_source(chosen_plan)
    wanted = name_backup(repository)
    before = read_previous(chosen_plan, repository, source)
    swept = () if before.blind else sweep_stale_uploads(repository)
    beside = read_beside(chosen_plan, source, before.manifest)
    begun = time.monotonic()
    dump = dump_to_storage.with_options(tags=dump_tags(chosen_plan.source))
    manifest = dump(chosen_plan, repository, source, wanted, before.manifest)
    seconds = time.monotonic() - begun
    manifest = look_for_anomalies(chosen_plan, repository, manifest, before.history)
    manifest, companion = with_globals(chosen_plan, source, manifest, beside)
    made = commit_backup(repository, manifest, companion)
    publish_backup(plan, repository, manifest, before.manifest, seconds)
    listing = before.listing.adding(made) if before.listing else None
    pruned = "others weren't looked at" if before.blind else _prune_after(plan, repository, listing, swept)
    return Outcome(
        "backup",
        plan,
        f"{manifest.name}: {backup_sentence(manifest)}; {pruned}",
        BackupResult(**_result(manifest, made.key, seconds)),
    )


def _prune_after(plan: str, repository: Repository, listing: Listing | None, swept: Collection[str]) -> str:
    """Apply the retention policy; a failure is only a warning, because the next backup will try again."""
    try:
        with continuing(listing, swept):
            pruned = run(prune, plan)
        removed = f"{counted(len(pruned.removals), 'old one')} removed"
        return "; ".join(filter(None, (removed, told_of_due(pruned))))
    except PgRoundtripError as error:
        get_run_logger().warning("The backup is done, but old ones could not be pruned: %s", error.sentence)
        publish_catalog(plan, repository)
        return f"old ones could not be removed: {error.sentence}"


def _result(manifest: Manifest, key: str, seconds: float) -> dict[str, Any]:
    shown = manifest.model_dump(include={"name", "object_bytes", "raw_bytes", "rows", "sha256"})
    shown |= {
        "without": manifest.without,
        "has_globals": manifest.globals is not None,
        "warnings": list(manifest.warnings),
        "anomalies": [a.sentence for a in manifest.anomalies],
    }
    return {**shown, "rows": manifest.rows, "tables": len(manifest.tables), "key": key, "seconds": round(seconds, 3)}
