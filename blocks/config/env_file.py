"""Write settings to a file `.env` that a shell, Docker Compose and python-dotenv read alike, and that only its owner reads."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

from blocks.errors import ConfigurationError, Problem

_BARE = re.compile(r"[A-Za-z0-9_./:@%+=,-]+")
# What none of the quotes can hold for all readers: line breaks and other controls, and what python-dotenv expands.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]|\$\{")
# What a URL can hold in another form, so that single quotes always do.
_IN_URL = re.compile(r"['\"\\$`]")
_NO_FORM = "use a value without line breaks and without this mix of quotes, backslashes and $, or pass --no-secrets and set it elsewhere"
_HEAD = "# Written by `pg-roundtrip init`. Its passwords are for you alone: keep it out of version control.\n"


def quoted(value: str) -> str:
    r"""Quote a value for all three readers; raises ValueError if they agree on no form of it.

    In single quotes, python-dotenv reads two backslashes as one, and Compose takes a quote after a backslash for text. In
    double quotes, only `\"` and `\\` mean the same to all, and Compose strips quotes at the ends.
    """
    if _BARE.fullmatch(value):
        return value
    if _UNWRITABLE.search(value) or value.endswith("\\"):
        raise ValueError("no common form")
    if "'" not in value and "\\\\" not in value:
        return f"'{value}'"
    if re.search(r'[$`]|^"|"$', value):
        raise ValueError("no common form")
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def line_of(name: str, value: str) -> str:
    """Return the line that sets a variable; raises ConfigurationError if the value can't be written."""
    if name.endswith("DATABASE_URL"):
        value = _IN_URL.sub(lambda found: f"%{ord(found[0]):02X}", value)
    try:
        return f"{name}={quoted(value)}"
    except ValueError:
        raise ConfigurationError([Problem(f"{name} cannot be written to a file .env", _NO_FORM)]) from None


def require_new(path: Path, *, force: bool) -> None:
    """Raise ConfigurationError if the file exists, or if its folder can't take one."""
    if not force and (path.exists() or path.is_symlink()):
        raise ConfigurationError([Problem(f"{path} exists already", "pass --force to replace it; the old one is kept")])
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigurationError([Problem(f"No file can be written in {path.parent}", "choose another with --file")])


def write_env_file(path: Path, values: Mapping[str, str], left_out: tuple[str, ...], *, force: bool) -> Path | None:
    """Write the file whole or not at all, and return where the one that it replaced is now."""
    lines = [line_of(name, value) for name, value in values.items()]
    missing = [f"# Set elsewhere: {name}=" for name in left_out]
    text = _HEAD + "".join(f"{line}\n" for line in chain(lines, missing))
    require_new(path, force=force)
    with _told(path), _beside(path) as new:
        new.write_text(text, encoding="utf-8")
        old = _keep_old(path) if path.exists() else None
        new.replace(path)
    return old


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new file in the same folder that only its owner can read; removed if it was not renamed."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()


def _keep_old(path: Path) -> Path:
    """Copy the file to a name beside it that is free."""
    content = path.read_bytes()
    names = (path.with_name(f"{path.name}.old{number if number > 1 else ''}") for number in count(1))
    free = next(name for name in names if not (name.exists() or name.is_symlink()))
    with os.fdopen(os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return free


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = Problem(f"{path} cannot be written [{error.strerror}]", "choose another with --file")
        raise ConfigurationError([problem]) from None
