"""The steps that concern roles and the database's own settings: read them beside a dump, and prove them in a drill."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, DrillTimedOut, PgRoundtripError, RestoreError, StatementRefused
from blocks.sql.restore_session import OutOfTime
from blocks.sql.server import Server
from tasks.engine.drill.globals_rehearsal import not_rehearsed, rehearse_globals
from tasks.engine.drill.place import Place
from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.dump.globals import Globals, missing_roles, packed, read_globals
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.checks import GLOBALS as GLOBALS_CHECK
from tasks.engine.repository.checks import counted, failed, not_possible, timed
from tasks.engine.repository.manifest import Check, Manifest
from tasks.engine.repository.names import GLOBALS
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.companion import fetched
from tasks.engine.restore.globals_apply import Result, carry_out, look_around
from tasks.engine.restore.globals_plan import Step, plan_globals, plan_own, summed_up
from tasks.engine.restore.target import maintenance_of
from tasks.engine.stream.record import Source
from tasks.engine.wording import visible
from tasks.orchestration import get_run_logger, task
from tasks.retries import ONCE, QUICK, READING

_NO_GLOBALS = "restore without --globals; `pg-roundtrip list --json` shows which backups have them, in globals_bytes"

_MOST_LINES, _MOST_NAMES = 2_000, 20


@dataclass(frozen=True)
class Beside:
    """What comes with a backup: roles and settings, or the reason why not."""

    found: Globals | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Around:
    """What is planned on a server: roles and tablespaces, and what the restored database gets afterwards."""

    server: Server | None = None
    outside: tuple[Step, ...] = ()
    own: tuple[Step, ...] = ()
    nothing_else: bool = False


@task("read roles and settings", QUICK)
def read_beside(plan: Plan, source: Source, before: Manifest | None) -> Beside:
    """Read them before the dump, so that a plan that requires them fails early.

    Warn once if they can't be read: as long as the backup before says the same, only inform.
    """
    if plan.dump.globals is False:
        return Beside(left_out="BACKUP_GLOBALS is false")
    try:
        found = read_globals(plan.source, source.client)
    except PgRoundtripError as error:
        if error.transient or plan.dump.globals:
            raise
        reason = bounded([error.sentence])[0]
        known = before is not None and before.globals_left_out == reason
        say = get_run_logger().info if known else get_run_logger().warning
        say("%s\nHINT: the backup is made without them; %s", reason, error.hint)
        return Beside(left_out=reason)
    for warning in found.warnings:
        get_run_logger().warning("Not in the backup: %s", warning)
    return Beside(found)


@task("pack roles and settings", QUICK)
def with_globals(plan: Plan, source: Source, manifest: Manifest, beside: Beside) -> tuple[Manifest, bytes]:
    """Add them to a manifest, and return the object to store beside the backup; empty if there is none.

    Read them again if the dump names a role that was created since; if that fails, what was read before is stored.
    """
    if beside.found is None:
        return manifest.model_copy(update={"globals_left_out": beside.left_out}), b""
    found = beside.found
    if missing := missing_roles(manifest, found):
        try:
            found = read_globals(plan.source, source.client)
        except PgRoundtripError as error:
            names = visible(", ".join(missing[:_MOST_NAMES]))
            get_run_logger().warning(
                "Could not read roles that were created during the dump: %s [%s]", names, error.sentence
            )
    made = packed(found, manifest.name + GLOBALS, manifest.database)
    get_run_logger().info(
        "With %s, %s", counted(made.record.roles, "role"), counted(made.record.settings, "setting of a role or the database", "settings of roles and the database")
    )  # fmt: skip
    warnings = bounded([*manifest.warnings, *found.warnings])
    return manifest.model_copy(update={"globals": made.record, "warnings": warnings}), made.data


def prove_globals(plan: Plan, repository: Repository, place: Place | None, seen: Rehearsal, begun: float) -> Rehearsal:
    """Add to a drill what it shows about roles and settings; a fault of ours says nothing about them."""
    if seen.error:
        return seen
    check = not_rehearsed(seen.manifest, seen.place)
    if not check:
        assert seen.manifest
        assert place
        try:
            check = rehearse_beside(plan, repository, seen.manifest, place, begun)
        except BackupDamaged as error:
            check = failed(GLOBALS_CHECK, error.context)
        except PgRoundtripError as error:
            check = not_possible(GLOBALS_CHECK, error.sentence)
            # Nobody knows what such a backup would do elsewhere: it is not PROVEN.
            seen.error = error if isinstance(error, StatementRefused) else None
    seen.checks.append(check)
    return seen


@task("rehearse roles and settings", READING)
def rehearse_beside(plan: Plan, repository: Repository, manifest: Manifest, place: Place, begun: float) -> Check:
    """Restore them on a throwaway server of their own, within the drill's time limit, which counts from `begun`."""
    get_run_logger().info("Restoring roles and settings of %s into a throwaway server of their own", manifest.name)
    left_s = plan.drill.timeout_s - (time.monotonic() - begun)
    if left_s <= 0:
        raise DrillTimedOut
    since = time.monotonic()
    assert place.client
    try:
        check = rehearse_globals(fetched(repository, manifest), manifest, place.client, left_s, place.pristine)
    except OutOfTime:
        raise DrillTimedOut from None
    return timed([check], time.monotonic() - since)[0]


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
