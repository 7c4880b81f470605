"""`pg-roundtrip init`: lead a newcomer from a database and a bucket to a file `.env` and the first proven backup."""

# ruff: noqa: PLC0415  (what a command does is imported when it is called)

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.lines import print_error, print_line

if TYPE_CHECKING:
    from blocks.config.load import Need
    from blocks.config.plan import Plan
    from blocks.sql.server import Server

_FAILED, _INCONCLUSIVE = 1, 3
_NEEDS: frozenset[Need] = frozenset({"database", "storage", "drill"})
File = Annotated[Path, typer.Option("--file", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing file, and keep it as .env.old beside it.")]
NoSecrets = Annotated[bool, typer.Option("--no-secrets", help="Leave passwords and secret keys out of the file.")]
NoBackup = Annotated[bool, typer.Option("--no-backup", help="Write the file, but take no backup.")]
Price = Annotated[
    float | None,
    typer.Option("--price-per-gb-month", min=0, help="Your storage's price in USD; 0.023, Amazon S3 Standard's, is an example."),
]  # fmt: skip


def init(
    file: File = Path(".env"),
    force: Force = False,
    no_secrets: NoSecrets = False,
    no_backup: NoBackup = False,
    price: Price = None,
) -> None:
    """Set everything up: ask, check, propose, write .env, take the first backup and drill it."""
    from blocks.config.env_file import require_new
    from flows.questions import on_a_terminal

    asking = on_a_terminal()
    require_new(file, force=force)
    given, plan = _ask_and_check(asking=asking, no_secrets=no_secrets)
    given = _propose(given, plan.source, price, asking=asking)
    _write(file, given, force=force, no_secrets=no_secrets)
    status = 0 if no_backup else _prove(given, price)
    _say_next(file, given, backed_up=not no_backup)
    raise typer.Exit(status)


def _ask_and_check(*, asking: bool, no_secrets: bool) -> tuple[dict[str, str], Plan]:
    """Ask until database and storage pass every check; exits if they don't and nobody can correct them."""
    from blocks.config.load import load_settings
    from blocks.config.taken import plan_variables, require_writable
    from flows.questions import QUESTIONS, agree, ask, say_taken

    load_settings(frozenset() if asking else _NEEDS)
    given, answers = plan_variables(), dict[str, str]()
    require_writable(given, no_secrets=no_secrets)
    say_taken(given)
    while True:
        answers = ask(QUESTIONS, given, answers) if asking else {}
        if plan := _checked({**given, **answers}, correctable=bool(answers)):
            return {**given, **answers}, plan
        if not answers or not agree("Correct the answers?", asking=asking):
            raise typer.Exit(_FAILED)


def _checked(values: Mapping[str, str], *, correctable: bool) -> Plan | None:
    """Return the plan if it passes the checks of `pg-roundtrip check`, and show them."""
    from blocks.config.load import load_settings
    from blocks.config.plan import Plan
    from blocks.errors import ConfigurationError
    from flows import terminal
    from tasks.status.check import check_plan, check_variables

    try:
        plan = Plan.from_settings(load_settings(_NEEDS, values))
    except ConfigurationError as error:
        if not correctable:
            raise
        print_error(error.lines())
        return None
    findings = [*check_plan(plan), *check_variables()]
    terminal.show_findings(findings)
    return None if any(finding.result == "error" for finding in findings) else plan


def _propose(given: Mapping[str, str], source: Server, price: float | None, *, asking: bool) -> dict[str, str]:
    """Show what suits the database, until whoever can be asked agrees; returns all settings."""
    from flows import terminal
    from flows.questions import CHANGES, agree, ask
    from tasks.engine.repository.proposal import guessed_object, propose, variables
    from tasks.reports.proposal import what_it_costs, what_it_does

    database_bytes = source.inspect().size_bytes
    chosen = {**given, **variables(propose(database_bytes), given)}
    while True:
        plan = _plan_of(chosen)
        terminal.show_facts({**what_it_does(plan), **what_it_costs(plan, guessed_object(database_bytes), price)})
        changes = [q for q in CHANGES if q.name in chosen and q.name not in given]
        if not changes or agree("Use this schedule and retention?", asking=asking):
            return chosen
        chosen |= ask(changes, given, chosen)


def _plan_of(values: Mapping[str, str]) -> Plan:
    """The plan that these settings describe."""
    from blocks.config.load import load_settings
    from blocks.config.plan import Plan

    return Plan.from_settings(load_settings(frozenset(), values))


def _write(file: Path, values: Mapping[str, str], *, force: bool, no_secrets: bool) -> None:
    """Write the file, and warn if git would take it."""
    from blocks.config.env_file import write_env_file
    from blocks.config.taken import secret_variables
    from flows import terminal
    from tasks.status.env_file import exposed

    left_out = secret_variables(values) if no_secrets else ()
    kept = {name: value for name, value in values.items() if name not in left_out}
    old = write_env_file(file, kept, left_out, force=force)
    print_line(f"Wrote {file}" + (f"; the old one is {old}" if old else ""))
    if left_out:
        print_line(f"Not in it: {', '.join(left_out)}")
    terminal.show_warnings([found for path in (file, old) if path and (found := exposed(path))])


def _prove(values: Mapping[str, str], price: float | None) -> int:
    """Take the first backup and drill it, as the commands do; returns the exit status of the drill."""
    from blocks.config.environment import set_in_environment
    from flows import terminal

    for name, value in values.items():
        set_in_environment(name, value)
    from flows.backup import backup
    from flows.restore_drill import restore_drill
    from flows.runs.logs import log_plainly
    from flows.runs.wrapping import run
    from tasks.engine.repository.manifest import Verdict
    from tasks.engine.repository.proposal import Span
    from tasks.reports.proposal import what_it_costs

    log_plainly()  # Prefect, where it is loaded, has installed its own handlers
    done = run(backup)
    terminal.show_backup(done.model_dump())
    report = run(restore_drill)
    terminal.show_report(report)
    terminal.show_facts(what_it_costs(_plan_of(values), Span(done.object_bytes, done.object_bytes), price))
    return {Verdict.PROVEN: 0, Verdict.FAILED: _FAILED}.get(report.verdict, _INCONCLUSIVE)


def _say_next(file: Path, values: Mapping[str, str], *, backed_up: bool) -> None:
    """End with what the status page says, and with what runs backups from now on."""
    from shlex import quote

    from tasks.clock import utc_now
    from tasks.status.summary import read_status

    if backed_up:
        print_line(read_status(_plan_of(values), utc_now()).judgement.sentence)
    path = quote(str(file) if file.is_absolute() else f"./{file}")
    print_line(f"Next, run backups and drills from now on: set -a; . {path}; set +a; pg-roundtrip serve")
    if file.name == ".env":
        print_line("or, with the file beside docker-compose.yml: docker compose up --build --detach --no-deps backup")
