"""Roles and the database's own settings come with each backup, and a drill proves them as it proves the rows."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.errors import GlobalsUnreadable, StatementRefused
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup as backup_flow
from flows.restore_drill import restore_drill
from tasks import globals_proof
from tasks.engine.drill.globals_rehearsal import rehearse_globals
from tasks.engine.drill.place import Place
from tasks.engine.drill.rehearsal import Rehearsal
from tasks.engine.dump.global_statements import read_statements
from tasks.engine.dump.globals import OWN_LEFT_OUT, UNSEEN, packed, read_globals
from tasks.engine.repository import names
from tasks.engine.repository.checks import GLOBALS
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tasks.reports.drill import coverage, drill_sentence
from tasks.status.listing import list_catalog
from tests.conftest import MAJORS, FlowRun, NewDatabase
from tests.integration.globals import DATABASE, odd_server
from tests.integration.objects import manifest_of, new_role, put_manifest, role_of, told
from tests.plans import plan_of
from tests.unit.test_catalog import manifest as manifest_with

Job = Callable[[], Rehearsal]
pytestmark = pytest.mark.usefixtures("unguarded")


@pytest.fixture(scope="module", params=MAJORS)
def source(request: pytest.FixtureRequest, clients: dict[int, Client]) -> Iterator[Server]:
    """The odd server of each major version."""
    with odd_server(clients[request.param]) as server:
        yield server


def taken(flow_run: FlowRun, storage: ObjectStore, source: Server, **environ: str) -> Manifest:
    ran = flow_run(backup_flow, source, environ=environ)
    assert ran.result, ran.error
    return manifest_of(storage, ran.result.name)


def test_a_backup_comes_with_its_globals(source: Server, storage: ObjectStore, flow_run: FlowRun) -> None:
    """The companion is in the manifest, in the catalog, and goes with its backup; no password is in it."""
    manifest = taken(flow_run, storage, source)
    record = manifest.globals
    assert record
    assert record.file == manifest.name + names.GLOBALS
    assert (record.roles, record.tablespaces, record.superuser) == (6, 1, "postgres")
    data = storage.get(storage.key(record.file))
    text = gzip.decompress(data)
    assert (len(data), len(text)) == (record.object_bytes, record.raw_bytes)
    assert len(read_statements(text, DATABASE)) == record.statements
    assert [word for word in (b"PASSWORD", b"geheim", b"SCRAM") if word in text] == []
    (entry,) = list_catalog(plan_of(storage))
    assert entry["globals_bytes"] == len(data)
    repository = Repository(storage)
    repository.remove(repository.backups()[0])
    assert list(storage.list_objects()) == []


def test_a_drill_proves_the_globals(source: Server, storage: ObjectStore, flow_run: FlowRun) -> None:
    """What pg_dumpall prints of the restored roles and settings means the same, and the verdict says that it covers them."""
    taken(flow_run, storage, source)
    report = flow_run(restore_drill, source, environ={"VERIFY_TARGET": "sandbox"}).result
    assert (report.verdict, report.cause) == ("PROVEN", "")
    (row,) = (c for c in report.checks if c.name == GLOBALS)
    assert row.result == "passed", row.evidence
    assert "with its roles and settings" in drill_sentence(report)
    assert "Globals: 6 roles" in coverage(report)


def test_a_newer_server_proves_them_too(clients: dict[int, Client]) -> None:
    """What version 15 said of memberships and their grantors means the same in version 18."""
    with odd_server(clients[15]) as source:
        stored = read_globals(source, clients[15])
    record = packed(stored, names.GLOBALS, DATABASE).record
    made = manifest_with(database=DATABASE, globals=record, roles=(), role_attributes=())
    check = rehearse_globals(stored, made, clients[18], 60)
    assert check.result == "passed", check.evidence


def test_without_globals_a_manifest_is_what_it_was(
    new_database: NewDatabase, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """BACKUP_GLOBALS=false leaves no companion; the manifest only says that it was left out."""
    manifest = taken(flow_run, storage, new_database(16), BACKUP_GLOBALS="false")
    document = json.loads(manifest.encode())
    assert "globals" not in document
    assert document["globals_left_out"] == "BACKUP_GLOBALS is false"
    assert [o.key for o in storage.list_objects() if o.key.endswith(names.GLOBALS)] == []


# --- damages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def drilled(
    new_database: NewDatabase,
    storage: ObjectStore,
    clients: dict[int, Client],
    flow_run: FlowRun,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Rehearsal]:
    """A function that drills the globals of a backup, which has two roles of its own, without its rows."""
    monkeypatch.setattr(globals_proof, "rehearse_beside", globals_proof.rehearse_beside.fn)  # no run records it
    source = new_database(18, "CREATE TABLE t ()")
    manifest = taken(flow_run, storage, source)

    def drill() -> Rehearsal:
        current = manifest_of(storage, manifest.name)
        seen = Rehearsal(place="sandbox", manifest=current)
        place = Place("sandbox", client=clients[18])
        return globals_proof.prove_globals(plan_of(storage, source), Repository(storage), place, seen, time.monotonic())

    return drill


def row_of(seen: Rehearsal) -> tuple[str, str]:
    (row,) = seen.checks
    return row.result, row.evidence


def edited(storage: ObjectStore, edit: Callable[[bytes], bytes], *, forge: bool = True) -> None:
    """Change the text of the only companion; `forge` makes the manifest match."""
    (manifest,) = (manifest_of(storage, b.name) for b in Repository(storage).backups())
    assert manifest.globals
    key = storage.key(manifest.globals.file)
    before = gzip.decompress(storage.get(key))
    text = edit(before)
    assert text != before
    data = gzip.compress(text)
    storage.put(key, data)
    if forge:
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "object_bytes": len(data), "raw_bytes": len(text)}
        record = manifest.globals.model_copy(update=facts)
        put_manifest(storage, manifest.model_copy(update={"globals": record}))


def companion_key(storage: ObjectStore) -> str:
    (key,) = (o.key for o in storage.list_objects() if o.key.endswith(names.GLOBALS))
    return key


DAMAGES: dict[str, Callable[[ObjectStore, str], object]] = {
    "cut": lambda s, key: s.put(key, s.get(key)[:-9]),
    "changed": lambda s, key: s.put(key, s.get(key)[:40] + b"x" + s.get(key)[41:]),
    "missing": lambda s, key: s.remove(key),
    "empty": lambda s, key: s.put(key, b""),
    "of another backup": lambda s, key: s.put(key, gzip.compress(b"CREATE ROLE other;\n")),
    "edited": lambda s, _: edited(s, lambda text: text + b"CREATE ROLE x;\n", forge=False),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_companion_is_found(damage: str, drilled: Job, storage: ObjectStore) -> None:
    """What is not what was stored fails the drill, and none of it is carried out."""
    DAMAGES[damage](storage, companion_key(storage))
    result, evidence = row_of(drilled())
    assert (result, names.GLOBALS in evidence) == ("failed", True)


def test_a_forged_statement_is_not_carried_out(drilled: Job, storage: ObjectStore) -> None:
    """Even where the manifest matches: the drill ends without a verdict, and names the statement."""
    edited(storage, lambda text: text + b"COPY t FROM PROGRAM 'touch /tmp/forged';\n")
    seen = drilled()
    assert row_of(seen)[0] == "not possible"
    assert isinstance(seen.error, StatementRefused)
    assert "COPY t FROM PROGRAM '…'" in seen.error.context


def test_what_does_not_come_back_is_named(drilled: Job, storage: ObjectStore) -> None:
    """A statement that a server refuses, and what depends on it, fail the check by name."""
    edited(storage, lambda text: text + b"ALTER ROLE gone SET work_mem TO '1MB';\nGRANT lost TO postgres;\n")
    result, evidence = row_of(drilled())
    assert result == "failed"
    assert "setting work_mem of role gone" in evidence
    assert "membership of role postgres in lost" in evidence


@pytest.mark.parametrize(
    ("superuser", "result"), [('x"; DROP TABLE pg_class; --', "failed"), ("pg_sly", "not possible")]
)
def test_a_hostile_first_role_is_a_name(drilled: Job, storage: ObjectStore, superuser: str, result: str) -> None:
    """Whatever a manifest names as the first role is quoted; names that PostgreSQL keeps for itself can't be had."""
    (name,) = (b.name for b in Repository(storage).backups())
    manifest = manifest_of(storage, name)
    assert manifest.globals
    sly = manifest.globals.model_copy(update={"superuser": superuser})
    put_manifest(storage, manifest.model_copy(update={"globals": sly}))
    assert row_of(drilled())[0] == result


