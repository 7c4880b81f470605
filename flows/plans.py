"""`pg-roundtrip plan …`: manage plans beyond the one that the environment describes, and let workers run them."""

# ruff: noqa: PLC0415  (what a command does is imported when it is called)

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blocks.config.server import require_server

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=__doc__)


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Its name: lowercase letters, digits and dashes.")],
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite an existing plan of this name.")] = False,
    pool: Annotated[
        str | None, typer.Option("--pool", help="Also create its deployments, for the workers of this work pool.")
    ] = None,
) -> None:
    """Save what the environment describes as a plan, from the same variables as the plan `default`."""
    from flows.new_plan import add_plan

    add_plan(name, pool, replace=replace)


@app.command("list")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """List the saved plans: which database, which storage, and when backups and drills are due."""
    require_server("A list of saved plans")
    from flows import terminal
    from tasks.plans import list_plans

    found = list_plans()
    terminal.show_json(found) if as_json else terminal.show_plans(found)


@app.command("import")
def load(
    file: Annotated[Path, typer.Argument(help="The file of plans (docs/scaling.md).")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before anything is changed.")] = False,
) -> None:
    """Save many plans from one file, and create their deployments; what is saved already is left alone."""
    require_server("A file of plans")
    from flows.fleet import import_fleet

    import_fleet(file, dry_run=dry_run, yes=yes)


@app.command("export")
def dump(
    names: Annotated[list[str] | None, typer.Argument(help="Some plans instead of all.")] = None,
) -> None:
    """Write a file of the saved plans to standard output, for `import`; secrets become names of variables."""
    require_server("A list of saved plans")
    from flows.fleet import export_fleet
    from flows.lines import print_line

    for line in export_fleet(names or []).splitlines():
        print_line(line)
