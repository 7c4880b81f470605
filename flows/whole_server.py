"""Do for each database of a server what is done for one, and say how many of them it went well for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from blocks.config.databases import folder_for
from blocks.config.plan import Plan
from blocks.errors import SetIncomplete
from flows.runs.members import Ended, each
from flows.runs.wrapping import say_when_next
from tasks.clock import utc_now
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.sets import BackupSet, SetMember
from tasks.engine.wording import visible
from tasks.orchestration import get_run_logger
from tasks.outcome import Outcome
from tasks.sets import failures_in_words, list_databases, remove_forgotten, store_set

if TYPE_CHECKING:
    from flows.backup import BackupResult


class SetResult(BaseModel):
    """The result of a backup of a whole server, for scripts."""

    set: str
    done: int
    databases: list[dict[str, Any]]
    left_alone: list[dict[str, str]]


def back_up_databases(plan: Plan, back_up: Callable[[str], BackupResult]) -> Outcome[SetResult]:
    """List the databases, back each of them up, and store what was taken; raises SetIncomplete if some failed.

    `back_up` takes the name of a member's plan.
    """
    assert plan.databases
    started_at, found = utc_now(), list_databases(plan)
    many = len(found.members)

    def one(database: str) -> BackupResult:
        get_run_logger().info("Backing up %s (%d of %d)", visible(database), found.members.index(database) + 1, many)
        return back_up(plan.member(database).name)

    ends = each(found.members, one, plan.databases.at_once)
    members = [_member(database, end) for database, end in zip(found.members, ends, strict=True)]
    members += [_missing(name) for name in found.missing]
    made = store_set(plan, started_at, found, members)
    remove_forgotten(plan)
    say_when_next("backup")
    if made.failed:
        raise SetIncomplete(
            failures_in_words(made.failed), message=f"{made.counted} databases are backed up ({made.name})"
        )
    return Outcome("backup", plan.name, f"{made.name}: {made.counted} databases are backed up", result_of(made))


def _member(database: str, end: Ended[BackupResult]) -> SetMember:
    folder = folder_for(database)
    if end.result is None:
        assert end.error
        return SetMember(database=database, folder=folder, error=bounded([end.error.sentence])[0], code=end.error.code)
    made = end.result
    return SetMember(
        database=database, folder=folder, backup=made.name, rows=made.rows, object_bytes=made.object_bytes,
        has_globals=made.has_globals,
    )  # fmt: skip


def _missing(name: str) -> SetMember:
    return SetMember(database=name, folder="", error="there is no database of this name", code=SetIncomplete.code)


def result_of(made: BackupSet) -> SetResult:
    """Return what scripts get of a set."""
    return SetResult(
        set=made.name, done=len(made.done), databases=[member.model_dump() for member in made.members],
        left_alone=[one.model_dump() for one in made.left_alone],
    )  # fmt: skip
