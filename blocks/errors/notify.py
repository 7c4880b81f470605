"""Errors of messages, which never change how a run ends."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class NotDelivered(PgRoundtripError):
    """A message did not reach the place that it was sent to."""

    message = "A message could not be delivered"
    code = "PGR-NOTIFY"
    cause = "notification"
    hint = "pg-roundtrip notify --test says which places a message reaches"
