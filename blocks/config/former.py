"""What a database, or all databases of a server, were before they were moved or renamed: BACKUPS_OF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

from blocks.errors import ConfigurationError, Problem

_SERVER = re.compile(r"@-?[0-9]{1,20}")
_NAMES_BESIDE = "BACKUPS_OF names databases, but with BACKUP_DATABASES each has its own former backups"
_ONLY_SERVERS = "name only the former server, whose databases had the same names: BACKUPS_OF=@7712734137005552605"


def as_setting(database: str, server: str = "") -> str:
    """Return a database as written in BACKUPS_OF: commas, @, percent signs and spaces in the name become %XX."""
    name = re.sub(r"[,@%\s]", lambda found: quote(found[0], safe=""), database)
    return f"{name}@{server}" if server else name


def of_member(backups_of: str | None, database: str) -> str | None:
    """Return what one database of a whole server was: on each former server, it had this name."""
    servers = [part[1:] for part in _parts(backups_of) if _SERVER.fullmatch(part)]
    return ", ".join(as_setting(database, server) for server in servers) or None


def check_former(backups_of: str | None) -> None:
    """Refuse what says nothing of a whole server; raises ConfigurationError."""
    if not all(_SERVER.fullmatch(part) for part in _parts(backups_of)):
        raise ConfigurationError([Problem(_NAMES_BESIDE, _ONLY_SERVERS)])


def _parts(backups_of: str | None) -> Iterator[str]:
    return filter(None, (part.strip() for part in (backups_of or "").split(",")))
