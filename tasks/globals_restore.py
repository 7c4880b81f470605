"""The steps that create a backup's roles and settings on a server, after they have shown a plan of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blocks.errors import RestoreError
from blocks.sql.server import Server
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.companion import fetched
from tasks.engine.restore.globals_apply import Result, carry_out, look_around
from tasks.engine.restore.globals_plan import Step, plan_globals, plan_own, summed_up
from tasks.engine.restore.target import maintenance_of
from tasks.engine.wording import visible
from tasks.orchestration import get_run_logger, task
from tasks.retries import ONCE, QUICK

_NO_GLOBALS = "restore without --globals; `pg-roundtrip list --json` shows which backups have them, in globals_bytes"
_MOST_LINES = 2_000


@dataclass(frozen=True)
class Around:
    """What is planned on a server: roles and tablespaces, and what the restored database gets afterwards."""

    server: Server | None = None
    outside: tuple[Step, ...] = ()
    own: tuple[Step, ...] = ()
    nothing_else: bool = False


def plan_around(
    repository: Repository, manifest: Manifest | None, target: Server, mode: str, *, as_new: bool = False, again: bool = False
) -> Around:  # fmt: skip
    """Plan what `mode` asks for, and show it before anything is done; nothing for `none`.

    `as_new`: the database gets all that is its own, as if there were none of its name. `again`: the server's roles and
    tablespaces were shown before, so that only those are that will be created now.
    """
    if mode == "none":
        return Around()
    around = plan_on_server(repository, manifest, target, own=mode.startswith("too"), as_new=as_new)
    steps = (*(step for step in around.outside if step.action == "create" or not again), *around.own)
    for step in steps[:_MOST_LINES]:
        get_run_logger().info("Plan: %s", step)
    if len(steps) > _MOST_LINES:
        get_run_logger().info("Plan: … and %s more", len(steps) - _MOST_LINES)
    if "plan" in mode:
        return Around(nothing_else=True)
    return replace(around, nothing_else=mode == "only")


@task("plan roles and settings", QUICK)
def plan_on_server(
    repository: Repository, manifest: Manifest | None, target: Server, *, own: bool, as_new: bool
) -> Around:
    """Compare with what the target's server has; with `own`, also plan what the restored database gets.

    Raises RestoreError for a backup that has no roles and settings.
    """
    if manifest is None or manifest.globals is None:
        why = bounded([manifest.globals_left_out])[0] if manifest else ""
        raise RestoreError(f"the backup has no roles and settings{why and f': {why}'}", hint=_NO_GLOBALS)
    server, found = maintenance_of(target), fetched(repository, manifest)
    there = look_around(server, "" if as_new else target.database)
    outside = tuple(plan_globals(found.statements, there))
    given = tuple(plan_own(found.statements, target.database, there)) if own else ()
    get_run_logger().info("Roles and settings of %s: %s", manifest.name, summed_up([*outside, *given]))
    return Around(server, outside, given)


def create_around(around: Around, steps: Sequence[Step]) -> int:
    """Carry out a part of a plan; returns how many things were created."""
    return create_on_server(around.server, steps) if around.server and steps else 0


@task("create roles and settings", ONCE)
def create_on_server(server: Server, steps: Sequence[Step]) -> int:
    """Create what is missing; warn of each statement that the server refused."""
    made: list[Result] = []
    try:
        carry_out(server, steps, made.append)
    finally:
        done = tell_of(made)
    return done


def tell_of(made: Sequence[Result]) -> int:
    """Say what was created, and warn of what was not; returns how many things were created."""
    for result in (one for one in made if one.said):
        how = "Created" if result.done else "Not created:"
        get_run_logger().warning("%s %s [%s]", how, result.step.statement.subject, visible(result.said))
    done = sum(result.done for result in made)
    if made:
        get_run_logger().info("Created %s of %s: roles and settings that were missing", done, len(made))
    return done
