"""`pg-roundtrip notify`: find out whether messages arrive."""

# ruff: noqa: PLC0415  (the command line imports this for every command)

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.status.findings import Finding

_HINT = "configure a channel: WEBHOOK_URL, NOTIFY_URLS or PING_URL"


def notify(
    test: Annotated[
        bool, typer.Option("--test", help="Send one message to each channel, and say which arrived.")
    ] = False,
) -> None:
    """Send a test message to each channel."""
    from blocks.config.notifications import load_notifications, wrong_notifications
    from blocks.errors import ConfigurationError, Problem
    from flows.lines import print_error, print_line
    from tasks.notify import try_channels

    settings, wrong = load_notifications(), wrong_notifications()
    if settings is None:
        raise ConfigurationError(wrong or [Problem("Nobody is to be told of anything", _HINT)])
    if not test:
        raise typer.BadParameter("say --test, which sends a message to each channel")
    results = try_channels(settings, str(uuid.uuid4()))
    for name, why in results.items():
        print_line(f"{name}: {f'not delivered [{why}]' if why else 'delivered'}")
    if wrong:
        print_error(ConfigurationError(wrong).lines())
    if wrong or any(results.values()):
        raise typer.Exit(1)


def check_channels() -> list[Finding]:
    """Check every channel as far as that is possible without sending anything."""
    from blocks.config.notifications import load_notifications, wrong_notifications
    from tasks.status.findings import Finding

    settings = load_notifications()
    wrong = [Finding("notify", "error", found.message, found.hint) for found in wrong_notifications()]
    if settings is None:
        return wrong
    from tasks.notify import faults_of_channels

    return wrong + [
        Finding(f"notify by {name}", "error", why, "correct it, then try it: pg-roundtrip notify --test")
        if why
        else Finding(f"notify by {name}", "ok", "the address is valid; pg-roundtrip notify --test sends a message")
        for name, why in faults_of_channels(settings).items()
    ]
