"""Turn what psycopg raises into our family of errors: the server's first line as the context, never the statement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

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

# What a server says when it lets nobody of this name in; a refused connection carries no code.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "permission denied",
    "not permitted",
)
# It ends with "no encryption" whether the server has TLS or not.
_RULES = "pg_hba.conf"
_RULES_HINT = (
    "let user, database and address in by the server's pg_hba.conf; where it takes encrypted connections alone, set"
    " sslmode=require or more in DATABASE_URL"
)
# Certificates do not mend themselves, and neither does a server without them.
_TLS = ("certificate", "does not support ssl", "weak sslmode")
_TLS_HINT = (
    "check sslmode and sslrootcert in DATABASE_URL, and the server's certificate: verify-full wants the certificate of"
    " its authority and its own name"
)
# What libpq, psycopg and the server say of a parameter that cannot be; "connect_timeout" alone is no timeout.
_PARAMETER = re.compile(r"invalid (\w+ )?value|bad value for")
_PARAMETER_HINT = "correct the parameter after the question mark in DATABASE_URL"


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn psycopg's errors into ours: what happened in the server's first line, never the statement."""
    try:
        yield
    except psycopg.Error as error:
        ours = _translate(error, address)
        if isinstance(ours, DatabaseError):
            ours.sqlstate = error.sqlstate or ""
        raise ours from None
    except UnicodeDecodeError:
        raise DatabaseError(f"{address}: a name in it is no text in any encoding") from None


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
    """What a connection that could not be made says of its own; it carries no code."""
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
    """Keep the server's own sentence: libpq wraps it in the address, once for each attempt.

    Of a name's addresses one may lead nowhere, as one of IPv6 often does, and a server at another say what is wrong.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    failed = [line for line in lines if "failed: " in line] or lines[:1]
    line = next((line for line in failed if any(sign in line.lower() for sign in ("fatal: ", *_TLS))), failed[0])
    return re.sub(r"^.*failed: ", "", line).removeprefix("FATAL:").strip()
