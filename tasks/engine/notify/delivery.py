"""Decide which channels are sent a message now: none that has it, and none that somebody else is sending it to."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from tasks.engine.notify.incidents import Incident
from tasks.engine.notify.message import Message
from tasks.engine.repository.newest import is_future

# Longer than it takes to send. Whoever takes longer was killed.
_SENT_WITHIN = timedelta(minutes=1)
# Whoever has that channel would have sent it by then, or nobody has it any more.
_OTHERS_SEND_WITHIN = timedelta(days=2)


def begun(incident: Incident, message: Message, channels: Collection[str], now: datetime) -> Incident:
    """Return the incident whose message is about to be sent: remember it first, so that no one else sends it as well."""
    until = now + _SENT_WITHIN if channels else None
    return incident.model_copy(update={"message": message, "missing": tuple(channels), "sending_until": until})


def in_hand(incident: Incident, now: datetime) -> bool:
    """Whether somebody else is sending the message."""
    until = incident.sending_until
    return until is not None and now < until and not is_future(until, now)


def ended(incident: Incident, channels: Collection[str], failed: Collection[str], now: datetime) -> Incident:
    """Return the incident after its message was sent to our channels; others wait for those who have them."""
    others = set(incident.missing) - set(channels)
    if incident.message and now - incident.message.at > _OTHERS_SEND_WITHIN:
        others = set()
    missing = others | (set(incident.missing) & set(channels) & set(failed))
    return incident.model_copy(update={"missing": tuple(sorted(missing)), "sending_until": None})
