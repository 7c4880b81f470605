"""The command line: one command per verb, one exit status per outcome.

0: done (a drill: PROVEN); 1: failed; 2: wrong usage or configuration; 3: INCONCLUSIVE.
"""

# ruff: noqa: PLC0415  (each command imports only what it needs: Prefect costs a second and 100 MB)

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from blocks.config import DEFAULT
from blocks.errors import ConfigurationError, CopiesMissing, PgRoundtripError, SetIncomplete
from flows import evidence, init, keys, look, plans, status
from flows.lines import print_error, print_line
from flows.notify import notify
from flows.runs.logs import log_plainly
from tasks.engine.repository.names import LATEST, LATEST_SET
from tasks.engine.wording import tool_version

if TYPE_CHECKING:
    from blocks.config.load import Need

FAILED, INCONCLUSIVE = 1, 3
# A pipe whose reader is gone, a full disk, a terminal that was closed.
_NOT_PRINTED = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__,
    context_settings={"help_option_names": ["--help", "-h"]},
)  # fmt: skip
app.command("notify")(notify)
app.add_typer(plans.app, name="plan", help="Manage the plans of more databases, and let workers run them.")
app.add_typer(evidence.app, name="evidence", help="Sign what drills prove, check it, and report on a month.")
app.add_typer(keys.app, name="key", help="Make, check and change the keys of encrypted backups.")
for _name, _verb in (("status", status.show), ("init", init.init), ("show", look.show), ("diff", look.diff)):
    app.command(_name)(_verb)

PlanName = Annotated[str, typer.Option("--plan", help="The plan: 'default' is what the environment describes.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output; logs go to standard error.")
]


