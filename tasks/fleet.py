"""Bring the saved plans in line with a file of plans: what would change first, then change it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from prefect.blocks.system import Secret
from pydantic import SecretStr

from blocks.config.databases import RESERVED, database_of
from blocks.config.environment import variable
from blocks.config.fleet import FLEET_BYTES, Entry, Reference, read_fleet
from blocks.config.load import Need, load_settings
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError, Problem
from blocks.plan import BackupPlan
from blocks.saved import load_saved, saving, translated
from blocks.sql.server import Server
from tasks.engine.repository.whose import refused_folder
from tasks.plans import names_of_plans, save_plan

_SECRET_BYTES = 64 << 10
_AT_ONCE = 8
_NEEDS: frozenset[Need] = frozenset({"database", "storage", "drill"})


@dataclass(frozen=True)
class Wanted:
    """A plan as the file wants it, with the work pool whose workers are to run it."""

    name: str
    block: BackupPlan
    plan: Plan
    pool: str | None


@dataclass(frozen=True)
class Step:
    """What an import does about one plan; `changes` show no secret."""

    wanted: Wanted
    kind: Literal["new", "changed", "unchanged"]
    changes: tuple[str, ...] = ()


def read_plans(path: Path) -> list[Wanted]:
    """Read a file of plans and what it refers to; raises ConfigurationError with everything that is wrong with any plan."""
    wanted, faults = list[Wanted](), list[Problem]()
    for entry in read_fleet(_text(path, FLEET_BYTES)):
        try:
            wanted.append(_wanted(entry))
        except ConfigurationError as error:
            faults += [replace(p, message=f"Plan {entry.name}: {p.message}") for p in error.problems]
    faults += [*_one_folder_each(wanted), *_inside_of_servers(wanted)]
    if faults:
        raise ConfigurationError(faults)
    return wanted


def _text(path: Path, limit_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
        if len(data) <= limit_bytes:
            return data.decode()
        why = f"it has more than {limit_bytes:,} bytes"
    except OSError as error:
        why = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    raise ConfigurationError([Problem(f"The file {path} cannot be read [{why}]", "pass the path of a file of plans")])


def _wanted(entry: Entry) -> Wanted:
    described, faults = dict[str, str](), list[Problem]()
    for name, value in entry.given.items():
        try:
            described[name] = _looked_up(value) if isinstance(value, Reference) else value
        except ConfigurationError as error:
            faults += [replace(p, message=f"{name}: {p.message}") for p in error.problems]
    if faults:
        raise ConfigurationError(faults)
    settings = load_settings(_NEEDS, described)
    plan = replace(Plan.from_settings(settings), name=entry.name)
    return Wanted(entry.name, BackupPlan.from_settings(settings), plan, entry.pool)


def _looked_up(at: Reference) -> str:
    if at.kind == "file":
        return _text(Path(at.name), _SECRET_BYTES).rstrip("\r\n")
    if at.kind == "env":
        found = variable(at.name, None)
        hint = "set it where the file is imported"
    else:
        saved = load_saved(Secret, at.name)
        found = str(saved.get()) if saved else None
        hint = "save a Secret block of this name"
    if not found:
        what = "environment variable" if at.kind == "env" else "Secret block"
        raise ConfigurationError([Problem(f"There is no {what} {at.name}", hint)])
    return found


def _one_folder_each(wanted: Iterable[Wanted]) -> Iterator[Problem]:
    """Name plans that would keep their backups in one folder."""
    first = dict[tuple[str, str, str], Wanted]()
    for one in wanted:
        for storage in (place.storage for place in one.plan.destinations):
            other = first.setdefault((storage.endpoint, storage.bucket, storage.folder), one)
            if other is not one and not (one.plan.shared and other.plan.shared):
                yield Problem(
                    f"Plans {other.name} and {one.name} keep their backups in the same folder {storage.address}",
                    "give each its own BACKUP_PREFIX; with {plan} in it, one default is enough",
                )


def _inside_of_servers(wanted: Iterable[Wanted]) -> Iterator[Problem]:
    """Name plans of one database whose folder is where a whole server's plan has, or will have, one of its own."""
    stores = [(one, place.storage) for one in wanted for place in one.plan.destinations]
    servers = {(s.endpoint, s.bucket, s.folder): one for one, s in stores if one.plan.databases}
    for one, storage in stores:
        above, _, folder = storage.folder.rpartition("/")
        server = servers.get((storage.endpoint, storage.bucket, above))
        if server and not one.plan.databases and (folder in RESERVED or database_of(folder) is not None):
            yield Problem(
                f"Plan {one.name} keeps its backups in {storage.address}, among the folders of the plan {server.name}",
                "give it a BACKUP_PREFIX outside of the whole server's",
            )


def refused_folders(steps: Iterable[Step]) -> list[Problem]:
    """Return what speaks against the folders of new plans; a storage or database that doesn't answer is no reason."""
    new = [step.wanted for step in steps if step.kind == "new"]
    with ThreadPoolExecutor(_AT_ONCE, "folders") as pool:
        found = zip(new, pool.map(lambda one: refused_folder(one.plan), new), strict=True)
        return [Problem(f"Plan {one.name}: {refused[0]}", refused[1]) for one, refused in found if refused]


def steps_of(wanted: Iterable[Wanted]) -> list[Step]:
    """Compare with what is saved."""
    saved = set(names_of_plans())
    return [_step(one) if one.name in saved else Step(one, "new") for one in wanted]


def others_than(wanted: Iterable[Wanted]) -> list[str]:
    """Name the saved plans that the file does not name."""
    return sorted(set(names_of_plans()) - {one.name for one in wanted})


def _step(wanted: Wanted) -> Step:
    try:
        saved = load_saved(BackupPlan, wanted.name)
    except ConfigurationError as error:
        return Step(wanted, "changed", (f"what is saved cannot be read: {error.problems[0].message}",))
    if saved is None:  # deleted in the meantime
        return Step(wanted, "new")
    changes = tuple(differences(saved.described(), wanted.block.described()))
    return Step(wanted, "changed" if changes else "unchanged", changes)


def differences(before: Mapping[str, str | SecretStr], after: Mapping[str, str | SecretStr]) -> Iterator[str]:
    """Say what differs, without a secret."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old != new:
            shown = _shown(old), _shown(new)
            yield f"{name}: another secret" if shown[0] == shown[1] else f"{name}: {shown[0]} → {shown[1]}"


def _shown(value: str | SecretStr | None) -> str:
    if value is None:
        return "not set"
    if isinstance(value, str):
        return value
    with contextlib.suppress(ValueError):
        return Server(value).address
    return "a secret"


def save_plans(steps: Sequence[Step]) -> Iterator[Step]:
    """Save what differs, and yield each step once that is done."""
    with translated(), saving():
        for step in steps:
            if step.kind != "unchanged":
                save_plan(step.wanted.name, step.wanted.block)
                yield step


def saved_plans(names: Collection[str]) -> dict[str, Mapping[str, str | SecretStr]]:
    """Return the variables that describe each saved plan, or each of some; raises ConfigurationError for one that isn't there."""
    there = names_of_plans()
    missing = [
        Problem(f"There is no saved plan named {name}", "pg-roundtrip plan list") for name in names if name not in there
    ]
    if missing:
        raise ConfigurationError(missing)
    found = {name: load_saved(BackupPlan, name) for name in sorted(names or there)}
    return {name: saved.described() for name, saved in found.items() if saved}
