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


@app.command("paper")
def paper(
    plan: PlanName = DEFAULT,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write it to this new file, as a page for a browser.")
    ] = None,
    with_private_key: Annotated[
        bool, typer.Option("--with-private-key", help="Print the private keys at hand on it, too.")
    ] = False,
) -> None:
    """Print a recovery sheet: which keys, where the backups are, and the commands that restore one."""
    from blocks.config.resolve import resolve_plan
    from tasks.key_paper import sheet_of
    from tasks.status.paper import as_html, as_text

    sections = sheet_of(resolve_plan(plan, frozenset({"storage"})), with_private_key=with_private_key)
    if html:
        write_private(html, as_html(sections))
        return
    for line in as_text(sections).splitlines():
        print_line(line)


@app.command("rotate")
def rotate(
    plan: PlanName = DEFAULT,
    add: Annotated[list[str] | None, typer.Option("--add", help="A public key to add; repeatable.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A public key, or its fingerprint, to take away; repeatable.")
    ] = None,
) -> None:
    """Show whom new backups are encrypted to, what to set for other keys, and which kept backups only old keys open."""
    from blocks.config.resolve import resolve_plan
    from tasks.rotation_told import told

    for line in told(resolve_plan(plan, frozenset({"storage"})), add or [], remove or []):
        print_line(line)


@app.command("rekey")
def rekey(
    backup: Annotated[str, typer.Argument(help="The backup's name; all kept ones when left out.")] = "",
    plan: PlanName = DEFAULT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show which would get other keys; change nothing.")
    ] = False,
) -> None:
    """Encrypt kept backups to the keys in BACKUP_AGE_RECIPIENTS, and to no other; their contents stay as they are."""
    from blocks.config.resolve import resolve_plan
    from tasks.rekey import rekey_kept

    for label, result in rekey_kept(resolve_plan(plan, frozenset({"storage"})), backup, dry_run=dry_run):
        if label in result.failed:
            print_line(f"{label}: keeps its keys: {result.failed[label]}")
        elif label:
            print_line(f"{label}: {'would get' if dry_run else 'has'} the new keys")
    would = "would get" if dry_run else "got"
    print_line(f"{len(result.done)} {would} the new keys, {result.had_them} had them, {len(result.failed)} keep others")
    if result.failed:
        raise typer.Exit(1)
