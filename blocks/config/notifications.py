"""Read only who is to be told, so that a message gets out even if another setting is the trouble."""

from __future__ import annotations

from blocks.config.load import when_malformed
from blocks.config.settings import FromEnvironment, NotificationSettings
from blocks.errors import Problem

_PLACES = ("webhook_url", "notify_urls", "ping_url", "verify_ping_url")


class _Alone(NotificationSettings, FromEnvironment):
    """These settings without all the others."""


def load_notifications() -> NotificationSettings | None:
    """Return who is to be told, None if nobody is; invalid variables are left out."""
    found = _Alone()
    return found if any(getattr(found, place) for place in _PLACES) else None


def wrong_notifications() -> list[Problem]:
    """Return the variables that `load_notifications` leaves out, and the rules that they break."""
    return [Problem(f"Invalid {name} format", when_malformed(name)) for name in _Alone().wrong]
