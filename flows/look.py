"""`pg-roundtrip show` and `pg-roundtrip diff`: look into backups without a server."""

# ruff: noqa: PLC0415  (what a command does is imported when it is called)

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from blocks.config import DEFAULT
from blocks.errors import ConfigurationError, Problem
from flows.lines import print_line

_Plan = Annotated[str, typer.Option("--plan", help="The plan: 'default' is what the environment describes.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
_LONGEST_CELL = 60


def show(
    backup: Annotated[str, typer.Argument(help="The backup's name, or 'latest'.")],
    table: Annotated[str | None, typer.Option("--table", help="Show one table, such as public.orders.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Show the statements that create it.")] = False,
    rows: Annotated[int, typer.Option("--rows", min=0, help="With --table, show that many of its rows.")] = 0,
    plan: _Plan = DEFAULT,
    as_json: _Json = False,
) -> None:
    """Show what is in a backup: tables, statements, rows. Reads only the parts that it shows."""
    from blocks.config.resolve import resolve_plan
    from flows import terminal
    from tasks.look import open_backup, table_named

    if rows and not table:
        raise ConfigurationError([Problem("--rows needs --table", "name the table whose rows to show")])
    opened = open_backup(resolve_plan(plan, frozenset({"storage"})), backup)
    wanted = table_named(opened.manifest, table) if table else None
    found = opened.document(wanted, schema=schema, rows=rows)
    terminal.show_json(found) if as_json else _show(found)


def diff(
    before: Annotated[str, typer.Argument(help="The name of the older backup.")],
    now: Annotated[str, typer.Argument(help="The name of the newer one, or 'latest'.")] = "latest",
    table: Annotated[str | None, typer.Option("--table", help="Compare only this table.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Also name the statements that differ.")] = False,
    plan: _Plan = DEFAULT,
    as_json: _Json = False,
) -> None:
    """Show how two backups differ: tables that came, went, grew, shrank or changed, and the schema."""
    from blocks.config.resolve import resolve_plan
    from flows import terminal
    from tasks.look import comparison, open_backup

    chosen = resolve_plan(plan, frozenset({"storage"}))
    found = comparison(open_backup(chosen, before), open_backup(chosen, now), table, schema=schema)
    terminal.show_json(found) if as_json else _show_difference(found)


def _show(found: Mapping[str, Any]) -> None:
    from flows import terminal
    from tasks.engine.wording import human_bytes

    if schema := found.get("schema"):
        terminal.show_sql(schema)
        return
    if "first_rows" in found:
        cells = [["NULL" if value is None else _cut(value) for value in row] for row in found["first_rows"]]
        terminal.show_table(found["columns"], cells)
        return
    terminal.show_facts(
        {name.replace("_", " "): shown for name, value in found.items() if (shown := _fact(name, value))}
    )
    if "tables" in found:
        rows = [(t["name"], f"{t['rows']:,}", human_bytes(t["raw_bytes"])) for t in found["tables"]]
        terminal.show_table(("table", "rows", "SQL"), rows)


def _fact(name: str, value: object) -> str:
    """Return a fact as people read it; empty for what has a table of its own, and for what isn't there."""
    from tasks.engine.wording import human_bytes

    if name == "tables":
        return ""
    if name.endswith("_bytes") and isinstance(value, int):
        return human_bytes(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {version}" for key, version in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cut(value: str) -> str:
    return value if len(value) <= _LONGEST_CELL else value[: _LONGEST_CELL - 1] + "…"


def _show_difference(found: Mapping[str, Any]) -> None:
    from flows import terminal

    if found["same"]:
        print_line("Both have the same contents")
        return
    rows = [
        (t["name"], t["change"], f"{t['rows_before']:,}", f"{t['rows_now']:,}", t["columns"]) for t in found["tables"]
    ]
    if rows:
        terminal.show_table(("table", "is", "rows before", "rows now", "columns"), rows)
    print_line(f"{found['same_tables']} tables are the same")
    facts = {"schema": ", ".join(found["parts"])} if found["parts"] else {}
    terminal.show_facts(facts | dict(found["others"]))
    for kind, titles in found.get("schema", {}).items():
        for title in titles:
            print_line(f"{kind}: {title}")
