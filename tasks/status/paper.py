"""Write a recovery sheet: what somebody needs who has nothing but this page, a key and standard tools."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from blocks.config.age_keys import Recipient
from blocks.config.plan import Plan
from tasks.engine.wording import iso, visible

_NAME = "backup_20261121_020713.sql.gz.age"
_STYLE = "body{font:12pt/1.5 sans-serif;max-width:42em;margin:2em auto}pre{white-space:pre-wrap;border:1px solid #999;padding:.6em}"


@dataclass(frozen=True)
class Section:
    """A heading, what it says in sentences, and lines to copy or type."""

    title: str
    sentences: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def sheet(plan: Plan, recipients: Sequence[Recipient], secrets: Sequence[str], now: datetime) -> list[Section]:
    """Return the sections of a plan's sheet; `secrets` are lines of private keys, and usually empty."""
    return [
        Section(
            f"Recovery sheet: {plan.name}",
            (f"Made on {iso(now)} by pg-roundtrip. Print it again after a change of keys or places.",),
        ),
        _keys(recipients),
        *([_secret(secrets)] if secrets else []),
        Section("Where the backups are", lines=tuple(_places(plan))),
        Section(
            "Restore with standard tools",
            (
                f"{_NAME} stands for the backup; its name is the time (UTC) at which it was taken.",
                "key.txt is the file with the private key.",
            ),
            _commands(plan),
        ),
        Section("With pg-roundtrip", lines=("AGE_IDENTITY_FILE=key.txt pg-roundtrip restore latest --to URL",)),
    ]


def as_text(sections: Sequence[Section]) -> str:
    """Write it for a terminal or a printer."""
    written = []
    for section in sections:
        written += [section.title, "=" * len(section.title), *section.sentences]
        written += [f"    {line}" for line in section.lines]
        written.append("")
    return "\n".join(map(visible, written)).rstrip() + "\n"


def as_html(sections: Sequence[Section]) -> str:
    """Write it as a page that a browser prints."""
    parts = []
    for section in sections:
        lines = "\n".join(escape(visible(line)) for line in section.lines)
        parts.append(f"<h2>{escape(visible(section.title))}</h2>")
        parts += [f"<p>{escape(visible(sentence))}</p>" for sentence in section.sentences]
        parts += [f"<pre>{lines}</pre>"] if lines else []
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Recovery sheet</title><style>{_STYLE}</style>\n{body}\n</html>\n'


def _keys(recipients: Sequence[Recipient]) -> Section:
    if not recipients:
        return Section("Keys", ("New backups are not encrypted: no BACKUP_AGE_RECIPIENTS is set here.",))
    lines = [line for recipient in recipients for line in (recipient.text, f"  {recipient.fingerprint}")]
    said = "New backups are encrypted to these public keys. The private key of any one of them opens a backup."
    where = "Write down here where each private key is kept: ______________________________"
    return Section("Keys", (said, where), tuple(lines))


def _secret(secrets: Sequence[str]) -> Section:
    said = "Whoever has this line can read every backup that is encrypted to its public key. Keep this page like the data itself."
    return Section("The private key", (said,), tuple(secrets))


def _places(plan: Plan) -> Iterator[str]:
    for place in plan.destinations:
        store = place.storage
        at = (
            store.address
            if store.endpoint.startswith("file:")
            else f"{store.endpoint} bucket and folder {store.address}"
        )
        yield f"{place.name}: {at}"


def _commands(plan: Plan) -> tuple[str, ...]:
    database = shlex.quote(plan.server.database if plan.server else "DATABASE")
    plain = _NAME.removesuffix(".age")
    return (
        _fetch(plan),
        f"age --decrypt -i key.txt -o {plain} {_NAME}",
        f"createdb --template=template0 {database}",
        f"gunzip -c {plain} | psql -v ON_ERROR_STOP=1 --single-transaction -d {database}",
    )


def _fetch(plan: Plan) -> str:
    store = plan.storage
    if store.endpoint.startswith("file:"):
        return f"cp {shlex.quote(f'{store.address}/{_NAME}')} ."
    address = shlex.quote(f"s3://{store.address}/{_NAME}")
    return f"aws --endpoint-url {shlex.quote(store.endpoint)} s3 cp {address} ."
