"""Look at a plan's bucket and tell what is overdue, unproven, or works again; for workers, where no service looks."""

from __future__ import annotations

from pydantic import BaseModel

from blocks.config import DEFAULT
from blocks.config.resolve import resolve_plan
from blocks.config.values import FLOWS
from flows.runs.logs import log_plainly
from flows.runs.parameters import PlanName
from flows.runs.telling import configured
from flows.runs.wrapping import named, newest_slot_only, with_final_state
from tasks.engine.repository.checks import counted
from tasks.notify import look
from tasks.orchestration import flow
from tasks.outcome import Outcome

log_plainly()


class WatchResult(BaseModel):
    """What a look told, and the channels that it could not tell."""

    messages: int
    failed: list[str]


@flow(name="watch", flow_run_name=named("watch"), validate_parameters=False)
@newest_slot_only
@with_final_state
def watch(plan: PlanName = DEFAULT) -> Outcome[WatchResult]:
    """Look whether backups and drills are made as planned, and tell what changed.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
    """
    chosen_plan, settings = resolve_plan(plan, frozenset({"storage"})), configured()
    if settings is None:
        return Outcome(
            "watch", plan, "No channel is configured, so nobody is told anything", WatchResult(messages=0, failed=[])
        )
    told = look(settings, chosen_plan, FLOWS)
    sentence = f"{counted(told.messages, 'message')} sent" + (
        f"; not told by {', '.join(told.failed)}" if told.failed else ""
    )
    return Outcome("watch", plan, sentence, WatchResult(messages=told.messages, failed=sorted(told.failed)))
