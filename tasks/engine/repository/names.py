"""Build the object names of a backup and parse a backup's time from one: the only place where keys are put together."""

from __future__ import annotations

import re
from datetime import UTC, datetime

OBJECT = ".sql.gz"
MANIFEST = ".manifest.json"
REPORT = ".drill.json"
LATEST = "latest"  # accepted in place of a name: the newest backup
NOTICES = "notices/"  # the folder of what was told to people
_NOTICE = re.compile(r"([a-z-]{1,40})_([0-9]{8}_[0-9]{6})\.json")
_STAMP = "%Y%m%d_%H%M%S"
_NAME = re.compile(r"backup_([0-9]{8}_[0-9]{6})\Z")


def name_at(moment: datetime) -> str:
    """Return the name of a backup begun at a moment: `backup_YYYYMMDD_HHMMSS`, UTC."""
    return f"backup_{moment.astimezone(UTC):%Y%m%d_%H%M%S}"


def taken_at(name: str) -> datetime | None:
    """Return the moment in a backup's name; None if it is not a backup's name."""
    found = _NAME.match(name)
    try:
        return datetime.strptime(found[1], "%Y%m%d_%H%M%S").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def is_of_a_backup(file: str) -> bool:
    """Whether a file name is that of a backup's object, manifest or report."""
    return any(file.endswith(kind) and taken_at(file.removesuffix(kind)) for kind in (OBJECT, MANIFEST, REPORT))


def notice_file(whose: str, subject: str, moment: datetime) -> str:
    """Return the name of the document that says what was told of a subject."""
    return f"{NOTICES}{whose}/{subject}_{moment.astimezone(UTC):{_STAMP}}.json"


def notice_at(file: str, whose: str) -> tuple[str, datetime] | None:
    """Return the subject and the moment in such a name; None if it is another name."""
    found = _NOTICE.fullmatch(file.removeprefix(f"{NOTICES}{whose}/"))
    try:
        return (found[1], datetime.strptime(found[2], _STAMP).replace(tzinfo=UTC)) if found else None
    except ValueError:
        return None
