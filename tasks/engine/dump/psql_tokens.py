"""The tokens that matter to psql when it looks for the end of a statement, and its variables.

Source: `src/fe_utils/psqlscan.l` in PostgreSQL.
"""

from __future__ import annotations

import re

# Everything that can change the meaning of the next semicolon. Words count only in function definitions.
TOKEN = re.compile(
    rb"""(?P<quote>')|(?P<ident>")|(?P<cast>::)|(?P<variable>:(?:[A-Za-z0-9_\x80-\xff]+|['"{]))|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]{0,63})?\$)|(?P<long>\$[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]{64})"""
    rb"""|(?P<line>--)|(?P<block>/\*)|(?P<end>;)|(?P<meta>\\)|(?P<open>[(])|(?P<close>[)])"""
    rb"""|(?P<stuck>(?<![A-Za-z0-9_$\x80-\xff])\d+(?:BEGIN|CASE|END)(?![A-Za-z0-9_$\x80-\xff]))"""
    rb"""|(?P<word>(?<![A-Za-z0-9_\x80-\xff])(?:BEGIN|CASE|END)(?![A-Za-z0-9_$\x80-\xff]))""",
    re.IGNORECASE,
)
ROUTINE = re.compile(rb"\s*+CREATE\s++(?:OR\s++REPLACE\s++)?(?:FUNCTION|PROCEDURE)\b", re.IGNORECASE)
# What PostgreSQL prints in capitals at the beginning of a slice's end; none is a variable of psql.
_IN_SLICES = {b"COALESCE", b"GREATEST", b"LEAST", b"NULLIF", b"NULL", b"CASE", b"ARRAY", b"ROW", b"NOT", b"EXTRACT", b"POSITION", b"EXISTS",
              b"OVERLAY", b"SUBSTRING", b"TRIM", b"GROUPING", b"CURRENT_DATE", b"CURRENT_TIMESTAMP", b"LOCALTIMESTAMP", b"JSON_VALUE",
              b"JSON_QUERY", b"JSON_EXISTS", b"XMLEXISTS"}  # fmt: skip


def may_be_variable(name: bytes, behind: bytes) -> bool:
    """Whether psql could put a variable's value in place of a colon, the `name` or sign after it, and what is `behind`.

    Those that psql has by itself have names in capitals; a dump has a colon only in slices of arrays.
    """
    known = name in _IN_SLICES or not name[:1].isupper()
    quoted = name == b'"' and not behind.isupper()
    return name in (b"'", b"{") or not known or behind in (b"'", b'"', b"$") or (name == b'"' and not quoted)