ELSEWHERE = b"""ALTER ROLE postgres SET role TO 'nobody';
ALTER ROLE postgres SET session_preload_libraries TO 'not-installed';
ALTER ROLE postgres SET default_transaction_read_only TO 'on';
"""


def test_settings_of_our_own_role_do_not_matter(drilled: Job, storage: ObjectStore) -> None:
    """The sessions that read the roles again follow no setting that was just restored."""
    edited(storage, lambda text: text + ELSEWHERE)
    assert row_of(drilled())[0] == "passed"


def test_what_only_another_server_can_have_is_no_damage(drilled: Job, storage: ObjectStore) -> None:
    """A setting of a server of another make, or a role that a service brings along, is named as not possible here."""
    others = b"ALTER ROLE postgres SET aurora_thing TO 'on';\nGRANT pg_of_a_service TO postgres;\n"
    edited(storage, lambda text: text + others)
    result, evidence = row_of(drilled())
    assert result == "warning"
    assert "not possible here: setting aurora_thing of role postgres" in evidence
    assert "not possible here: membership of role postgres in pg_of_a_service" in evidence


def test_a_server_made_by_another_role(clients: dict[int, Client], storage: ObjectStore, flow_run: FlowRun) -> None:
    """Where `postgres` is a role like any other, as on managed services, the throwaway server has the same first role."""
    with running_server(clients[18], superuser='Service "admin" ä') as server:
        told(
            server,
            "CREATE ROLE postgres LOGIN CREATEROLE",
            "CREATE ROLE app",
            "GRANT app TO postgres WITH ADMIN OPTION",
        )
        manifest = taken(flow_run, storage, server)
        assert manifest.globals
        assert manifest.globals.superuser == 'Service "admin" ä'
        report = flow_run(restore_drill, server, environ={"VERIFY_TARGET": "sandbox"}).result
    assert {c.name: c.result for c in report.checks}[GLOBALS] == "passed", report.cause


