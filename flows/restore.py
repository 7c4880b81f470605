"""Restore a backup to a database that will be used, unlike a drill's."""

from __future__ import annotations

from typing import Any

from blocks.config import DEFAULT
from blocks.config.load import Need
from blocks.config.resolve import resolve_plan, resolve_target
from flows.runs.hooks import with_hooks
from flows.runs.logs import log_plainly
from flows.runs.parameters import BackupName, GlobalsMode, PlanName, ServerName
from flows.runs.wrapping import named, run, with_final_state
from flows.whole_server import How, restore_set
from tasks.clock import utc_now
from tasks.drill import sweep_scratch
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import rows_of_tables
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.names import is_set
from tasks.engine.wording import human_seconds
from tasks.evidence import certify_restore
from tasks.globals_restore import create_around, plan_around
from tasks.keys import veiling
from tasks.orchestration import flow
from tasks.outcome import Outcome
from tasks.places import Source, from_any
from tasks.restore import choose_named, is_there, look_at_target, restore_and_swap, restore_in_place
from tasks.sets import choose_member

log_plainly()
_NEEDS: frozenset[Need] = frozenset({"storage"})


@flow(name="restore", flow_run_name=named("restore"), validate_parameters=False)
@with_final_state
@with_hooks
def restore(
    backup: BackupName,
    plan: PlanName = DEFAULT,
    target: ServerName = DEFAULT,
    replace: bool = False,
    verify: bool = True,
    globals_mode: GlobalsMode = "none",
) -> Outcome[int]:
    """Restore a backup; nothing becomes visible before all of it has been checked. Returns the number of rows.

    Args:
        backup: Which backup: its name, as in the catalog, or `latest` for the newest. The name of a set, or `set_latest`:
            all databases of a server, each under its name to the target's server; what is there already stays.
        plan: Whose backup: the name of a saved Backup Plan block, or `default` for the plan that the environment describes.
        target: Where to: the name of a saved PostgreSQL Server block, or `default` for RESTORE_DATABASE_URL.
        replace: DANGER: everything that the target database holds now is dropped and replaced by the backup, with no way
            back. Without it, a database that has tables is refused.
        verify: Whether the restored rows are read back and compared before the database becomes visible. A plan can
            turn this off for all of its restores.
        globals_mode: Whether roles and the database's own settings are created, too, as far as they are missing; only
            they are; or only the plan for them is shown. What exists is never changed.
    """
    chosen_plan = resolve_plan(plan, _NEEDS)
    how = How(replace=replace, verify=verify, globals_mode=globals_mode)
    if is_set(backup):
        several: Outcome[Any] = restore_set(chosen_plan, backup, target, how, lambda *each: run(restore_member, *each))
        return several  # its result is another: SetRestored
    if chosen_plan.databases:
        chosen_plan = choose_member(chosen_plan, backup)
    return from_any(chosen_plan, backup, lambda source: _restore(source, target, how))


@flow(name="restore-member", flow_run_name=named("restore"), validate_parameters=False)
@with_final_state
def restore_member(backup: BackupName, plan: PlanName, target: ServerName, how: How) -> Outcome[int]:
    """Restore one of the databases of a server, as a part of a restore of all; skip one that is there already."""
    return from_any(resolve_plan(plan, _NEEDS), backup, lambda source: _restore_member(source, target, how))


def _restore_member(source: Source, target: str, how: How) -> Outcome[int]:
    asks, to = how.globals_mode in ("none", "too"), resolve_target(target)
    rows = is_there(source.plan, source.repository, source.backup, to) if asks else None
    if rows is None:
        return _restore(source, target, how, in_set=True)
    # An earlier run may have ended between the last row and these.
    manifest = choose_named(source.plan, source.repository, source.backup)[1]
    around = plan_around(source.repository, manifest, to, how.globals_mode, again=True)
    create_around(around, around.own)
    return Outcome("restore", source.plan.name, f"{source.backup} is there already", rows)


def _restore(source: Source, target: str, wanted: How, *, in_set: bool = False) -> Outcome[int]:
    found = choose_named(source.plan, source.repository, source.backup)
    with veiling(encrypted=found[0].encrypted):
        return _restored(source, found, target, wanted, in_set=in_set)


def _restored(
    source: Source, found: tuple[Backup, Manifest | None], target: str, wanted: How, *, in_set: bool
) -> Outcome[int]:
    chosen_plan, repository, (chosen, manifest) = source.plan, source.repository, found
    plan, started_at = chosen_plan.name, utc_now()
    # A whole server comes back with owners and rights, also where a database of the name, `postgres` at least, waits empty.
    as_new, again = in_set and wanted.globals_mode == "too", in_set and not wanted.globals_mode.startswith("only")
    around = plan_around(repository, manifest, resolve_target(target), wanted.globals_mode, as_new=as_new, again=again)
    if around.nothing_else:
        done = create_around(around, around.outside)
        return Outcome("restore", plan, f"{chosen.name}: {done} roles and settings created", 0)
    place = look_at_target(resolve_target(target), wanted.replace, manifest, as_new=as_new)
    sweep_scratch(place.maintenance)
    create_around(around, around.outside)
    compared = wanted.verify and chosen_plan.restore_verify
    if place.in_place:
        restored = restore_in_place(repository, chosen, manifest, place, verify=compared)
        create_around(around, around.own)
    else:
        restored = restore_and_swap(repository, chosen, manifest, place, verify=compared, own=around.own)
    certify_restore(
        plan=chosen_plan, backup=chosen, manifest=manifest, result=restored, target=place.database.address,
        compared=compared, started_at=started_at,
    )  # fmt: skip
    what = rows_of_tables(restored.summary.rows, len(restored.summary.tables))
    message = f"{chosen.name}: {what} restored to {place.database.address} in {human_seconds(restored.seconds)}"
    return Outcome("restore", plan, message, restored.summary.rows)
