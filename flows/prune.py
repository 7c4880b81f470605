"""Apply the retention policy: decide about every backup, then remove those that are not kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from blocks.config import DEFAULT
from blocks.config.destinations import PRIMARY
from blocks.config.plan import Plan
from blocks.config.resolve import resolve_plan
from blocks.errors import PgRoundtripError
from flows.runs.hooks import with_hooks
from flows.runs.logs import log_plainly
from flows.runs.parameters import PlanName
from flows.runs.wrapping import named, newest_slot_only, run, with_final_state
from flows.whole_server import prune_databases, together
from tasks.destinations import plans_at
from tasks.engine.repository.catalog import Listing
from tasks.engine.repository.retention import PrunePlan
from tasks.keys import repository_of
from tasks.orchestration import flow, get_run_logger
from tasks.outcome import Outcome
from tasks.prune import plan_retention, remove_all, remove_orphans, tell_orphans
from tasks.reports import publish_catalog, publish_retention, retention_sentence
from tasks.sweep import sweep_stale_uploads

log_plainly()


@dataclass(frozen=True)
class Before:
    """What the backup that this prune concludes has done, by place: listed it, and swept uploads of these keys.

    It does without the places that were `away`.
    """

    listings: Mapping[str, Listing]
    swept: Mapping[str, Collection[str]]
    away: Collection[str] = ()


# Not a parameter of the flow: that would be a field in its form.
_backup: ContextVar[Before | None] = ContextVar("backup", default=None)


@contextmanager
def continuing(before: Before) -> Iterator[None]:
    """Let a prune build on the backup before it: it need not sweep, nor list the bucket again."""
    token = _backup.set(before)
    try:
        yield
    finally:
        _backup.reset(token)


@flow(name="prune", flow_run_name=named("prune"), validate_parameters=False)
@newest_slot_only
@with_final_state
@with_hooks
def prune(plan: PlanName = DEFAULT, dry_run: bool = False, even_if_stale: bool = False) -> Outcome[PrunePlan]:
    """Remove the backups that a plan's retention policy no longer keeps.

    The newest backup and the newest PROVEN one stay, however old; nothing is removed while backups have stopped.

    Args:
        plan: Which plan: the name of a saved Backup Plan block, or `default` for the one that the environment describes.
        dry_run: Remove nothing; only publish what would be removed, and why.
        even_if_stale: Remove old backups even if no recent one exists.
    """
    chosen_plan = resolve_plan(plan, frozenset({"storage"}))
    if chosen_plan.databases:

        def prune_one(member: str) -> PrunePlan:
            return run(prune_member, member, dry_run=dry_run, even_if_stale=even_if_stale)

        return prune_databases(chosen_plan, prune_one, dry_run=dry_run)
    return _prune(chosen_plan, dry_run=dry_run, even_if_stale=even_if_stale)


@flow(name="prune-member", flow_run_name=named("prune"), validate_parameters=False)
@with_final_state
def prune_member(plan: PlanName, dry_run: bool = False, even_if_stale: bool = False) -> Outcome[PrunePlan]:
    """Apply the retention policy to one of the databases of a server."""
    return _prune(resolve_plan(plan, frozenset({"storage"})), dry_run=dry_run, even_if_stale=even_if_stale)


def _prune(chosen_plan: Plan, *, dry_run: bool, even_if_stale: bool) -> Outcome[PrunePlan]:
    backup = _backup.get()
    away = backup.away if backup else ()

    def prune_place(plan: Plan) -> PrunePlan:
        said = plan.place if chosen_plan.copies else ""
        return _prune_place(plan, backup, said, dry_run=dry_run, even_if_stale=even_if_stale)

    decided = in_each_place(chosen_plan, prune_place, away) if chosen_plan.copies else prune_place(chosen_plan)
    return Outcome("prune", chosen_plan.name, retention_sentence(decided, dry_run=dry_run), decided)


def _prune_place(
    chosen_plan: Plan, backup: Before | None, said: str, *, dry_run: bool, even_if_stale: bool
) -> PrunePlan:
    """Apply the policy of one place to what is in it, by its own evidence; of several, the log says which: `said`."""
    repository, place = repository_of(chosen_plan), chosen_plan.place
    plan = chosen_plan.name if place == PRIMARY else f"{chosen_plan.name} ({place})"
    listing = backup.listings.get(place) if backup else None
    decided = plan_retention(chosen_plan, repository, listing, said, even_if_stale=even_if_stale)
    swept: Collection[str] = ()
    if not dry_run:
        swept = backup.swept.get(place, ()) if backup else sweep_stale_uploads(repository)
        decided = remove_all(repository, decided, said)
    if decided.orphans and dry_run:
        tell_orphans(repository, decided.orphans, said)
    elif decided.orphans:
        remove_orphans(repository, decided.orphans, swept, said)
    publish_retention(plan, decided, dry_run=dry_run)
    publish_catalog(plan, repository, decided.remaining(dry_run=dry_run))
    return decided


def in_each_place(plan: Plan, prune_place: Callable[[Plan], PrunePlan], away: Collection[str]) -> PrunePlan:
    """Apply the policy of each place by itself; raises the first error once all others are done."""
    done, errors = dict[str, PrunePlan](), dict[str, PgRoundtripError]()
    for name, there in plans_at(plan).items():
        if name in away:
            continue
        try:
            done[name] = prune_place(there)
        except PgRoundtripError as error:
            get_run_logger().warning("%s could not be pruned: %s\nHINT: %s", name, error.sentence, error.hint)
            errors[name] = error
    if errors:
        raise next(iter(errors.values()))
    return together(done)
