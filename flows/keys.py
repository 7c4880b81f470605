"""`pg-roundtrip key …`: make keys for encrypted backups, see that they open what is kept, and change them."""

# ruff: noqa: PLC0415  (what a command does is imported when it is called)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blocks.config import DEFAULT
from flows.files import write_private
from flows.lines import print_line

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=__doc__)

PlanName = Annotated[str, typer.Option("--plan", help="The plan: 'default' is what the environment describes.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output; logs go to standard error.")
]


@app.command("new")
def new(
    out: Annotated[
        Path,
        typer.Option("--out", help="Write the private key to this new file, which only you can read; '-' prints it."),
    ],
) -> None:
    """Make a key: keep the private one in a file, and print the public one, for BACKUP_AGE_RECIPIENTS."""
    from tasks.clock import utc_now
    from tasks.engine.age.new_key import new_key_file

    text, identity = new_key_file(utc_now())
    if str(out) == "-":
        for line in text.splitlines():
            print_line(line)
        return
    write_private(out, text)
    print_line(identity.recipient.text)


@app.command("check")
def check(
    plan: PlanName = DEFAULT,
    every: Annotated[bool, typer.Option("--all", help="Try every backup instead of a sample.")] = False,
    as_json: AsJson = False,
) -> None:
    """See whether the private keys at hand open the newest, the oldest and a sample of the kept backups."""
    from flows.key_check import key_check
    from flows.runs.command import run_flow

    found = run_flow(key_check, plan=plan, every=every)
    if as_json:
        from flows.terminal import show_json

        show_json(found.document())
    else:
        print_line(found.sentence)
        for one in found.locked:
            print_line(f"  {one.backup}: {one.problem}")
    if found.locked:
        raise typer.Exit(1)
