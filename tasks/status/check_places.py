"""Check each place that a plan's backups go to, and that no two of them are one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

from blocks.config.destinations import PRIMARY
from blocks.config.plan import Plan
from blocks.disk.folder_store import FolderStore
from blocks.errors import PgRoundtripError
from blocks.stores import Storage
from tasks.engine.wording import human_bytes
from tasks.status.findings import Finding

_ALIKE = "what is lost with one is lost with the other: keep the copy in another bucket, better with another provider"
# One name: where nothing may be deleted, one object stays, however often this is done.
WRITTEN = "check_written_by_pg-roundtrip.txt"
_UNMOUNTED = "if the disk may be unmounted, name a folder on it: pg-roundtrip then notices that it is missing"


def check_places(plan: Plan, check: Callable[[Plan], list[Finding]]) -> list[Finding]:
    """Check each place by itself; what is found in a copy has its name in front."""
    findings = list[Finding]()
    for place in plan.destinations:
        for found in check(plan.at(place)):
            name = found.name.replace("bucket", "disk") if isinstance(place.storage, FolderStore) else found.name
            findings.append(replace(found, name=name if place.name == PRIMARY else f"{place.name}: {name}"))
    return [*findings, *_alike(plan)]


def check_disk(storage: FolderStore) -> Iterator[Finding]:
    """Say how much space a folder's disk has left."""
    try:
        space = shutil.disk_usage(storage.root)
    except OSError:
        return  # what is wrong is said by whatever writes there
    yield Finding("disk space", "ok", f"{human_bytes(space.free)} of {human_bytes(space.total)} are free")
    if os.path.ismount(storage.root):
        yield Finding("disk", "ok", f"{storage.root} is where a disk is mounted; {_UNMOUNTED}")


def _alike(plan: Plan) -> Iterator[Finding]:
    """Warn if what was written to one place is in another, whatever their addresses say."""
    for number, one in enumerate(plan.destinations):
        for other in plan.destinations[number + 1 :]:
            if _is_seen(one.storage, other.storage):
                text = f"{one.name} and {other.name} are in the same bucket, or on the same disk"
                yield Finding(other.name, "warning", text, _ALIKE)


def _is_seen(one: Storage, other: Storage) -> bool:
    """Whether an object appears in both at once."""
    key, content = one.key(WRITTEN), os.urandom(16).hex().encode()
    try:
        one.put(key, content, "text/plain")
        try:
            return other.get(key) == content
        finally:
            one.remove(key)
    except PgRoundtripError:
        return False
