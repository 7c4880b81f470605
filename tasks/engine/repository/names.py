"""Name the objects of a backup, and read a backup's moment from a name: nowhere else is a key put together."""

from __future__ import annotations

import re
from datetime import UTC, datetime

OBJECT = ".sql.gz"
MANIFEST = ".manifest.json"
REPORT = ".drill.json"
LATEST = "latest"  # instead of a name, the newest
_NAME = re.compile(r"backup_([0-9]{8}_[0-9]{6})\Z")


def name_at(moment: datetime) -> str:
    """The name of a backup begun at a moment: `backup_YYYYMMDD_HHMMSS`, UTC."""
    return f"backup_{moment.astimezone(UTC):%Y%m%d_%H%M%S}"


def taken_at(name: str) -> datetime | None:
    """The moment in a backup's name; None when it is no such name."""
    found = _NAME.match(name)
    try:
        return datetime.strptime(found[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def is_of_a_backup(file: str) -> bool:
    """Whether a file's name is one of the three that a backup has."""
    return any(file.endswith(kind) and taken_at(file.removesuffix(kind)) for kind in (OBJECT, MANIFEST, REPORT))
