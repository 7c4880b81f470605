"""Translate psycopg's errors into our error family, with the server's first line as context, never the statement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile

import psycopg

from blocks.errors import (
    CreateDatabaseDenied,
    DatabaseError,
    DatabaseRefused,
    DatabaseTimeout,
    DatabaseUnreachable,
    NoSpaceLeft,
    PgRoundtripError,
)
from blocks.sql import sqlstate

# How a server rejects a login. A failed connection carries no SQLSTATE, so only the text can be matched.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "permission denied",
    "not permitted",
)
# The message about pg_hba.conf ends with "no encryption" whether or not the server supports TLS.
_RULES = "pg_hba.conf"
_RULES_HINT = (
    "allow this user, database and address in the server's pg_hba.conf; if it accepts only encrypted connections, set"
    " sslmode=require or stronger in DATABASE_URL"
)
# TLS problems are permanent: a retry fixes neither a bad certificate nor a server without TLS.
_TLS = ("certificate", "does not support ssl", "weak sslmode")
_TLS_HINT = (
    "check sslmode and sslrootcert in DATABASE_URL, and the server's certificate: verify-full needs the certificate of"
    " its CA and a matching host name"
)
# How libpq, psycopg and the server report an invalid parameter. A mention of "connect_timeout" is not a timeout.
_PARAMETER = re.compile(r"invalid (\w+ )?value|bad value for")
_NEXT_PART = re.compile(r"DETAIL:|HINT:|- host|connection |.*failed: |Multiple connection")
_PARAMETER_HINT = "correct the parameter after the question mark in DATABASE_URL"


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Translate psycopg's errors into ours, with the server's first line as context, never the statement."""
    try:
        yield
    except psycopg.Error as error:
        ours = _translate(error, address)
        if isinstance(ours, DatabaseError):
            ours.sqlstate = error.sqlstate or ""
        raise ours from None
    except UnicodeDecodeError:
        raise DatabaseError(f"{address}: a name in it is not valid text in any encoding") from None


def _translate(error: psycopg.Error, address: str) -> PgRoundtripError:
    code = error.sqlstate or ""
    said = _plain(error.diag.message_primary or str(error))
    context, lowered = f"{address}: {said}", said.lower()
    if code == sqlstate.INSUFFICIENT_PRIVILEGE and "create database" in lowered:
        return CreateDatabaseDenied(address)
    if code == sqlstate.DISK_FULL or "no space left" in lowered:
        return NoSpaceLeft(context)
    if not code and (refused := _refusal(context, lowered)):
        return refused
    if isinstance(error, psycopg.OperationalError) and (not code or code.startswith(sqlstate.MAY_PASS)):
        return DatabaseUnreachable(context)
    return DatabaseError(context)


def _refusal(context: str, lowered: str) -> DatabaseError | None:
    """Classify a failed connection by its message: it carries no SQLSTATE."""
    if _RULES in lowered:
        return DatabaseRefused(context, hint=_RULES_HINT)
    if _PARAMETER.search(lowered):
        return DatabaseRefused(context, hint=_PARAMETER_HINT)
    if any(sign in lowered for sign in _TLS):
        return DatabaseRefused(context, hint=_TLS_HINT)
    if "timeout" in lowered or "timed out" in lowered:
        return DatabaseTimeout(context)
    return DatabaseRefused(context) if any(refusal in lowered for refusal in _REFUSALS) else None


def _plain(text: str) -> str:
    """Extract the server's own message: libpq prefixes it with the address, once per attempt.

    If a host name has several addresses, one can be unreachable (often the IPv6 one) while the server at another
    gives the real reason.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    failed = [line for line in lines if "failed: " in line] or lines[:1]
    line = next((line for line in failed if any(sign in line.lower() for sign in ("fatal: ", *_TLS))), failed[0])
    if "failed: FATAL: " in line:  # it may quote a name with line breaks
        rest = lines[lines.index(line) + 1 :]
        line = " ".join([line, *takewhile(lambda later: not _NEXT_PART.match(later), rest)])
    return re.sub(r"^.*failed: ", "", line).removeprefix("FATAL:").strip()
