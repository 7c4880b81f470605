"""Interpret psql's last words: tell what the server refused from what kept it from even trying."""

from __future__ import annotations

import re

from blocks.errors import DatabaseUnreachable, DrillTimedOut, NoSpaceLeft, RestoreFailed
from blocks.sql import sqlstate
from tasks.engine.process import Child
from tasks.engine.restore.hints import hint_for, place_of

# `psql:<stdin>:7: ERROR:  23505: …`; the word is in the server's language, the code is not. DETAIL can quote anything.
# A code contains a digit; ERROR, FATAL and PANIC do not.
_CODED = re.compile(r"psql:.*?:\s+((?=[A-Z]*[0-9])[0-9A-Z]{5}): (.*)")
_UNCODED = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.*)")
_FIELD = re.compile(r"[A-Z][A-Z ]+:  ")


def error_of(psql: Child) -> Exception:
    """Return the error for psql's exit: the server's sentence with its code, where it happened, and what to do.

    Of the lines after the sentence, which can quote rows, only names are kept.
    """
    if psql.timed_out:
        return DrillTimedOut()
    lines = psql.stderr_lines()
    code, text = _last_error(lines)
    if any("backslash commands are restricted" in line for line in lines):
        return RestoreFailed("it contains a hidden psql command", sqlstate=sqlstate.SYNTAX_ERROR)
    if code == sqlstate.DISK_FULL:
        return NoSpaceLeft(text)
    if code.startswith(sqlstate.CONNECTION_LOST):
        return DatabaseUnreachable(text)
    if code:
        context = _context(lines)
        return RestoreFailed(text, sqlstate=code, place=place_of(context), hint=hint_for(code, context, text))
    found = next((found[1] for line in lines if (found := _UNCODED.search(line))), "")
    text = found or " ".join(lines[-2:]) or "psql exited early"
    lost = "connection" in " ".join(lines[-3:]).lower()
    return DatabaseUnreachable(text) if lost else RestoreFailed(text)


def _last_error(lines: list[str]) -> tuple[str, str]:
    """Return the code and sentence that psql stopped at: the last ones, because those before are warnings."""
    said = [line for line in lines if line.startswith("psql:")]
    coded = [found for line in said if (found := _CODED.match(line))]
    if not coded or (not _CODED.match(said[-1]) and not coded[-1][1].startswith(sqlstate.LAST_WORDS)):
        return "", ""
    return coded[-1][1], coded[-1][2]


def _context(lines: list[str]) -> list[str]:
    """Return the CONTEXT of the last error: one line per level, innermost first."""
    last = max((n for n, line in enumerate(lines) if _CODED.match(line)), default=len(lines))
    found: list[str] = []
    for line in lines[last + 1 :]:
        if line.startswith("CONTEXT:"):
            found.append(line.removeprefix("CONTEXT:").strip())
        elif found and _FIELD.match(line):
            break
        elif found:
            found.append(line.strip())
    return found
