"""Build the object names of a backup and parse a backup's time from one: the only place where keys are put together."""

from __future__ import annotations

import re
from datetime import UTC, datetime

OBJECT = ".sql.gz"
GLOBALS = ".globals.sql.gz"  # roles and settings
ENCRYPTED = ".age"  # after the name of an object or a companion
OBJECTS, COMPANIONS = (OBJECT, OBJECT + ENCRYPTED), (GLOBALS, GLOBALS + ENCRYPTED)
MANIFEST = ".manifest.json"
REPORT = ".drill.json"  # of version 1.0, where each drill's report replaced the one before
DRILL = ".drill"
BEGINNING = "backup_"
ACKNOWLEDGED = ".acknowledged.json"
EVIDENCE = "evidence/"
NOTICES = "notices/"  # what was told to people
SETS = "sets/"
SIGNATURE = ".sig"
_INCONCLUSIVE = ".inconclusive"
_KINDS = (*OBJECTS, *COMPANIONS, MANIFEST, ACKNOWLEDGED)
LATEST = "latest"  # accepted in place of a name: the newest backup
LATEST_SET = "set_latest"
_NAME = re.compile(r"backup_([0-9]{8}_[0-9]{6})\Z")
_NOTICE = re.compile(r"([a-z-]{1,40})_([0-9]{8}_[0-9]{6})\.json")
_SET = re.compile(r"set_([0-9]{8}_[0-9]{6})\Z")
_CERTIFICATE = re.compile(r"certificate_([0-9]{6,12})_([0-9a-f]{16})\.json\Z")
_REPORT = re.compile(r"(backup_[0-9]{8}_[0-9]{6})\.drill(?:_([0-9]{8}_[0-9]{6})(\.inconclusive)?)?\.json\Z")


def name_at(moment: datetime) -> str:
    """Return the name of a backup begun at a moment: `backup_YYYYMMDD_HHMMSS`, UTC."""
    return f"backup_{_stamp(moment)}"


def taken_at(name: str) -> datetime | None:
    """Return the moment in a backup's name; None if it is not a backup's name."""
    found = _NAME.match(name)
    return _moment(found[1]) if found else None


def object_file(name: str, *, encrypted: bool) -> str:
    """Return the name of a backup's object."""
    return name + OBJECTS[encrypted]


def companion_file(name: str, *, encrypted: bool) -> str:
    """Return the name of a backup's companion with roles and settings."""
    return name + COMPANIONS[encrypted]


def without_ending(file: str) -> str:
    """Return the name of a backup without the ending of its object, if it has one."""
    return file.removesuffix(ENCRYPTED).removesuffix(OBJECT) if file.endswith(OBJECTS) else file


def is_encrypted(file: str) -> bool:
    """Whether an object or a companion of this name is encrypted."""
    return file.endswith(ENCRYPTED)


def report_file(backup: str, started_at: datetime, *, conclusive: bool) -> str:
    """Return the name of a drill's report; it tells whether the report says anything about the backup."""
    return f"{backup}{DRILL}_{_stamp(started_at)}{'' if conclusive else _INCONCLUSIVE}.json"


def backup_of_report(file: str) -> str | None:
    """Return the name of the backup that a drill's report is about; None if it is not a report's name."""
    found = _REPORT.match(file)
    if not found or not taken_at(found[1]) or (found[2] and not _moment(found[2])):
        return None
    return found[1]


def drilled_at(file: str) -> datetime | None:
    """Return when a drill started, from its report's name; None for a report of version 1.0."""
    found = _REPORT.match(file)
    return _moment(found[2]) if found and found[2] else None


def is_conclusive(file: str) -> bool:
    """Whether a report's name leaves open that it says something about the backup."""
    return not file.endswith(f"{_INCONCLUSIVE}.json")


def certificate_file(number: int, sha256: str) -> str:
    """Return the name of a certificate in the folder `evidence`: its number, and how its SHA-256 begins."""
    return f"certificate_{number:06}_{sha256[:16]}.json"


def certificate_number(file: str) -> int | None:
    """Return the number of a certificate; None if it is not a certificate's name."""
    found = _CERTIFICATE.match(file)
    return int(found[1]) if found else None


def signature_file(certificate: str) -> str:
    """Return the name of the signature beside a certificate."""
    return certificate.removesuffix(".json") + SIGNATURE


def is_of_a_backup(file: str) -> bool:
    """Whether a file name is that of a backup's object or of a document beside it."""
    return any(file.endswith(kind) and taken_at(file.removesuffix(kind)) for kind in _KINDS)


def set_name_at(moment: datetime) -> str:
    """Return the name of a set begun at a moment: `set_YYYYMMDD_HHMMSS`, UTC."""
    return f"set_{_stamp(moment)}"


def set_file(name: str) -> str:
    """Return the name of a set's document."""
    return f"{SETS}{name}.json"


def set_in(file: str) -> str | None:
    """Return the name of the set whose document this is; None if it is another file."""
    name = file.removeprefix(SETS).removesuffix(".json")
    return name if file == set_file(name) and set_taken_at(name) else None


def set_taken_at(name: str) -> datetime | None:
    """Return the moment in a set's name; None if it is not a set's name."""
    found = _SET.match(name)
    return _moment(found[1]) if found else None


def is_set(name: str) -> bool:
    """Whether this names a set, and not a backup."""
    return name == LATEST_SET or set_taken_at(name) is not None


def notice_file(whose: str, subject: str, moment: datetime) -> str:
    """Return the name of the document that says what was told of a subject."""
    return f"{NOTICES}{whose}/{subject}_{_stamp(moment)}.json"


def notice_at(file: str, whose: str) -> tuple[str, datetime] | None:
    """Return the subject and the moment in such a name; None if it is another name."""
    found = _NOTICE.fullmatch(file.removeprefix(f"{NOTICES}{whose}/"))
    moment = _moment(found[2]) if found else None
    return (found[1], moment) if found and moment else None


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%d_%H%M%S}"


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.strptime(stamp, "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
