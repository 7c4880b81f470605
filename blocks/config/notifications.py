"""Read only who is to be told, so that a message gets out even if another setting is the trouble."""

from __future__ import annotations

from pydantic import ValidationError

from blocks.config.load import when_malformed
from blocks.config.settings import FromEnvironment, NotificationSettings
from blocks.errors import ConfigurationError, Problem

_PLACES = ("webhook_url", "notify_urls", "ping_url", "verify_ping_url")


class _Alone(NotificationSettings, FromEnvironment):
    """These settings without all the others."""


def load_notifications() -> NotificationSettings | None:
    """Return who is to be told, None if nobody is; raises ConfigurationError."""
    try:
        found = _Alone()
    except ValidationError as error:
        names = [str(e["loc"][0]).upper() for e in error.errors(include_input=False, include_url=False)]
        raise ConfigurationError([Problem(f"Invalid {name} format", when_malformed(name)) for name in names]) from None
    return found if any(getattr(found, place) for place in _PLACES) else None
