"""Turn a server's refusal into our error: what it said, where it happened, and what to do."""

from __future__ import annotations

from blocks.errors import DatabaseUnreachable, NoSpaceLeft, PgRoundtripError, RestoreFailed
from blocks.sql import sqlstate
from blocks.sql.restore_session import Refusal
from tasks.engine.restore.hints import hint_for, place_of


def error_of(refusal: Refusal) -> PgRoundtripError:
    """Return the error for a refusal. Of its context, which can quote rows, only names are kept."""
    code, text = refusal.sqlstate, refusal.message
    if code == sqlstate.DISK_FULL:
        return NoSpaceLeft(text)
    if code.startswith(sqlstate.CONNECTION_LOST):
        return DatabaseUnreachable(text)
    context = refusal.context
    return RestoreFailed(text, sqlstate=code, place=place_of(context), hint=hint_for(code, context, text))
