"""Look at a plan's bucket and tell what is overdue, unproven, or works again; for workers, where no service looks."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from blocks.config import DEFAULT
from blocks.config.resolve import resolve_plan
from blocks.config.settings import NotificationSettings
from blocks.config.values import FLOWS
from blocks.errors import PgRoundtripError
from flows.runs.logs import log_plainly
from flows.runs.parameters import PlanName, PlanNames
from flows.runs.telling import configured
from flows.runs.wrapping import named, newest_slot_only, with_final_state
from tasks.engine.repository.checks import counted
from tasks.notify import look
from tasks.orchestration import flow, get_run_logger
from tasks.outcome import Outcome

log_plainly()


class WatchResult(BaseModel):
    """What a look told, and the channels that it could not tell."""

    messages: int
    failed: list[str]


@flow(name="watch", flow_run_name=named("watch"), validate_parameters=False)
@newest_slot_only
@with_final_state
def watch(plan: PlanName = DEFAULT, plans: PlanNames = ()) -> Outcome[WatchResult]:
    """Look whether backups and drills are made as planned, and tell what changed.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
        plans: Several plans instead, one after the other.
    """
    settings = configured()
    if settings is None:
        return Outcome(
            "watch", plan, "No channel is configured, so nobody is told anything", WatchResult(messages=0, failed=[])
        )
    if not plans:
        found = _look_at(plan, settings)
        return Outcome("watch", plan, _said(found), found)
    return _look_at_all(plan, plans, settings)


def _look_at(plan: str, settings: NotificationSettings) -> WatchResult:
    told = look(settings, resolve_plan(plan, frozenset({"storage"})), FLOWS)
    return WatchResult(messages=told.messages, failed=sorted(told.failed))


def _look_at_all(name: str, plans: Sequence[str], settings: NotificationSettings) -> Outcome[WatchResult]:
    """Look at each plan, whatever is wrong with others; raises the first error if no plan could be looked at."""
    found, errors = list[WatchResult](), dict[str, PgRoundtripError]()
    for plan in plans:
        try:
            found.append(_look_at(plan, settings))
        except PgRoundtripError as error:
            errors[plan] = error
            get_run_logger().warning("Plan %s: %s", plan, error)
    if errors and not found:
        raise next(iter(errors.values()))
    everything = WatchResult(
        messages=sum(one.messages for one in found), failed=sorted({channel for one in found for channel in one.failed})
    )
    unseen = f"; {len(errors)} of {counted(len(plans), 'plan')} could not be looked at" if errors else ""
    return Outcome("watch", name, _said(everything) + unseen, everything)


def _said(found: WatchResult) -> str:
    return f"{counted(found.messages, 'message')} sent" + (
        f"; not told by {', '.join(found.failed)}" if found.failed else ""
    )
