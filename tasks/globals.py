"""The steps that read roles and the database's own settings beside a dump."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.config.plan import Plan
from blocks.errors import PgRoundtripError
from tasks.engine.dump.globals import Globals, missing_roles, packed, read_globals, sealed_companion
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.checks import counted
from tasks.engine.repository.keys import Keys
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.names import companion_file
from tasks.engine.repository.outline import Outline
from tasks.engine.stream.record import Source
from tasks.engine.wording import visible
from tasks.orchestration import get_run_logger, task
from tasks.retries import QUICK

_MOST_NAMES = 20


@dataclass(frozen=True)
class Beside:
    """What comes with a backup: roles and settings, or the reason why not."""

    found: Globals | None = None
    left_out: str = ""


@task("read roles and settings", QUICK)
def read_beside(plan: Plan, source: Source, before: Outline | None) -> Beside:
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
        # Why the one before has none is sealed, if it is encrypted.
        known = before is not None and (
            not before.has_globals if before.encrypted else before.globals_left_out == reason
        )
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
    made = packed(found, companion_file(manifest.name, encrypted=bool(plan.encryption)), manifest.database)
    if plan.encryption:
        made = sealed_companion(made, Keys(plan.encryption))
    get_run_logger().info(
        "With %s, %s", counted(made.record.roles, "role"), counted(made.record.settings, "setting of a role or the database", "settings of roles and the database")
    )  # fmt: skip
    warnings = bounded([*manifest.warnings, *found.warnings])
    return manifest.model_copy(update={"globals": made.record, "warnings": warnings}), made.data
