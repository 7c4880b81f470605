"""Errors of the user's own commands."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class HookFailed(PgRoundtripError):
    """A command of the user's failed, was not there, or did not end in time."""

    message = "A hook failed"
    code = "PGR-HOOK"
    cause = "hook"
    hint = "what it printed is in the log; pg-roundtrip check says whether its program can be started"
