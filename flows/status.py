"""`pg-roundtrip status`: say whether backups are fine, for people, scripts and browsers."""

# ruff: noqa: PLC0415  (what a command does is imported when it is called)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.config import DEFAULT
from blocks.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from tasks.status.summary import Status

_NOT_FINE = 1


def show(
    plan: Annotated[
        str, typer.Option("--plan", help="The plan: 'default' is what the environment describes.")
    ] = DEFAULT,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the status page to this file, for a browser.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Say whether backups are fine, in one sentence; exit status 0 if they are, otherwise 1."""
    from blocks.config.resolve import resolve_plan
    from flows import terminal
    from tasks.clock import utc_now
    from tasks.status.summary import read_status

    status = read_status(resolve_plan(plan, frozenset({"storage"})), utc_now())
    if html:
        _write(html, status)
    terminal.show_json(status.document()) if as_json else terminal.show_status(status)
    if not status.fine:
        raise typer.Exit(_NOT_FINE)


def _write(file: Path, status: Status) -> None:
    from tasks.status.page import render

    try:
        file.write_text(render(status), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            [Problem(f"{file} cannot be written [{error.strerror}]", "choose another file")]
        ) from None
