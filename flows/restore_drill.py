"""Rehearse a restore and say what it proves."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas import State
from prefect.states import Completed, Failed

from blocks.errors import ObjectMissing, PgRoundtripError, StorageError
from blocks.plan import DEFAULT, resolve_plan
from flows.logs import log_plainly
from flows.run_names import named
from tasks.clock import utc_now
from tasks.drill import Rehearsal, choose_backup, rehearse_restore, report_on, store_report, sweep_scratch
from tasks.engine.catalog import Backup
from tasks.engine.manifest import DrillReport, Verdict
from tasks.reports import publish_drill

log_plainly()


@flow(name="restore-drill", flow_run_name=named("restore-drill"))
def restore_drill(plan: str = DEFAULT, backup: str | None = None) -> State[Any]:
    """Restore a backup into a database of its own, dump that again, and compare it with what was stored.

    Args:
        plan: The name of the plan; `default` is the one that the environment describes.
        backup: The backup to rehearse, by name; the plan's choice, or else the newest, when empty.
    """
    the_plan = resolve_plan(plan, frozenset({"drill", "storage"}))
    try:
        chosen = choose_backup(the_plan, backup)
    except StorageError as error:
        if isinstance(error, ObjectMissing):
            raise
        return Failed(name=Verdict.INCONCLUSIVE.value, message=error.sentence, data=_unknown(error))
    sweep_scratch(the_plan.drill_server)
    started, begun = utc_now(), time.monotonic()
    try:
        seen = rehearse_restore(the_plan, chosen)
    except PgRoundtripError as error:
        seen = Rehearsal(error=error)
    report = report_on(chosen, seen, started, time.monotonic() - begun)
    try:
        store_report(the_plan, report)
    except PgRoundtripError as error:
        # The verdict stands, whether or not the bucket can be told.
        get_run_logger().warning("The drill report is kept in Prefect alone: %s", error.sentence)
    publish_drill(plan, report)
    return _final_state(report)


def _unknown(error: PgRoundtripError) -> DrillReport:
    """The report of a drill that could not even look at the bucket."""
    none = Backup("", utc_now(), "", 0, has_manifest=False, has_report=False)
    return report_on(none, Rehearsal(error=error), utc_now(), 0.0)


def _final_state(report: DrillReport) -> State[Any]:
    """The run's state carries the verdict, so that the history reads at a glance."""
    if report.verdict is Verdict.PROVEN:
        message = f"{report.backup} was restored in {report.restore_seconds:.1f} s and is what was dumped"
        return Completed(name=report.verdict.value, message=message, data=report)
    return Failed(name=report.verdict.value, message=f"{report.backup}: {report.cause}", data=report)