# --- where they may not be read ---------------------------------------------------------------------------------------


def test_a_role_without_access_to_passwords_reads_them(
    new_database: NewDatabase, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """An ordinary role, which can't read pg_authid, takes a backup with globals."""
    source = new_database(17, "CREATE TABLE t ()")
    login = new_role(source)
    told(source, f"GRANT pg_read_all_data TO {role_of(login)}")
    manifest = taken(flow_run, storage, login, BACKUP_GLOBALS="true")
    assert manifest.globals
    assert manifest.globals.roles > 1


def test_globals_that_may_not_be_read(
    new_database: NewDatabase, storage: ObjectStore, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """The backup is whole without them, with a warning the first time; if they are required, it fails before the dump."""
    source = new_database(17, "CREATE TABLE t ()")
    login = new_role(source)
    told(source, f"GRANT SELECT ON t TO {role_of(login)}", "REVOKE SELECT ON pg_parameter_acl FROM PUBLIC")
    first = taken(flow_run, storage, login)
    assert first.globals is None
    assert "permission denied for table pg_parameter_acl" in first.globals_left_out
    warned = [r for r in caplog.records if r.levelname == "WARNING" and "Roles and settings" in r.getMessage()]
    assert len(warned) == 1
    taken(flow_run, storage, login)
    again = [r for r in caplog.records if r.levelname == "WARNING" and "Roles and settings" in r.getMessage()]
    assert again == warned
    ran = flow_run(backup_flow, login, environ={"BACKUP_GLOBALS": "true"})
    assert isinstance(ran.error, GlobalsUnreadable)
    assert len(Repository(storage).backups()) == 2


def test_a_server_in_use_is_left_alone(new_database: NewDatabase, storage: ObjectStore, flow_run: FlowRun) -> None:
    """A drill on a server proves no globals, and the report says why."""
    source = new_database(16, "CREATE TABLE t ()")
    taken(flow_run, storage, source)
    report = flow_run(restore_drill, source, environ={"VERIFY_TARGET": "database"}).result
    (row,) = (c for c in report.checks if c.name == GLOBALS)
    assert (report.verdict, row.result) == ("PROVEN", "not possible")
    assert "with its roles" not in drill_sentence(report)
    assert "not possible: globals" in coverage(report)


def test_without_pg_dumpall(new_database: NewDatabase, clients: dict[int, Client], tmp_path: Path) -> None:
    """A machine that has pg_dump only makes backups without globals, and learns what to install."""
    (tmp_path / "pg_dump").symlink_to(clients[16].program("pg_dump"))
    with pytest.raises(GlobalsUnreadable, match="pg_dumpall") as refusal:
        read_globals(new_database(16), replace(clients[16], folder=tmp_path))
    assert refusal.value.hint.startswith("install pg_dumpall")


def test_a_name_with_a_line_break(new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """pg_dump --create refuses it: the roles are there, and a warning says what is not."""
    found = read_globals(new_database(16, name="line\nbreak"), clients[16])
    assert "postgres" in found.roles()
    assert found.warnings == (OWN_LEFT_OUT,)


def test_settings_for_all_roles_are_missed(new_database: NewDatabase, clients: dict[int, Client]) -> None:
    """pg_dumpall leaves them out silently: a warning says so."""
    source = new_database(16)
    told(source, "ALTER ROLE ALL SET my.thing = 'x'")
    try:
        assert read_globals(source, clients[16]).warnings == (UNSEEN,)
    finally:
        told(source, "ALTER ROLE ALL RESET my.thing")
