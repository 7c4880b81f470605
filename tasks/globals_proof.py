"""The steps that prove a backup's roles and settings in a drill."""

from __future__ import annotations

import time

from blocks.config.plan import Plan
from blocks.errors import BackupDamaged, DrillTimedOut, PgRoundtripError, StatementRefused
from blocks.sql.restore_session import OutOfTime
from tasks.engine.drill.globals_rehearsal import not_rehearsed, rehearse_globals
from tasks.engine.drill.place import Place
from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.repository.checks import GLOBALS as GLOBALS_CHECK
from tasks.engine.repository.checks import failed, not_possible, timed
from tasks.engine.repository.manifest import Check, Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.companion import fetched
from tasks.orchestration import get_run_logger, task
from tasks.retries import READING


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