Record = Annotated[
    bool | None,
    typer.Option(
        "--record/--no-record",
        help="Record the run on a Prefect server; without either, it is recorded if PREFECT_API_URL names one.",
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"pg-roundtrip {tool_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Handle the options before the verb."""


@app.command()
def check(plan: PlanName = DEFAULT) -> None:
    """Check that backups will work: settings, server, rights, bucket."""
    _require(plan, "database", "storage", "drill")
    from blocks.config.resolve import resolve_plan
    from flows import terminal
    from flows.notify import check_channels
    from tasks.status.check import check_plan, check_variables
    from tasks.status.check_hooks import check_hooks

    findings = check_plan(resolve_plan(plan, frozenset({"database", "storage"})))
    if plan == DEFAULT:
        findings += check_variables()
    findings += [*check_hooks(), *check_channels()]
    terminal.show_findings(findings)
    if any(f.result == "error" for f in findings):
        raise typer.Exit(FAILED)


@app.command()
def backup(plan: PlanName = DEFAULT, as_json: AsJson = False, record: Record = None) -> None:
    """Take a backup now, then apply the retention policy."""
    with _told("backup"):
        _require(plan, "database", "storage")
    _choose(record)
    from flows import terminal
    from flows.backup import backup as flow

    _run_and_show(flow, partial(terminal.show_backup, as_json=as_json), plan=plan)


@app.command()
def copy(
    backup: Annotated[str | None, typer.Argument(help="The backup's name; all that is missing when left out.")] = None,
    plan: PlanName = DEFAULT,
    as_json: AsJson = False,
    record: Record = None,
) -> None:
    """Copy to each place the backups that it lacks."""
    _require(plan, "storage")
    _choose(record)
    from flows import terminal
    from flows.copy import copy as flow

    _run_and_show(flow, partial(terminal.show_copies, as_json=as_json), plan=plan, backup=backup or "")


@app.command("list")
def list_backups(
    plan: PlanName = DEFAULT,
    sets: Annotated[bool, typer.Option("--sets", help="List what each run took of a whole server instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the backups in the bucket: size, rows and newest verdict."""
    _require(plan, "storage")
    from blocks.config.resolve import resolve_plan
    from flows import terminal
    from tasks.status import listing

    chosen = resolve_plan(plan, frozenset({"storage"}))
    found, unread = (listing.list_sets(chosen), "") if sets else listing.list_everywhere(chosen)
    if unread:
        print_error([unread], "WARNING")
    show = terminal.show_sets if sets else terminal.show_catalog
    terminal.show_json(found) if as_json else show(found)


@app.command()
def acknowledge(backup: Annotated[str, typer.Argument(help="The backup's name.")], plan: PlanName = DEFAULT) -> None:
    """Say that the anomalies of a backup are known."""
    _require(plan, "storage")
    from blocks.config.resolve import resolve_plan
    from tasks.anomalies import acknowledge

    print_line(acknowledge(resolve_plan(plan, frozenset({"storage"})), backup))


@app.command()
def drill(
    backup: Annotated[str | None, typer.Argument(help="The backup's name; the newest when left out.")] = None,
    plan: PlanName = DEFAULT,
    as_json: AsJson = False,
    record: Record = None,
) -> None:
    """Restore a backup elsewhere and prove that it is what was dumped."""
    with _told("restore-drill"):
        _require(plan, "drill", "storage")
    if plan == DEFAULT:
        from blocks.config.load import load_settings
        from tasks.engine.drill.query_file import load_queries

        load_queries(load_settings(frozenset()).verify_queries_file)
    _choose(record)
    from flows import terminal
    from flows.restore_drill import restore_drill
    from tasks.engine.repository.manifest import Verdict

    verdict = _run_and_show(
        restore_drill, partial(terminal.show_drill, as_json=as_json), plan=plan, backup=backup or ""
    )
    if verdict is not Verdict.PROVEN:
        raise typer.Exit(FAILED if verdict is Verdict.FAILED else INCONCLUSIVE)


@app.command()
def prune(
    plan: PlanName = DEFAULT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed, and why; remove nothing.")
    ] = False,
    even_if_stale: Annotated[
        bool, typer.Option("--even-if-stale", help="Remove old backups even if no recent one exists.")
    ] = False,
    record: Record = None,
) -> None:
    """Remove the backups that the retention policy no longer keeps."""
    with _told("prune"):
        _require(plan, "storage")
    _choose(record)
    from flows import terminal
    from flows.prune import prune as flow

    decided = _run(flow, plan=plan, dry_run=dry_run, even_if_stale=even_if_stale)
    terminal.show_retention(decided, dry_run=dry_run)


@app.command()
def restore(  # noqa: PLR0913, PLR0917  (one argument for each option)
    backup: Annotated[str | None, typer.Argument(help="The backup's name, or 'latest'.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="The database's URL; RESTORE_DATABASE_URL when left out.")
    ] = None,
    wanted_set: Annotated[
        str | None, typer.Option("--set", help="Instead of a backup: a set's name, or 'latest': a whole server.")
    ] = None,
    to_server: Annotated[
        str | None, typer.Option("--to-server", help="With --set: the server, by the URL of any of its databases.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a database that has tables.")] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not compare the restored rows before they become visible.")
    ] = False,
    too: Annotated[
        bool,
        typer.Option("--globals", help="First create missing roles and tablespaces, then the database's settings."),
    ] = False,
    only: Annotated[
        bool, typer.Option("--globals-only", help="Create missing roles and tablespaces, nothing else.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --globals, show the plan and change nothing.")
    ] = False,
    plan: PlanName = DEFAULT,
    as_json: AsJson = False,
    record: Record = None,
) -> None:
    """Restore a backup to a database: all of it, or nothing."""
    if (backup is None) == (wanted_set is None) or (wanted_set and (to or replace)) or (to_server and not wanted_set):
        raise typer.BadParameter(
            "name a backup and where --to, or a --set and --to-server, which never takes --replace"
        )
    if dry_run and not (too or only or wanted_set):
        raise typer.BadParameter("--dry-run is for --globals: it shows which roles and settings would be created")
    mode = ("only" if only else "too" if too or wanted_set else "none") + (" (plan)" if dry_run else "")
    _take_target_url(to or to_server)
    backup = backup or (LATEST_SET if wanted_set == LATEST else wanted_set)
    _require(plan, "storage", "target")
    _choose(record)
    from flows import terminal
    from flows.restore import restore as flow

    _run_and_show(
        flow, partial(terminal.show_restore, as_json=as_json, of_rows=mode in ("none", "too")),
        backup=backup, plan=plan, replace=replace, verify=not no_verify, globals_mode=mode,
    )  # fmt: skip


@app.command()
def serve() -> None:
    """Run schedules, flows and the Prefect UI in one process."""
    from flows.service.environment import prepare

    with _told("serve"):
        command = prepare()
    os.execv(sys.executable, command)  # noqa: S606  (ourselves, with what Prefect reads at its import)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the Prefect UI up and print its address.")] = False,
) -> None:
    """Back up, drill and prune a sample database on throwaway servers."""
    from flows.demo.story import run_demo

    run_demo(keep=keep)


def _require(plan: str, *needs: Need) -> None:
    """Report all configuration errors before anything is started, contacted or recorded."""
    if plan == DEFAULT:
        from blocks.config.load import load_settings

        load_settings(frozenset(needs))


@contextlib.contextmanager
def _told(verb: str) -> Iterator[None]:
    """Tell that a run can't even begin, because its configuration no longer works."""
    try:
        yield
    except ConfigurationError as error:
        from flows.runs.telling import tell_failure

        tell_failure(verb, DEFAULT, error)
        raise


def _choose(record: bool | None) -> None:
    """Choose whether Prefect records the run, before anything imports it."""
    from blocks.config.server import require_server
    from tasks.recording import choose

    if record:
        require_server("--record")
    if record is not None:
        choose(record)


def _take_target_url(url: str | None) -> None:
    """Move the target's URL from the arguments to the environment: other users of the machine can read arguments."""
    if url is None:
        return
    from blocks.config.environment import set_in_environment

    set_in_environment("RESTORE_DATABASE_URL", url)
    rest = [
        a
        for n, a in enumerate(sys.argv[1:], 1)
        if not a.startswith(("--to=", "--to-server=")) and not {"--to", "--to-server"} & {a, sys.argv[n - 1]}
    ]
    # -P: don't import a folder named `flows` in the working directory.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "flows.cli", *rest])  # noqa: S606  (ourselves, without the URL)


def _run(flow: Any, **parameters: Any) -> Any:
    """Run a flow and return its result, or raise its error."""
    from flows.runs.command import run_flow

    return run_flow(flow, **parameters)


def _run_and_show(flow: Any, show: Callable[[Any], Any], **parameters: Any) -> Any:
    """Run a flow and show its result: also what was done for some databases where others failed."""
    try:
        done = _run(flow, **parameters)
    except (SetIncomplete, CopiesMissing) as error:
        if error.facts is not None:
            show(error.facts)
        raise
    return show(done)


def _terminate(number: int, _frame: object) -> NoReturn:
    """Exit by an exception, so that cleanup kills children and aborts uploads."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115, PTH123
    log_plainly()
    try:
        app()
    except PgRoundtripError as error:
        if not error.logged:
            print_error(error.lines())
        sys.exit(error.exit_status)
    except OSError as error:
        if error.errno not in _NOT_PRINTED:
            logging.getLogger(__name__).exception("Unhandled exception")
            sys.exit(FAILED)
        # The work is done; only its result could not be written.
        print_error([f"The result could not be printed [{error.strerror}]"], "WARNING")
        os._exit(0)
    except Exception:  # Typer's own hook would print these unformatted
        logging.getLogger(__name__).exception("Unhandled exception")
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
