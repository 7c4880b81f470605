"""`restore --globals` creates roles and settings that are missing on a new server, and changes nothing that exists."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Iterator

import pytest
from pydantic import SecretStr

from blocks.config.environment import child_environment
from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url
from flows.backup import backup as backup_flow
from flows.restore import restore as restore_flow
from tasks.engine.drill.globals_compared import differences
from tasks.engine.dump.global_statements import GlobalStatement
from tasks.engine.dump.globals import Globals, read_globals
from tasks.engine.repository.names import GLOBALS
from tasks.engine.repository.repository import Repository
from tasks.engine.restore.companion import unpacked
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tests.conftest import Ended, FlowRun
from tests.integration.globals import DATABASE, odd_server
from tests.integration.objects import asked, manifest_of, told

pytestmark = pytest.mark.usefixtures("unguarded")
PLACES = [15, 18]  # before and since memberships have options and grantors that count


@pytest.fixture(scope="module", params=PLACES)
def client(request: pytest.FixtureRequest, clients: dict[int, Client]) -> Client:
    """The programs of the two servers."""
    return clients[request.param]


@pytest.fixture(scope="module")
def source(client: Client) -> Iterator[Server]:
    """A server with everything."""
    with odd_server(client) as server:
        yield server


@pytest.fixture
def elsewhere(client: Client) -> Iterator[Server]:
    """A new server."""
    with running_server(client) as server:
        yield server


@pytest.fixture
def stored(source: Server, storage: ObjectStore, flow_run: FlowRun) -> Globals:
    """The globals of a backup of that server."""
    ran = flow_run(backup_flow, source)
    assert ran.result, ran.error
    return unpacked(Repository(storage), manifest_of(storage, ran.result.name))


def on_disks(stored: Globals) -> list[GlobalStatement]:
    """What a server without the source's disks can't have."""
    kinds = ("database", "tablespace", "options")
    return [s for s in stored.statements if s.kind in kinds or s.values.get("class") == "TABLESPACE"]


def _texts(server: Server, client: Client) -> list[str]:
    return [s.text for s in read_globals(server, client).statements]


def test_a_whole_server_moves(
    stored: Globals, elsewhere: Server, client: Client, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """Roles first, then the rows, then the database's own: all that a server without those disks can have.

    A second time creates nothing, and a plan changes nothing.
    """
    before, target = _texts(elsewhere, client), elsewhere.on(DATABASE)
    assert flow_run(restore_flow, to=target, backup="latest", globals_mode="too (plan)").result == 0
    assert "Plan: create role app" in caplog.text
    assert _texts(elsewhere, client) == before
    ran = flow_run(restore_flow, to=target, backup="latest", globals_mode="too")
    assert ran.result == 320, ran.error
    of_postgres = [s for s in stored.statements if s.kind == "setting" and s.values.get("role") == "postgres"]
    assert differences(stored, read_globals(target, client), [*on_disks(stored), *of_postgres]) == []
    assert asked(target, "SELECT tableowner FROM pg_tables WHERE tablename = 'authors'") == [("app",)]
    after = _texts(target, client)
    assert flow_run(restore_flow, to=target, backup="latest", globals_mode="only").result == 0
    assert _texts(target, client) == after


def test_what_exists_stays(stored: Globals, elsewhere: Server, client: Client, flow_run: FlowRun) -> None:
    """A role of the same name keeps its attributes and settings, and gets no membership in another that exists."""
    told(
        elsewhere,
        "CREATE ROLE app CREATEDB VALID UNTIL '2031-01-01'",
        "CREATE ROLE su",
        "ALTER ROLE su SET work_mem = '99MB'",
    )
    before = _texts(elsewhere, client)
    assert flow_run(restore_flow, to=elsewhere, backup="latest", globals_mode="only").error is None
    after = _texts(elsewhere, client)
    assert set(before) <= set(after)
    assert [text for text in after if "work_mem" in text] == ["ALTER ROLE su SET work_mem TO '99MB';"]
    assert [text for text in after if text.startswith("GRANT su TO app")] == []
    assert any('ROLE "select"' in text for text in after)


def test_a_role_of_a_managed_service_does_what_it_may(
    stored: Globals, elsewhere: Server, client: Client, flow_run: FlowRun, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that may create roles creates them without what only a superuser can give, and says so."""
    told(elsewhere, "CREATE ROLE manager LOGIN PASSWORD 'secret' CREATEROLE CREATEDB")
    login = Server(url=SecretStr(conninfo_url({**elsewhere.parameters(), "user": "manager", "password": "secret"})))
    assert flow_run(restore_flow, to=login, backup="latest", globals_mode="only").error is None
    roles = dict(asked(elsewhere, "SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^pg_'"))
    assert {name for name, superuser in roles.items() if superuser} == {"postgres"}
    assert {"app", "su", "select"} <= roles.keys()
    assert "Created attributes of role su [made without SUPERUSER: " in caplog.text
    assert asked(elsewhere, "SELECT rolconnlimit, rolcanlogin FROM pg_roles WHERE rolname LIKE 'r %%'") == [(3, True)]


def test_the_command(stored: Globals, elsewhere: Server, command_line: Callable[..., Ended]) -> None:
    """`--dry-run` prints the plan and exits with 0; without `--globals` it is a wrong usage."""
    address = elsewhere.url.get_secret_value()
    shown = command_line("restore", "latest", "--globals", "--dry-run", "--to", address)
    assert (shown.status, "create role app" in shown.err) == (0, True), shown.err
    wrong = command_line("restore", "latest", "--dry-run", "--to", address)
    assert (wrong.status, "--dry-run is for --globals" in wrong.err) == (2, True), wrong.err


def test_by_hand_with_psql(stored: Globals, elsewhere: Server, client: Client, storage: ObjectStore) -> None:
    """Gunzip and psql are enough: the only errors are about what is there already, and disks that are not."""
    (key,) = (o.key for o in storage.list_objects() if o.key.endswith(GLOBALS))
    command = [client.program("psql"), "-X", "-q", "-d", "postgres"]
    environ = child_environment(elsewhere.child_environment())
    script = gzip.decompress(storage.get(key))
    # Without its folder the tablespace can't be created, and so neither can the database: it goes elsewhere.
    script = script.replace(b' TABLESPACE = "ts 1"', b"")
    done = subprocess.run(command, env=environ, input=script, capture_output=True, check=True)
    errors = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
    assert errors[0].endswith('role "postgres" already exists')
    assert [e for e in errors[1:] if "tablespace" not in e] == []
    assert differences(stored, read_globals(elsewhere.on(DATABASE), client), on_disks(stored)) == []
