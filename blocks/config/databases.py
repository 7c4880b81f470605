"""Which databases of a server a plan backs up, how many at once, and in which folder each has its backups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from blocks.config.says import Rule, Says
from blocks.errors import ConfigurationError, Problem
from blocks.sql.patterns import NamePattern, plain_pattern, split_patterns

Drilled = Literal["newest", "turn", "all"]
MOST_AT_ONCE = 32
_RULE = (
    "write * or patterns of names, separated by commas, and ! before what to leave out: shop_*, !shop_test; "
    'put other names into double quotes: "My Shop"'
)
# In a folder's name: the letters that look the same to a storage that ignores case, and all that needs care in a key.
_PLAIN = re.compile("[a-z0-9_-]")
_CODED = re.compile(r"\.-([a-z])|\.([0-9a-f]{2})|([a-z0-9_-])")
# Folders beside those of databases.
RESERVED = ("sets", "evidence", "notices")


def _databases(value: str) -> str:
    read_databases(value)
    return value


Patterns = Annotated[str, AfterValidator(_databases), Rule(_RULE)]
AtOnce = Annotated[int, Field(ge=1, le=MOST_AT_ONCE), Rule(f"it must be a whole number from 1 to {MOST_AT_ONCE}")]


class DatabasesSettings(BaseModel):
    """All databases of a server, or several, instead of one: see [whole servers](whole-servers.md)."""

    backup_databases: Annotated[Patterns | None, Says(
        "`*`, or [patterns](what-is-in-a-backup.md#patterns) of names, separated by commas; `!` before one leaves out. "
        "Each database gets a folder in `BACKUP_PREFIX`, and `DATABASE_URL` only says where to ask for them.", "*, !scratch_*"
    )] = None  # fmt: skip
    backup_parallel_databases: Annotated[AtOnce, Says("How many of them are backed up at the same time.", "4")] = 1
    verify_databases: Annotated[Drilled, Rule("it must be newest, turn or all"), Says(
        "Which of them a drill takes: the one with the `newest` backup, the one whose last drill is longest ago (`turn`), or `all`.", "all"
    )] = "turn"  # fmt: skip


@dataclass(frozen=True)
class Databases:
    """The databases of a server by patterns: those to take, and exceptions."""

    wanted: tuple[NamePattern, ...]
    but: tuple[NamePattern, ...] = ()
    at_once: int = 1
    drilled: Drilled = "turn"

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns as they are written, in an order that is always the same."""
        return tuple(sorted({p.text for p in self.wanted} | {f"!{p.text}" for p in self.but}))


def read_databases(text: str) -> Databases:
    """Read patterns; without any to take, all are. Raises ValueError."""
    parts = split_patterns(text)
    but = tuple(plain_pattern(_pattern(part[1:])) for part in parts if part.startswith("!"))
    wanted = tuple(plain_pattern(part) for part in parts if not part.startswith("!"))
    if not wanted and not but:
        raise ValueError("no pattern")
    if not all(map(_inner, (*wanted, *but))):
        raise ValueError("a name is empty")
    return Databases(wanted or (plain_pattern("*"),), but)


def _pattern(text: str) -> str:
    if not text.strip():
        raise ValueError("nothing follows the exclamation mark")
    return text.strip()


def databases_of(given: Mapping[str, Any]) -> Databases | None:
    """Return the databases of a plan's fields; None for a plan of one. Raises ConfigurationError."""
    if not (text := (given.get("databases") or "").strip()):
        return None
    try:
        read = read_databases(text)
    except ValueError as error:
        raise ConfigurationError([Problem(f"Invalid BACKUP_DATABASES [{error}]", _RULE)]) from None
    return Databases(read.wanted, read.but, given.get("parallel_databases", 1), given.get("verify_databases", "turn"))


def names_one(pattern: NamePattern) -> bool:
    """Whether a pattern is a single name, which is missed if there is no such database."""
    return not re.search(r"[.*+?|()\[\]{}]", re.sub(r"\\.", "", _inner(pattern)))


def name_in(pattern: NamePattern) -> str:
    """Return the name that such a pattern is."""
    return re.sub(r"\\(.)", r"\1", _inner(pattern), flags=re.DOTALL)


def _inner(pattern: NamePattern) -> str:
    return pattern.name.removeprefix("^(").removesuffix(")$")


def folder_for(database: str) -> str:
    """Return the name of a database's folder: readable, safe in a key, and no other database's, even without case.

    A capital letter is `.-` and the small one, anything else that isn't a small letter, digit, `_` or `-` a dot and the
    hexadecimal digits of each byte.
    """
    coded = "".join(map(_coded, database))
    return f".{ord(coded[0]):02x}{coded[1:]}" if coded in RESERVED else coded


def _coded(character: str) -> str:
    if _PLAIN.fullmatch(character):
        return character
    if "A" <= character <= "Z":
        return f".-{character.lower()}"
    return "".join(f".{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def database_of(folder: str) -> str | None:
    """Return the database whose folder has this name; None if that is no database's."""
    if not folder or re.sub(_CODED, "", folder):
        return None
    parts = (
        capital.upper().encode() if capital else bytes.fromhex(byte) if byte else plain.encode()
        for capital, byte, plain in _CODED.findall(folder)
    )
    try:
        name = b"".join(parts).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return name if folder_for(name) == folder else None
