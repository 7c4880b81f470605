"""Copy to each place what it lacks of a plan's backups."""

from __future__ import annotations

from pydantic import BaseModel

from blocks.config import DEFAULT
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan
from blocks.errors import CopiesMissing, ObjectMissing
from flows.runs.logs import log_plainly
from flows.runs.parameters import PlanName
from flows.runs.wrapping import named, newest_slot_only, with_final_state
from tasks.copies import IN_A_BACKUP, Copied, catch_up, copy_sets, look_at_places, require_copies
from tasks.engine.repository.checks import counted
from tasks.engine.repository.names import without_ending
from tasks.engine.repository.places import Places
from tasks.orchestration import flow
from tasks.outcome import Outcome
from tasks.sets import members_anywhere

log_plainly()


class OneCopied(BaseModel):
    """A backup that was copied, and where to."""

    backup: str
    plan: str
    to: str
    object_bytes: int


class NotCopied(BaseModel):
    """A backup that could not be copied, or a place that could not be looked at, and why."""

    backup: str
    plan: str
    to: str
    reason: str
    code: str


class CopyResult(BaseModel):
    """What a run copied, for scripts: `pg-roundtrip copy --json`."""

    copied: list[OneCopied] = []
    failed: list[NotCopied] = []


@flow(name="copy", flow_run_name=named("copy"), validate_parameters=False)
@newest_slot_only
@with_final_state
def copy(plan: PlanName = DEFAULT, backup: str = "") -> Outcome[CopyResult]:
    """Copy what is behind: backups that some place of the plan lacks, checked against their manifests on the way.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
        backup: Only this backup, by its name; all that is missing when left out.
    """
    chosen_plan = resolve_plan(plan, frozenset({"storage"}))
    require_copies(chosen_plan)
    plans = [member.plan for member in members_anywhere(chosen_plan)] if chosen_plan.databases else [chosen_plan]
    result, known = CopyResult(), False
    for one in plans:
        places = look_at_places(one)
        known = known or _has(places, backup)
        _add(result, one, places, catch_up(one, places, backup))
    if backup and not known:
        raise ObjectMissing(backup)
    if chosen_plan.databases:
        copy_sets(chosen_plan)
    said = f"{counted(len(result.copied), 'backup')} copied"
    if result.failed:
        first = result.failed[0]
        raise CopiesMissing(
            f"{first.to}: {first.reason}", message=f"{said}; not all places have all backups", facts=result
        )
    return Outcome("copy", plan, said, result)


def catch_up_after(plan: Plan, away: tuple[str, ...]) -> str:
    """Copy, after a backup, the newest of what a place lacks; a failure is only a warning. Returns what to say of it."""
    places = look_at_places(plan, away)
    made = catch_up(plan, places, most=IN_A_BACKUP)
    done = f"{counted(len(made.done), 'older one')} copied" if made.done else ""
    left = f"{made.left} not yet" if made.left else ""
    return ", ".join(filter(None, (done, left)))


def _has(places: Places, backup: str) -> bool:
    name = without_ending(backup)
    return any(b.name == name for folder in places.folders.values() for b in folder.backups)


def _add(result: CopyResult, plan: Plan, places: Places, made: Copied) -> None:
    result.copied += [
        OneCopied(backup=one.backup.name, plan=plan.name, to=to, object_bytes=one.backup.object_bytes)
        for to, one in made.done
    ]
    failed = [*((to, "", error) for to, error in places.away.items()), *made.failed]
    result.failed += [
        NotCopied(backup=name, plan=plan.name, to=to, reason=error.sentence, code=error.code)
        for to, name, error in failed
    ]
