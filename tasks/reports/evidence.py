"""Write the report on a month for people who keep files: one page of HTML, and one table of CSV."""

# ruff: noqa: PLC0415  (few commands write pages, and the library takes a while to load)

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

from tasks.engine.evidence.month import Month
from tasks.engine.repository.checks import counted
from tasks.engine.repository.manifest import Verdict
from tasks.engine.wording import human_bytes, human_seconds, iso, visible

Row = dict[str, object]
_TEMPLATE = Path(__file__).with_name("evidence.html")
_COLUMNS = ("kind", "at", "backup", "result", "target", "seconds", "bytes", "certificate", "detail")
# A spreadsheet takes a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summary(month: Month) -> dict[str, str]:
    """Say in a line each what matters: the chain, the targets, and how much there was."""
    verdicts = [drill.verdict for drill in month.drills]
    proven = f"{verdicts.count(Verdict.PROVEN)} PROVEN, {verdicts.count(Verdict.FAILED)} FAILED, {verdicts.count(Verdict.INCONCLUSIVE)} INCONCLUSIVE"
    return {
        "month": f"{month.name}, up to {iso(month.period.end)}",
        "certificates": _chain(month),
        "backups": f"{_counting(month)}; {_rpo(month)}",
        "drills": f"{len(month.drills)}: {proven}; {_rto(month)}",
        "restores": f"{len(month.restores)} certified",
    }


def _counting(month: Month) -> str:
    flaws = sorted(Counter(b.flaw for b in month.backups if b.flaw).items())
    rest = ", ".join(f"{count} {flaw}" for flaw, count in flaws)
    return f"{sum(not b.flaw for b in month.backups)}{f', and what does not count: {rest}' if rest else ''}"


def _chain(month: Month) -> str:
    chain = month.chain
    if chain.faults:
        return f"{counted(len(chain.faults), 'fault')} in the chain, the first: {chain.faults[0]}"
    if not chain.newest:
        return "none: what follows is not signed"
    signed = "all are signed" if chain.verified else "signatures were not checked, for want of a public key"
    return f"{counted(len(chain.links), 'certificate')} about this database, none is missing, {signed}"


def _rpo(month: Month) -> str:
    longest = f"the longest time without one was {_time(month.longest_gap)}" if month.longest_gap else ""
    target = month.targets.rpo_s
    return f"{longest}; RPO_TARGET of {_time(target)} {month.rpo}" if target else f"{longest}; no RPO_TARGET is set"


def _rto(month: Month) -> str:
    target = month.targets.rto_s
    if not target:
        return "no RTO_TARGET is set"
    return f"RTO_TARGET of {_time(target)} {month.rto or 'not measured: no backup was restored'}"


def _time(length: timedelta | float | None) -> str:
    return human_seconds(length.total_seconds() if isinstance(length, timedelta) else length or 0)


def as_html(month: Month) -> str:
    """Return the page: it needs no other file, runs no script, and prints well."""
    from jinja2 import Environment, StrictUndefined

    pages = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"time": _time, "bytes": human_bytes, "at": _at}
    pages.finalize = lambda value: visible(value) if type(value) is str else value
    page: str = pages.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(month=month, summary=summary(month))
    return page


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def as_csv(month: Month) -> str:
    """Return one table of everything: a kind and a moment in each row."""
    text = StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="")
    writer.writeheader()
    for row in sorted((*_backups(month), *_runs(month), *_findings(month)), key=lambda row: str(row["at"])):
        writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _backups(month: Month) -> Iterator[Row]:
    for b in month.backups:
        yield {
            "kind": "backup", "at": iso(b.at), "backup": b.name, "result": "kept" if b.kept else "removed", "target": b.rpo,
            "seconds": "" if b.gap is None else round(b.gap.total_seconds()), "bytes": b.object_bytes,
            "detail": b.flaw,
        }  # fmt: skip
    for g in month.gaps:
        yield {
            "kind": "gap", "at": iso(g.start), "backup": g.after, "target": "not met", "seconds": round(g.length.total_seconds()),
            "detail": f"until {g.before or iso(g.end)}",
        }  # fmt: skip
        for told in g.outages:
            yield {"kind": "outage", "at": iso(told.since), "backup": g.after, "detail": told.reason,
                   "seconds": round((told.until - told.since).total_seconds()) if told.until else ""}  # fmt: skip


def _runs(month: Month) -> Iterator[Row]:
    for d in month.drills:
        yield {
            "kind": "drill", "at": iso(d.at), "backup": d.backup, "result": d.verdict.value, "target": d.rto,
            "seconds": d.restore_s, "certificate": d.certificate or "not signed", "detail": d.cause,
        }  # fmt: skip
    for r in month.restores:
        yield {
            "kind": "restore", "at": iso(r.at), "backup": r.backup, "result": "compared" if r.compared else "not compared",
            "target": r.rto, "seconds": r.restore_s, "certificate": r.certificate, "detail": r.target,
        }  # fmt: skip


def _findings(month: Month) -> Iterator[Row]:
    for kind, texts in (("fault", month.chain.faults), ("note", month.chain.notes)):
        for text in texts:
            yield {"kind": kind, "at": iso(month.period.end), "detail": text}


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
