"""Take one backup: dump, upload, commit, prune."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow, get_run_logger
from pydantic import BaseModel

from blocks.errors import PgRoundtripError
from blocks.plan import DEFAULT, resolve_plan
from flows.logs import log_plainly
from flows.prune import prune
from flows.run_names import named
from tasks.backup import commit_backup, dump_to_storage, inspect_source, name_backup, sweep_stale_uploads
from tasks.engine.catalog import OBJECT
from tasks.engine.manifest import Manifest
from tasks.reports import publish_backup

log_plainly()


class BackupResult(BaseModel):
    """What a backup made, for scripts: `pg-roundtrip backup --json`."""

    name: str
    key: str
    object_bytes: int
    raw_bytes: int
    rows: int
    tables: int
    sha256: str
    seconds: float


@flow(name="backup", flow_run_name=named("backup"))
def backup(plan: str = DEFAULT) -> BackupResult:
    """Back up a plan's database to its storage, then apply its retention policy.

    Args:
        plan: The name of the plan; `default` is the one that the environment describes.
    """
    the_plan = resolve_plan(plan, frozenset({"database", "storage"}))
    source = inspect_source(the_plan)
    name = name_backup(the_plan)
    sweep_stale_uploads(the_plan)
    begun = time.monotonic()
    manifest = dump_to_storage(the_plan, plan, source, name)
    seconds = time.monotonic() - begun
    commit_backup(the_plan, manifest)
    publish_backup(plan, manifest)
    try:
        prune(plan)
    except PgRoundtripError as error:
        # The backup is there; what could not be removed now is removed after the next one.
        get_run_logger().warning("The backup is done, but old ones could not be pruned: %s", error.sentence)
    return BackupResult(**_result(manifest, the_plan.storage.key(name + OBJECT), seconds))


def _result(manifest: Manifest, key: str, seconds: float) -> dict[str, Any]:
    shown = manifest.model_dump(include={"name", "object_bytes", "raw_bytes", "rows", "sha256"})
    return {**shown, "rows": manifest.rows, "tables": len(manifest.tables), "key": key, "seconds": round(seconds, 3)}
