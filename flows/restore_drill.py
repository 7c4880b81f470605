"""Rehearse a restore and report what it proves."""

from __future__ import annotations

import time
from typing import Any

from blocks.config import DEFAULT
from blocks.config.load import Need
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan
from blocks.errors import ConfigurationError, ObjectMissing, PgRoundtripError, StorageError
from flows.runs.hooks import with_hooks
from flows.runs.logs import log_plainly
from flows.runs.parameters import BackupOrEmpty, PlanName
from flows.runs.wrapping import named, newest_slot_only, run, with_final_state
from flows.whole_server import drill_databases
from tasks.clock import utc_now
from tasks.drill import (
    choose_backup,
    choose_drill_place,
    compare_restore_time,
    read_own_queries,
    rehearse_restore,
    store_report,
    sweep_place,
)
from tasks.engine.drill.place import for_two_servers
from tasks.engine.drill.query_file import Query
from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.drill.report import error_of, report_on
from tasks.engine.drill.veiled import veiled
from tasks.engine.repository import checks as checklist
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.checks import not_possible
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.names import LATEST
from tasks.engine.repository.repository import Repository
from tasks.evidence import certify_drill
from tasks.globals_proof import prove_globals
from tasks.keys import find_key, repository_of
from tasks.orchestration import flow, get_run_logger
from tasks.outcome import Outcome
from tasks.places import choose_drilled
from tasks.reports import drill_sentence, publish_catalog, publish_drill, verdict_line

log_plainly()

_NEEDS: frozenset[Need] = frozenset({"drill", "storage"})
# What a proven backup can be warned of.
_ODD = (checklist.ANOMALIES, checklist.RESTORE_TIME)


@flow(name="restore-drill", flow_run_name=named("restore-drill"), validate_parameters=False)
@newest_slot_only
@with_final_state
@with_hooks
def restore_drill(plan: PlanName = DEFAULT, backup: BackupOrEmpty = "") -> Outcome[DrillReport]:
    """Restore a backup into a separate place, dump that again, and compare it with what was stored.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
        backup: Which backup: its name, as in the catalog, or `latest` for the newest; the plan's choice, or else the newest, when empty.
    """
    chosen_plan = resolve_plan(plan, _NEEDS)
    if chosen_plan.databases:
        several: Outcome[Any] = drill_databases(chosen_plan, backup, lambda member: run(drill_member, member, backup))
        return several  # of all databases, the result is another: SetDrilled
    return _drill(chosen_plan, backup)


@flow(name="drill-member", flow_run_name=named("restore-drill"), validate_parameters=False)
@with_final_state
def drill_member(plan: PlanName, backup: BackupOrEmpty = "") -> Outcome[DrillReport]:
    """Drill one of the databases of a server, as a part of a drill of several."""
    return _drill(resolve_plan(plan, _NEEDS), backup)


def _drill(whole_plan: Plan, backup: str) -> Outcome[DrillReport]:
    chosen_plan, destination = choose_drilled(whole_plan, backup)
    plan, repository = chosen_plan.name, repository_of(chosen_plan)
    queries = read_own_queries(chosen_plan)
    try:
        chosen = choose_backup(chosen_plan, repository, backup)
    except StorageError as error:
        if isinstance(error, ObjectMissing):
            raise
        if not error.logged:
            get_run_logger().error("%s", error)
        return _outcome(plan, _unknown(error).model_copy(update={"destination": destination}))
    started, begun = utc_now(), time.monotonic()
    seen = _rehearse(chosen_plan, repository, chosen, queries, begun)
    seen.checks += compare_restore_time(chosen_plan, repository, seen)
    # The age limit does not apply to a backup that was chosen by name.
    by_name = backup != LATEST and (backup or chosen_plan.drill.backup_file)
    limit = None if by_name else chosen_plan.drill.max_age_s
    report = report_on(chosen, seen, started, time.monotonic() - begun, limit)
    report = report.model_copy(update={"destination": destination})
    _log(report, seen)
    if chosen.encrypted:
        report = veiled(report, seen.manifest, repository.keys)
    stored = _keep(plan, repository, report)
    certify_drill(chosen_plan, chosen, seen, report, stored)
    return _outcome(plan, report)


def _log(report: DrillReport, seen: Rehearsal) -> None:
    if complaint := error_of(report, seen.error):
        get_run_logger().error("%s", complaint)
    else:
        get_run_logger().info("%s: %s", verdict_line(report), drill_sentence(report))
        for warning in report.warnings:
            get_run_logger().warning("Not in the backup: %s", warning)
        for check in (c for c in report.checks if c.result == "warning" and c.name in _ODD):
            get_run_logger().warning("%s: %s", check.name.capitalize(), check.evidence)


def _rehearse(plan: Plan, repository: Repository, chosen: Backup, queries: list[Query], begun: float) -> Rehearsal:
    """Rehearse the restore; an error that prevents it becomes part of the result, unless it is in the configuration."""
    place = None
    try:
        find_key(repository, chosen)
        place = choose_drill_place(plan, repository, chosen)
        sweep_place(place)
        with for_two_servers(place, chosen) as place:
            seen = rehearse_restore(plan, repository, chosen, place, queries, begun)
            return prove_globals(plan, repository, place, seen, begun)
    except ConfigurationError:
        raise
    except PgRoundtripError as error:
        return Rehearsal(place=place.kind if place else "", error=error)


def _keep(plan: str, repository: Repository, report: DrillReport) -> str:
    """Store and publish the report; return its file, empty if the bucket cannot store it: the verdict stands."""
    stored = ""
    try:
        stored = store_report(repository, report)
    except PgRoundtripError as error:
        get_run_logger().warning("The drill report is not in the bucket: %s", error.sentence)
    publish_drill(plan, report)
    publish_catalog(plan, repository, report=report)
    return stored


def _unknown(error: PgRoundtripError) -> DrillReport:
    """Return the report of a drill that could not even read the bucket."""
    none = Backup("", utc_now(), "", 0, has_manifest=False, has_report=False)
    checks = [not_possible(checklist.OBJECT, error.sentence), not_possible(checklist.AGE, "no backup was looked at")]
    return report_on(none, Rehearsal(checks=checks, error=error), utc_now(), 0.0)


def _outcome(plan: str, report: DrillReport) -> Outcome[DrillReport]:
    sentence = drill_sentence(report)
    return Outcome(
        "restore-drill", plan, sentence, report, verdict=report.verdict, code=report.code, without=report.without
    )
