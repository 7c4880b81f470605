"""Roles and the database's own settings come with each backup, and a drill proves them as it proves the rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.backup import backup as backup_flow
from flows.restore_drill import restore_drill
from tasks.engine.dump.global_statements import read_statements
from tasks.engine.repository import names
from tasks.engine.repository.checks import GLOBALS
from tasks.engine.repository.manifest import Manifest
from tasks.engine.repository.repository import Repository
from tasks.engine.servers.programs import Client
from tasks.reports.drill import coverage, drill_sentence
from tasks.status.listing import list_catalog
from tests.conftest import MAJORS, FlowRun
from tests.integration.globals import DATABASE, odd_server
from tests.integration.objects import manifest_of
from tests.plans import plan_of

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


def test_without_globals_a_manifest_is_what_it_was(source: Server, storage: ObjectStore, flow_run: FlowRun) -> None:
    """BACKUP_GLOBALS=false leaves no companion; the manifest only says that it was left out."""
    manifest = taken(flow_run, storage, source, BACKUP_GLOBALS="false")
    document = json.loads(manifest.encode())
    assert "globals" not in document
    assert document["globals_left_out"] == "BACKUP_GLOBALS is false"
    assert [o.key for o in storage.list_objects() if o.key.endswith(names.GLOBALS)] == []
