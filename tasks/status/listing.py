"""List the catalog, with facts from the manifest and report beside each backup."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from blocks.config.plan import Plan
from tasks.clock import utc_now
from tasks.engine.dump.warnings import bounded
from tasks.engine.repository.anomaly import readable
from tasks.engine.repository.cache import Kind
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.facts import Drilled, cache_of, drills, manifest_facts
from tasks.engine.repository.identity import Database
from tasks.engine.repository.manifest import Anomaly
from tasks.engine.repository.members import Member, all_members
from tasks.engine.repository.newest import is_future
from tasks.engine.repository.of_plan import from_each, from_nearest
from tasks.engine.repository.outline import Outline
from tasks.engine.repository.repository import Repository
from tasks.engine.repository.set_results import failures_of
from tasks.engine.repository.sets import BackupSet, Sets
from tasks.engine.wording import iso
from tasks.keys import repository_of

_AT_ONCE = 16
# Which verdict is shown of several places: bad news first.
_TELLING = ("FAILED", "PROVEN", "INCONCLUSIVE")


@dataclass(frozen=True)
class Contents:
    """What a backup's manifest says that it contains."""

    database: str
    system_identifier: str
    rows: int
    warnings: tuple[str, ...]
    raw_bytes: int = 0
    took_s: float = 0.0
    anomalies: tuple[Anomaly, ...] = ()
    without: str = ""


_CONTENTS = Kind("contents", TypeAdapter(Contents), lambda b: b.manifest_version)


def list_everywhere(plan: Plan) -> tuple[list[dict[str, Any]], str]:
    """List every backup as `list_catalog` does, with copies those of all places; also which place can't be read, if any.

    With copies, each has `places`, the verdict in each place that has it; `verdict` is then the worst of these that says
    anything. Raises StorageError if no place answers.
    """
    if not plan.copies:
        return list_catalog(plan), ""
    found = from_each(plan, list_catalog)
    away = [place.name for place in plan.destinations if place.name not in found]
    entries = dict[tuple[str, str], dict[str, Any]]()
    for place, listed in found.items():
        for entry in listed:
            known = entries.setdefault((entry.get("plan", ""), entry["name"]), {**entry, "places": {}})
            known["places"][place] = entry["verdict"]
    for entry in entries.values():
        entry["verdict"] = next((v for v in _TELLING if v in entry["places"].values()), None)
    said = f"{' and '.join(away)} can't be read, so what is there is not listed" if away else ""
    return sorted(entries.values(), key=lambda entry: str(entry["taken_at"])), said


def list_catalog(plan: Plan) -> list[dict[str, Any]]:
    """List every backup, oldest first.

    Each has `name, database, system_identifier, from_future, taken_at, object_bytes, globals_bytes, foreign, rows, warnings, verdict,
    without, anomalies, acknowledged`.
    `rows` is None for a foreign backup, and for one whose manifest cannot be read or has gone since the listing;
    `verdict` is None for one that was never drilled, `without` for one that is whole. Those of a whole server have the
    `plan` of their database.
    """
    if plan.databases:
        entries = [_named(member, entry) for member in all_members(plan) for entry in _entries_of(member)]
        return sorted(entries, key=lambda entry: str(entry["taken_at"]))
    repository = repository_of(plan)
    return read_entries(repository, repository.backups())


def _entries_of(member: Member) -> list[dict[str, Any]]:
    return read_entries(repository_of(member.plan), member.backups)


def _named(member: Member, entry: dict[str, Any]) -> dict[str, Any]:
    """Say which of a server's databases a backup is of, by the name of its plan."""
    return {**entry, "plan": member.plan.name}


def list_sets(plan: Plan) -> list[dict[str, Any]]:
    """List every set that can be read, oldest first, as its document says it; `removed` are backups that are gone since.

    With copies, they are those of the first place that answers.
    """
    return from_nearest(plan, _sets_in)


def _sets_in(plan: Plan) -> list[dict[str, Any]]:
    sets = Sets(plan.storage)
    contents = sets.contents()
    there = {(folder, backup.name) for folder, backups in contents.backups.items() for backup in backups}
    return [_set_entry(made, there) for made in sets.read_all(contents.sets)]


def _set_entry(made: BackupSet, there: Collection[tuple[str, str]]) -> dict[str, Any]:
    removed = [m.database for m in made.done if (m.folder, m.backup) not in there]
    failed = [one.model_dump() for one in failures_of(made)]
    return made.model_dump(mode="json") | {"done": made.counted, "failed": failed, "removed": removed}


def read_entries(repository: Repository, backups: Sequence[Backup], at_once: int = _AT_ONCE) -> list[dict[str, Any]]:
    """Read the manifests and reports of some backups: at most two requests for each, `at_once` at the same time."""
    contents = read_contents(repository, backups, at_once)
    drilled = drills(repository, backups, at_once)
    return [_entry(b, contents.get(b.name), drilled.get(b.name)) for b in backups]


def read_contents(repository: Repository, backups: Sequence[Backup], at_once: int = _AT_ONCE) -> dict[str, Contents]:
    """Read the manifests of some backups: what each contains, by its name; none for one that is unreadable."""
    ours = [b for b in backups if b.has_manifest]
    return cache_of(repository).facts(_CONTENTS, ours, lambda b: manifest_facts(repository, b, _contents_in), at_once)


def _contents_in(made: Outline) -> Contents:
    took_s = max(0.0, (made.ended_at - made.started_at).total_seconds())
    return Contents(
        made.database, made.system_identifier, made.rows, bounded(made.warnings), made.raw_bytes, took_s, readable(made.anomalies),
        bounded([made.without])[0],
    )  # fmt: skip


def _entry(backup: Backup, contents: Contents | None, drilled: Drilled | None) -> dict[str, Any]:
    return {
        "name": backup.name,
        "database": contents.database if contents else None,
        "system_identifier": (contents.system_identifier or None) if contents else None,
        "from_future": is_future(backup.taken_at, utc_now()),
        "taken_at": iso(backup.taken_at),
        "object_bytes": backup.object_bytes,
        "globals_bytes": backup.globals_bytes,
        "foreign": backup.foreign,
        "encrypted": backup.encrypted,
        "rows": contents.rows if contents else None,
        "warnings": list(contents.warnings) if contents else [],
        "verdict": drilled.verdict.value if drilled else None,
        "without": (contents.without or None) if contents else None,
        "anomalies": [a.model_dump() for a in contents.anomalies] if contents else [],
        "acknowledged": backup.acknowledged,
    }


def databases_shown(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the database of each entry, empty if unknown; with its server if there are several."""
    servers = {entry.get("system_identifier") for entry in entries} - {None}
    several = len(servers) > 1
    return [
        str(Database(entry["database"], (entry.get("system_identifier") or "") if several else ""))
        if entry.get("database")
        else ""
        for entry in entries
    ]
