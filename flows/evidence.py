"""`pg-roundtrip evidence …`: make a key that signs what drills prove, check the signed chain, and report on a month."""

# ruff: noqa: PLC0415  (what a command does is imported when it is called)

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.config import DEFAULT
from blocks.errors import EvidenceBroken
from flows.files import writable, write_private
from flows.lines import print_error, print_line

if TYPE_CHECKING:
    from blocks.config.plan import Plan

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=__doc__)

PlanName = Annotated[str, typer.Option("--plan", help="The plan: 'default' is what the environment describes.")]
PublicKeys = Annotated[
    list[Path] | None,
    typer.Option("--public-key", help="A file with the public key, repeatable; that of EVIDENCE_KEY when left out."),
]


@app.command("key")
def key(
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the private key to this new file, which only you can read.")
    ] = None,
) -> None:
    """Make a key: print the private one, or keep it in a file, and the public one for whoever checks."""
    from tasks.engine.evidence.keys import new_key

    private, public = new_key()
    if out is None:
        _print(private.splitlines())
        print_error(["Its public key, for whoever checks:", *public.pem.splitlines()], "INFO")
    else:
        write_private(out, private)
        _print(public.pem.splitlines())


@app.command("check")
def check(
    public_key: PublicKeys = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Check the downloaded files in this folder, instead of the bucket's.")
    ] = None,
    expect: Annotated[
        list[str] | None, typer.Option("--expect", help="The SHA-256 of a certificate that must be there; repeatable.")
    ] = None,
    plan: PlanName = DEFAULT,
) -> None:
    """Check every certificate: its signature, and that none before it is missing or changed."""
    from tasks.status.evidence import check_folder, check_plan, hashes_given, keys_given, require_keys

    require_keys(keys := keys_given(public_key or []))
    expected = hashes_given(expect or [])
    chain = check_folder(folder, keys, expected) if folder else check_plan(_plan(plan), keys, expected)
    _print(f"NOTE: {note}" for note in chain.notes)
    _print(f"FAULT: {fault}" for fault in chain.faults)
    if chain.faults or not chain.newest:
        raise EvidenceBroken(chain.faults[0] if chain.faults else "there are no certificates")
    print_line(f"{len(chain.links)} certificates: all are signed, none is missing")
    print_line(f"The newest is {chain.newest.file}, SHA-256 {chain.newest.sha256}")


@app.command("report")
def report(
    month: Annotated[str, typer.Option("--month", help="Which month, as 2026-11.")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the report to this file, as one HTML page.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write its rows to this file, as CSV.")] = None,
    public_key: PublicKeys = None,
    plan: PlanName = DEFAULT,
) -> None:
    """Report on a month: every backup, drill and restore, and whether RPO_TARGET and RTO_TARGET were met."""
    from tasks.reports.evidence import as_csv, as_html, summary
    from tasks.status.evidence import keys_given, look_at_month

    seen = look_at_month(_plan(plan), month, keys_given(public_key or []))
    for path, made in ((html, as_html), (csv, as_csv)):
        if path:
            _write(path, made(seen))
    _print(f"{name}: {text}" for name, text in summary(seen).items())


def _plan(name: str) -> Plan:
    from blocks.config.resolve import resolve_plan

    return resolve_plan(name, frozenset({"storage"}))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print_line(line)


def _write(path: Path, text: str) -> None:
    with writable(path):
        path.write_text(text, encoding="utf-8", newline="")
