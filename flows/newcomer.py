"""The steps from a database and a bucket to the first proven backup, each with what it shows and asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

import typer

from blocks.config.env_file import write_env_file
from blocks.config.environment import set_in_environment
from blocks.config.load import Need, load_settings
from blocks.config.plan import Plan
from blocks.config.taken import plan_variables, require_writable, secret_variables
from blocks.errors import ConfigurationError
from blocks.sql.server import Server
from flows import terminal
from flows.backup import backup
from flows.lines import print_error, print_line
from flows.questions import CHANGES, QUESTIONS, agree, ask, on_a_terminal, say_taken
from flows.restore_drill import restore_drill
from flows.runs.command import run_flow
from tasks.clock import utc_now
from tasks.engine.repository.manifest import Verdict
from tasks.engine.repository.proposal import Span, guessed_object, propose, variables
from tasks.status.check import check_plan, check_variables
from tasks.status.env_file import exposed
from tasks.status.proposal import what_it_costs, what_it_does
from tasks.status.summary import read_status

_FAILED, _INCONCLUSIVE = 1, 3
_NEEDS: frozenset[Need] = frozenset({"database", "storage", "drill"})


def ask_and_check(*, no_secrets: bool) -> tuple[dict[str, str], Plan]:
    """Ask until database and storage pass every check; exits if they don't and nobody can correct them."""
    load_settings(frozenset() if on_a_terminal() else _NEEDS)
    given, answers = plan_variables(), dict[str, str]()
    require_writable(given, no_secrets=no_secrets)
    say_taken(given)
    while True:
        answers = ask(QUESTIONS, given, answers) if on_a_terminal() else {}
        if plan := _checked({**given, **answers}, correctable=bool(answers)):
            return {**given, **answers}, plan
        if not answers or not agree("Correct the answers?"):
            raise typer.Exit(_FAILED)


def _checked(values: Mapping[str, str], *, correctable: bool) -> Plan | None:
    """Return the plan if it passes the checks of `pg-roundtrip check`, and show them."""
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


def agree_on_policies(given: Mapping[str, str], source: Server, price: float | None) -> dict[str, str]:
    """Show what suits the database, until whoever can be asked agrees; returns all settings."""
    database_bytes = source.inspect().size_bytes
    chosen = {**given, **variables(propose(database_bytes), given)}
    while True:
        plan = _plan_of(chosen)
        terminal.show_facts({**what_it_does(plan), **what_it_costs(plan, guessed_object(database_bytes), price)})
        changes = [q for q in CHANGES if q.name in chosen and q.name not in given]
        if not changes or agree("Use this schedule and retention?"):
            return chosen
        chosen |= ask(changes, given, chosen)


def _plan_of(values: Mapping[str, str]) -> Plan:
    """The plan that these settings describe."""
    return Plan.from_settings(load_settings(frozenset(), values))


def write(file: Path, values: Mapping[str, str], *, force: bool, no_secrets: bool) -> None:
    """Write the file, and warn if git would take it."""
    left_out = secret_variables(values) if no_secrets else ()
    kept = {name: value for name, value in values.items() if name not in left_out}
    old = write_env_file(file, kept, left_out, force=force)
    print_line(f"Wrote {file}" + (f"; the old one is {old}" if old else ""))
    if left_out:
        print_line(f"Not in it: {', '.join(left_out)}")
    terminal.show_warnings([found for path in (file, old) if path and (found := exposed(path))])


def prove(values: Mapping[str, str], price: float | None) -> int:
    """Take the first backup and drill it, as the commands do; returns the exit status of the drill."""
    for name, value in values.items():
        set_in_environment(name, value)
    done = run_flow(backup)
    terminal.show_backup(done)
    verdict = terminal.show_drill(run_flow(restore_drill))
    terminal.show_facts(what_it_costs(_plan_of(values), Span(done.object_bytes, done.object_bytes), price))
    return {Verdict.PROVEN: 0, Verdict.FAILED: _FAILED}.get(verdict or Verdict.INCONCLUSIVE, _INCONCLUSIVE)


def say_next(file: Path, values: Mapping[str, str], *, backed_up: bool) -> None:
    """End with what the status page says, and with what runs backups from now on."""
    if backed_up:
        print_line(read_status(_plan_of(values), utc_now()).judgement.sentence)
    path = quote(str(file) if file.is_absolute() else f"./{file}")
    print_line(f"Next, run backups and drills from now on: set -a; . {path}; set +a; pg-roundtrip serve")
    if file.name == ".env":
        print_line("or, with the file beside docker-compose.yml: docker compose up --build --detach --no-deps backup")
