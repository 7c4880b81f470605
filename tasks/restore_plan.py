"""Say what a restore of a set would do with its databases, without doing it."""

from __future__ import annotations

from blocks.config.resolve import resolve_target
from blocks.errors import DatabaseError, TargetNotEmpty
from tasks.engine.repository.checks import counted
from tasks.engine.repository.sets import SetMember
from tasks.engine.restore.target import inspect_target
from tasks.engine.wording import human_bytes, visible
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK


@task("plan the database", QUICK)
def plan_database(member: SetMember, target: str) -> None:
    """Log what would become of one database of a set; `target` is the name of its server, `/` and its folder.

    A database that isn't empty is not compared here: that takes a dump of it.
    """
    name, what = (
        visible(member.database),
        f"{member.backup}, {counted(member.rows, 'row')}, {human_bytes(member.object_bytes)}",
    )
    try:
        found = inspect_target(resolve_target(target), replace=False, as_new=True)
    except TargetNotEmpty:
        said = f"skip database {name} if it is {member.backup} already; anything else in it stays, and counts as failed"
    except DatabaseError as error:
        said = f"fail with database {name}: {error.sentence}"
    else:
        verb = "create" if not found.exists else "fill the empty" if found.in_place else "replace the empty"
        said = f"{verb} database {name}: {what}"
    get_run_logger().info("Plan: %s", said)
