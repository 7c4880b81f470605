"""Take one backup: dump, upload, commit, prune."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from blocks.config import DEFAULT
from blocks.config.load import Need
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan
from blocks.errors import PgRoundtripError
from flows.copy import catch_up_after
from flows.prune import Before, continuing, prune
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
from tasks.destinations import destinations_of
from tasks.engine.repository.checks import counted
from tasks.engine.repository.destinations import Destinations
from tasks.engine.repository.held import told_of_due
from tasks.engine.repository.outline import Outline, outline_of
from tasks.globals import read_beside, with_globals
from tasks.keys import veiling
from tasks.orchestration import flow, get_run_logger
from tasks.outcome import Outcome
from tasks.reports import backup_sentence, publish_backup, publish_catalog
from tasks.sweep import sweep_everywhere

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
    destinations: list[str] = []
    has_globals: bool = Field(default=False, exclude=True)

    @model_serializer(mode="wrap")
    def _of_several_places(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Name places only where there are several."""
        made: dict[str, Any] = dump(self)
        return made if self.destinations else {name: value for name, value in made.items() if name != "destinations"}


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
    with veiling(encrypted=bool(chosen_plan.encryption)):
        return _backed_up(chosen_plan)


def _backed_up(chosen_plan: Plan) -> Outcome[BackupResult]:
    plan, there = chosen_plan.name, destinations_of(chosen_plan)
    source = inspect_source(chosen_plan)
    wanted = name_backup(there)
    before = read_previous(chosen_plan, there, source)
    swept = sweep_everywhere(there, before.blind)
    beside = read_beside(chosen_plan, source, before.manifest)
    begun = time.monotonic()
    dump = dump_to_storage.with_options(tags=dump_tags(chosen_plan.source))
    manifest = dump(chosen_plan, there, source, wanted, before.manifest)
    seconds = time.monotonic() - begun
    manifest = look_for_anomalies(chosen_plan, before.repository or there.first, manifest, before.history)
    manifest, companion = with_globals(chosen_plan, source, manifest, beside)
    made = commit_backup(there, manifest, companion)
    told, first = outline_of(manifest), next(iter(made))
    publish_backup(plan, there.repositories[first], manifest, before.manifest, seconds)
    where = f" in {' and '.join(made)}" if there.several else ""
    unseen = tuple({*there.away, *before.blind})
    caught_up = _catch_up(chosen_plan, there, unseen)
    after = Before({n: found.adding(made[n]) for n, found in before.listings.items() if n in made}, swept, unseen)
    return Outcome(
        "backup",
        plan,
        f"{manifest.name}{where}: {backup_sentence(told)}; {caught_up}{_prune_after(plan, there, after)}",
        BackupResult(**_result(told, made[first].key, seconds), destinations=list(made) if there.several else []),
    )


def _catch_up(plan: Plan, there: Destinations, unseen: tuple[str, ...]) -> str:
    """Copy to each place what it lacks from before; a failure is only a warning, because the next run tries again."""
    if not there.several:
        return ""
    try:
        said = catch_up_after(plan, unseen)
    except PgRoundtripError as error:
        get_run_logger().warning("What other places lack could not be copied: %s", error.sentence)
        return ""
    return f"{said}; " if said else ""


def _prune_after(plan: str, there: Destinations, before: Before) -> str:
    """Apply the retention policy; a failure is only a warning, because the next backup will try again."""
    if there.repositories.keys() <= set(before.away):
        return "others weren't looked at"
    try:
        with continuing(before):
            pruned = run(prune, plan)
        removed = f"{counted(len(pruned.removals), 'old one')} removed"
        return "; ".join(filter(None, (removed, told_of_due(pruned))))
    except PgRoundtripError as error:
        get_run_logger().warning("The backup is done, but old ones could not be pruned: %s", error.sentence)
        publish_catalog(plan, there.first)
        return f"old ones could not be removed: {error.sentence}"


def _result(told: Outline, key: str, seconds: float) -> dict[str, Any]:
    shown = ("name", "object_bytes", "raw_bytes", "rows", "tables", "sha256", "without", "has_globals")
    return {
        **{name: getattr(told, name) for name in shown},
        "warnings": list(told.warnings),
        "anomalies": [a.sentence for a in told.anomalies],
        "key": key,
        "seconds": round(seconds, 3),
    }
