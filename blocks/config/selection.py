"""What a plan's dumps leave out: patterns of names, and options of pg_dump."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel

from blocks.config.dump_options import matters, read_options
from blocks.config.says import Rule, Says
from blocks.errors import ConfigurationError, Problem
from blocks.sql.patterns import NamePattern, plain_pattern, split_patterns, table_pattern

_RULE = "write patterns as for psql's \\d, separated by commas: public.logs, audit.*; close double quotes, and name no database"
_RULE_SCHEMAS = (
    "write patterns as for psql's \\d, separated by commas: audit, tmp_*; close double quotes, and put a dot into them"
)
_DETAILS = "[Patterns](what-is-in-a-backup.md#patterns), separated by commas."


def _checked(read: Callable[[str], NamePattern]) -> Callable[[str], str]:
    def check(value: str) -> str:
        for pattern in split_patterns(value):
            read(pattern)
        return value

    return check


TablePatterns = Annotated[str, AfterValidator(_checked(table_pattern)), Rule(_RULE)]
SchemaPatterns = Annotated[str, AfterValidator(_checked(plain_pattern)), Rule(_RULE_SCHEMAS)]


class SelectionSettings(BaseModel):
    """What a backup leaves out; a verdict says it, and such a backup never stands in for a whole one."""

    backup_exclude_tables: Annotated[TablePatterns | None, Says(
        f"Tables, views, sequences and others to leave out. {_DETAILS}", 'public.logs, audit.*, "Old Orders"'
    )] = None  # fmt: skip
    backup_exclude_table_data: Annotated[TablePatterns | None, Says(
        f"Tables to dump without their rows. {_DETAILS}", "public.sessions, cache_*"
    )] = None  # fmt: skip
    backup_exclude_schemas: Annotated[SchemaPatterns | None, Says(
        f"Schemas to leave out with everything in them. {_DETAILS}", "scratch, tmp_*"
    )] = None  # fmt: skip
    backup_include_schemas: Annotated[SchemaPatterns | None, Says(
        f"The only schemas to dump. {_DETAILS}", "app, public"
    )] = None  # fmt: skip
    backup_include_tables: Annotated[TablePatterns | None, Says(
        f"The only tables to dump, besides those in `BACKUP_INCLUDE_SCHEMAS`. {_DETAILS}", "orders, billing.*"
    )] = None  # fmt: skip
    pg_dump_options: Annotated[str | None, Says(
        "Options of `pg_dump` from [this list](what-is-in-a-backup.md#options-of-pg_dump), separated by blanks. All others are refused.",
        "--no-comments --lock-wait-timeout=60s",
    )] = None  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """The patterns of what is left out or included, and the options of pg_dump."""

    exclude_tables: tuple[str, ...] = ()
    exclude_table_data: tuple[str, ...] = ()
    exclude_schemas: tuple[str, ...] = ()
    include_schemas: tuple[str, ...] = ()
    include_tables: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def patterns(self) -> dict[str, tuple[str, ...]]:
        """The patterns by their kind; none for a kind that is not set."""
        return {kind: given for kind in PATTERNS if (given := getattr(self, kind))}

    @property
    def partial(self) -> bool:
        """Whether a backup is not whole by it."""
        return bool(self.patterns) or any(map(matters, self.options))

    @property
    def fingerprint(self) -> str:
        """What tells one selection from another, whatever the order of its parts; empty for a whole backup."""
        if not self.partial:
            return ""
        said = {kind: sorted(set(given)) for kind, given in self.patterns.items()}
        said["options"] = sorted(filter(matters, self.options))
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


PATTERNS: Mapping[str, Callable[[str], NamePattern]] = {
    field.name: plain_pattern if field.name.endswith("schemas") else table_pattern
    for field in fields(Selection)
    if field.name != "options"
}


def variable_for(kind: str) -> str:
    """Return the variable of a kind of patterns."""
    return f"BACKUP_{kind.upper()}"


def selection_of(given: Mapping[str, Any]) -> Selection:
    """Build a selection from a plan's fields; raises ConfigurationError with everything that is wrong in them."""
    patterns, problems = dict[str, tuple[str, ...]](), list[Problem]()
    for kind, read in PATTERNS.items():
        try:
            patterns[kind] = split_patterns(given.get(kind) or "")
            problems += _faults(kind, read, patterns[kind])
        except ValueError as error:
            problems.append(Problem(f"Invalid {variable_for(kind)} [{error}]", _RULE))
    options, wrong = read_options(given.get("pg_dump_options") or "")
    if problems or wrong:
        raise ConfigurationError([*problems, *wrong])
    return Selection(**patterns, options=options)


def _faults(kind: str, read: Callable[[str], NamePattern], patterns: tuple[str, ...]) -> Iterator[Problem]:
    for pattern in patterns:
        try:
            read(pattern)
        except ValueError as error:
            yield Problem(f"Invalid {variable_for(kind)} [{pattern[:80]}: {error}]", _RULE)
