"""Make a webhook's body by a template of the user's own."""

from __future__ import annotations

import json

from blocks.errors import ConfigurationError, Problem
from tasks.engine.notify.message import Message


def render(template: str, message: Message) -> tuple[bytes, str]:
    """Return the body and its content type; raises ConfigurationError if the template can't be rendered.

    The message's fields are the template's variables. It runs in Jinja's sandbox, and a misspelled field is an error.
    """
    from jinja2 import StrictUndefined  # noqa: PLC0415  (only for those who have a template)
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        text = environment.from_string(template).render(message.model_dump(mode="json", by_alias=True))
        body = text.encode()
    except Exception as error:  # noqa: BLE001  (a template is somebody's program)
        why = f"WEBHOOK_TEMPLATE cannot be rendered: {type(error).__name__}"
        raise ConfigurationError([Problem(why, "docs/notifications.md lists the fields that a message has")]) from None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return body, "text/plain; charset=utf-8"
    return body, "application/json"
