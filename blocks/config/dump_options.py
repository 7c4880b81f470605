"""Know the options of pg_dump that a drill understands, and why each of the others is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blocks.errors import Problem
from blocks.sql.patterns import plain_pattern

EXCLUDE_EXTENSION, NO_UNLOGGED, NO_BLOBS = "--exclude-extension", "--no-unlogged-table-data", "--no-blobs"
_ROUNDING = re.compile(r"--extra-float-digits=(?:0|-[0-9]+)")
_ROUNDED = "the last digits of floating-point numbers"


@dataclass(frozen=True)
class Option:
    """An option: what a backup is `without` by it (empty if nothing), and whether the dump of a copy needs it, too."""

    without: str = ""
    of_copy: bool = True
    since: int = 15
    value: re.Pattern[str] | None = None


# docs/what-is-in-a-backup.md says the same to users.
ALLOWED = {
    "--no-comments": Option("comments"),
    "--no-publications": Option("publications"),
    "--no-subscriptions": Option("subscriptions"),
    "--no-security-labels": Option("security labels"),
    "--no-policies": Option("row security", since=18),
    "--no-tablespaces": Option("tablespaces"),
    "--no-table-access-method": Option("table access methods"),
    "--no-toast-compression": Option("compression methods of columns"),
    NO_BLOBS: Option("large objects"),
    NO_UNLOGGED: Option("the rows of unlogged tables"),
    EXCLUDE_EXTENSION: Option(of_copy=False, since=17, value=re.compile(r".+", re.DOTALL)),
    "--extra-float-digits": Option(value=re.compile(r"-?[0-9]|-1[0-5]")),
    "--lock-wait-timeout": Option(of_copy=False, value=re.compile(r"[0-9]+ ?(ms|s|min|h)?")),
    "--serializable-deferrable": Option(of_copy=False),
    # A server computes them by itself: they are restored, and not compared.
    "--statistics": Option(of_copy=False, since=18),
}
_SAME = {"--no-large-objects": NO_BLOBS, "-B": NO_BLOBS}
_REFUSED = {
    "rows are compared as COPY writes them": "inserts column-inserts rows-per-insert on-conflict-do-nothing",
    "a part of a dump restores nothing; BACKUP_EXCLUDE_TABLE_DATA leaves out rows":
        "data-only a schema-only s section no-data no-schema statistics-only",
    "a restore goes into a new database, which has nothing to drop": "clean c create C if-exists",
    "who owns an object and who may use it is part of what a drill proves":
        "no-owner O no-privileges no-acl x superuser S use-set-session-authorization disable-triggers",
    "a backup is one plain stream in the database's encoding, and pg-roundtrip compresses it":
        "format F file f compress Z jobs j encoding E no-sync sync-method",
    "DATABASE_URL has the server, the database and the role": "dbname d host h port p username U no-password w password W role",
    "use BACKUP_EXCLUDE_TABLES, BACKUP_EXCLUDE_TABLE_DATA, BACKUP_EXCLUDE_SCHEMAS, BACKUP_INCLUDE_SCHEMAS or BACKUP_INCLUDE_TABLES":
        "table t exclude-table T exclude-table-data schema n exclude-schema N table-and-children exclude-table-and-children "
        "exclude-table-data-and-children filter strict-names",
    "without extensions, what needs them can't be restored; --exclude-extension leaves out one": "extension e",
    "rows that the role may not see would be missing without a word": "enable-row-security",
    "the rows of a partition are counted and compared as its own": "load-via-partition-root",
    "statements are compared as pg_dump writes them without it": "quote-all-identifiers disable-dollar-quoting restrict-key",
    "rows of another server belong to that server's backup": "include-foreign-data",
    "it changes nothing here": "large-objects blobs b sequence-data no-statistics verbose v version V help ?",
    "it is for other tools": "binary-upgrade snapshot",
}  # fmt: skip
_REASONS = {
    f"-{name}" if len(name) == 1 else f"--{name}": why for why, names in _REFUSED.items() for name in names.split()
}


def read_options(text: str) -> tuple[tuple[str, ...], list[Problem]]:
    """Split a list of options as a shell would; return each as `--name` or `--name=value`, and what is wrong."""
    try:
        words = iter(shlex.split(text))
    except ValueError:
        return (), [Problem("PG_DUMP_OPTIONS can't be read", "close its quotes")]
    options, problems = list[str](), list[Problem]()
    for found in _read(words):
        if isinstance(found, Problem):
            problems.append(found)
        else:
            options.append(found)
    return tuple(dict.fromkeys(options)), problems


def _read(words: Iterator[str]) -> Iterator[str | Problem]:
    for word in words:
        # The value is never shown: `--dbname` can have a password.
        given, equals, value = word.partition("=") if word.startswith("--") else (word[:2], "", "")
        name = _SAME.get(given, given)
        option = ALLOWED.get(name)
        if option is None or (word != given and not word.startswith("--")):  # -Bs means two options
            yield _refused(given)
        elif option.value is None:
            yield Problem(f"PG_DUMP_OPTIONS gives {name} a value", "it has none") if equals else name
        else:
            value = value if equals else next(words, "")
            yield f"{name}={value}" if _fits(name, option.value, value) else _wrong_value(name)


def _fits(name: str, allowed: re.Pattern[str], value: str) -> bool:
    try:
        return bool(allowed.fullmatch(value)) and (name != EXCLUDE_EXTENSION or bool(plain_pattern(value)))
    except ValueError:
        return False


def _wrong_value(name: str) -> Problem:
    return Problem(f"PG_DUMP_OPTIONS has no usable value for {name}", "see docs/what-is-in-a-backup.md")


def _refused(given: str) -> Problem:
    if not given.startswith("-"):
        return Problem("PG_DUMP_OPTIONS has a word that is no option", "write each option in full: --no-comments")
    why = _REASONS.get(given, "a drill doesn't know what it means; write each option in full: --no-comments")
    return Problem(f"PG_DUMP_OPTIONS can't have {given[:40]}", why)


def unknown_to(major: int, options: Sequence[str]) -> list[Problem]:
    """Return which options the pg_dump of a major version doesn't have."""
    return [
        Problem(f"PG_DUMP_OPTIONS has {name}, which pg_dump {major} doesn't know", f"it came with pg_dump {since}")
        for name in map(name_of, options)
        if (since := ALLOWED[name].since) > major
    ]


def name_of(option: str) -> str:
    """Return an option without its value."""
    return option.partition("=")[0]


def of_copies(options: Sequence[str]) -> list[str]:
    """Return the options that the dump of a restored copy needs as well, so that the two are comparable."""
    return [o for o in options if (known := ALLOWED.get(name_of(o))) and known.of_copy]


def excluded_extensions(options: Sequence[str]) -> list[str]:
    """Return the patterns of extensions that are left out."""
    return [o.partition("=")[2] for o in options if name_of(o) == EXCLUDE_EXTENSION]


def without(options: Sequence[str]) -> list[str]:
    """Return what a dump is without by its options, in words; extensions are named where they are known."""
    said = [ALLOWED[name_of(o)].without for o in options if name_of(o) in ALLOWED]
    rounded = [_ROUNDED for o in options if _ROUNDING.fullmatch(o)]
    return list(dict.fromkeys(filter(None, [*said, *rounded])))


def matters(option: str) -> bool:
    """Whether a backup with the option holds something else than one without it."""
    return name_of(option) == EXCLUDE_EXTENSION or bool(without([option]))
