"""Secrets never leak into outputs, Prefect's records, the bucket, or any process's arguments."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psutil
import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter
from prefect.events.filters import EventFilter
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import Storage
from tasks.engine.repository.names import EVIDENCE
from tasks.engine.repository.repository import Repository
from tests.conftest import NewDatabase, command_environment

# Characters that a URL must escape, so that both spellings are searched for.
PASSWORD = f"s3cret/päss w@rd:{secrets.token_hex(8)}%&?#'\""
OTHER_PASSWORD = f"other:{secrets.token_hex(8)}/@"
WRONG_PASSWORD = f"wrong/{secrets.token_hex(8)}@"
WRONG_KEY = f"wr0ng+{secrets.token_hex(20)}"
SIGNING_KEY = b64encode(bytes.fromhex("302e020100300506032b657004220420") + secrets.token_bytes(32)).decode()
ROLE = "keeper of secrets"


class Watch:
    """Poll every process that comes and goes under a command."""

    def __init__(self, pid: int) -> None:
        self.arguments: set[str] = set()
        self.variables: set[str] = set()
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._over.wait(0.002):
            try:
                root = psutil.Process(self._pid)
                children = root.children(recursive=True)
                if any(child.name() == "pg_dump" for child in children):
                    # By now the command has removed the URL from its own arguments.
                    self.arguments.add(" ".join(root.cmdline()))
                for child in children:
                    self.arguments.add(" ".join(child.cmdline()))
                    if (program := child.name()) == "pg_dump":  # not a fork that hasn't exec'ed yet
                        self.variables |= {f"{program}: {n}={v}" for n, v in child.environ().items()}
            except psutil.Error:
                continue

    def stop(self) -> Watch:
        self._over.set()
        self._thread.join()
        return self


@pytest.fixture(scope="module")
def secret_words(storage_server: Storage) -> list[str]:
    """Every secret of these tests, raw and URL-encoded."""
    plain = [PASSWORD, OTHER_PASSWORD, WRONG_PASSWORD, WRONG_KEY, SIGNING_KEY, storage_server.secret]
    spelled = {way(word) for word in plain for way in (str, quote, quote_plus, lambda w: quote(w, safe=""))}
    return sorted(spelled | {part for word in plain for part in re.findall("[0-9a-f]{16}", word)})


@pytest.fixture
def guarded(new_database: NewDatabase) -> Iterator[Server]:
    """A database with a role whose password must stay secret."""
    server = new_database(16, "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n")
    with server.connect() as connection:
        connection.execute("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {password}", ROLE, password=PASSWORD)
        connection.execute("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {password}", "other", password=OTHER_PASSWORD)
    yield server
    with server.connect() as connection:
        for role in (ROLE, "other"):
            connection.execute("REASSIGN OWNED BY {} TO postgres", role)
            connection.execute("DROP ROLE {}", role)


def url_of(server: Server, role: str, password: str, database: str | None = None) -> str:
    """Return a typical URL with all of its parts."""
    p = server.parameters()
    login = f"{quote(role, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{login}@{p['host']}:{p['port']}/{database or p['dbname']}"


Watched = Callable[..., tuple[int, str, Watch]]


@pytest.fixture
def watched(storage_server: Storage, storage: ObjectStore, prefect_api: str, tmp_path: Path) -> Watched:
    """A function that runs `pg-roundtrip` and returns its status, all its output, and what was seen of its children."""

    def call(*arguments: str, **environ: str) -> tuple[int, str, Watch]:
        given = {
            **command_environment(storage_server, storage, prefect_api, tmp_path),
            "EVIDENCE_KEY": SIGNING_KEY,
            **environ,
        }
        command = [str(Path(sys.prefix) / "bin" / "pg-roundtrip"), *arguments]
        out = subprocess.PIPE
        with subprocess.Popen(command, env=given, stdout=out, stderr=subprocess.STDOUT, text=True) as process:
            watch = Watch(process.pid)
            printed, _ = process.communicate(timeout=240)
            return process.returncode, printed, watch.stop()

    return call


async def _all(read: Callable[..., Any], **arguments: Any) -> list[Any]:
    """Return every page of a listing from Prefect."""
    found: list[Any] = []
    while page := await read(limit=200, offset=len(found), **arguments):
        found += page
    return found


async def _records(client: PrefectClient) -> dict[str, list[Any]]:
    return {
        "flow runs": await _all(client.read_flow_runs),
        "task runs": await _all(client.read_task_runs),
        "logs": await _all(client.read_logs),
        "artifacts": await _all(client.read_artifacts, artifact_filter=ArtifactFilter()),
        "blocks": await _all(client.read_block_documents, include_secrets=False),
    }


async def _everything_prefect_knows() -> dict[str, str]:
    """Return all records of the Prefect server as text, by kind."""
    async with get_client() as client:
        records = await _records(client)
        answer = await client._client.post("/events/filter", json={"filter": EventFilter().model_dump(mode="json")})
        texts = {kind: "\n".join(record.model_dump_json() for record in found) for kind, found in records.items()}
        return {**texts, "events": answer.text}


def assert_holds_none(text: str, words: list[str], where: str) -> None:
    for word in words:
        assert word not in text, f"a secret is in {where}"
        assert word.encode("unicode_escape").decode() not in text, f"a secret is in {where}"


def test_no_secret_is_seen_anywhere(
    guarded: Server,
    new_database: NewDatabase,
    watched: Watched,
    storage: ObjectStore,
    storage_server: Storage,
    prefect_api: str,
    secret_words: list[str],
) -> None:
    """Successful and failed backups, drills and restores leak no secret to output, Prefect, bucket or arguments."""
    url = url_of(guarded, ROLE, PASSWORD)
    target = new_database(16)
    to = url_of(target, "other", OTHER_PASSWORD)
    runs = [
        (0, watched("backup", DATABASE_URL=url)),
        (0, watched("drill", "--json", DATABASE_URL=url)),
        (0, watched("restore", "latest", "--to", to)),
        (1, watched("restore", "latest", f"--to={to}")),  # it has tables now
        (1, watched("backup", DATABASE_URL=url_of(guarded, ROLE, WRONG_PASSWORD))),
        (1, watched("backup", DATABASE_URL=url, S3_SECRET_ACCESS_KEY=WRONG_KEY)),
        (2, watched("backup", DATABASE_URL=url.replace("postgresql://", "postgres:/"), S3_BUCKET="")),
        (2, watched("restore", "latest", "--to", to.replace("@", "@@"))),
    ]
    arguments, variables = set[str](), set[str]()
    for status, (ended, printed, seen) in runs:
        assert ended == status, printed
        assert_holds_none(printed, secret_words, f"the output of a run with status {status}")
        arguments |= seen.arguments
        variables |= seen.variables
    with target.connect(own_names=True) as connection:
        assert connection.query("SELECT count(*) FROM t") == [(1000,)]
    programs = {line.partition(" ")[0].rpartition("/")[2] for line in arguments if line}
    assert "pg_dump" in programs
    assert any(" restore latest" in line for line in arguments)
    assert_holds_none("\n".join(arguments), secret_words, "the arguments of a process")
    assert f"pg_dump: PGPASSWORD={PASSWORD}" in variables
    assert_holds_none(
        "\n".join(variables), [storage_server.secret, WRONG_KEY, SIGNING_KEY], "the environment of a child"
    )
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        known = asyncio.run(_everything_prefect_knows())
    assert "restore-drill-default" in known["flow runs"]
    assert "password authentication failed" in known["logs"]
    for kind, text in known.items():
        assert text or kind == "blocks"
        assert_holds_none(text, secret_words, f"Prefect's {kind}")
    stored = {found.key: storage.get(found.key) for found in storage.list_objects()}
    signed = [key for key in stored if f"/{EVIDENCE}" in key]
    assert (len(signed), len(stored)) == (4, 8), (
        "a certificate of the drill and one of the restore, each with its signature"
    )
    for key, data in stored.items():
        assert_holds_none(key + data.decode("utf-8", "replace"), secret_words, key)


def test_the_dump_itself_holds_no_password(
    guarded: Server, watched: Watched, storage: ObjectStore, secret_words: list[str]
) -> None:
    """A dump names roles, and the companion creates them, but neither has their passwords."""
    from gzip import decompress  # noqa: PLC0415

    assert watched("backup", DATABASE_URL=url_of(guarded, ROLE, PASSWORD))[0] == 0
    repository = Repository(storage)
    (backup,) = repository.backups()
    assert_holds_none(decompress(storage.get(backup.key)).decode(), [*secret_words, "SCRAM-SHA-256$"], "the dump")
    beside = decompress(repository.companion(f"{backup.name}.globals.sql.gz")).decode()
    assert f'CREATE ROLE "{ROLE}"' in beside
    assert_holds_none(beside, [*secret_words, "SCRAM-SHA-256$", "PASSWORD "], "the companion")


def test_no_secret_is_in_a_representation(guarded: Server, storage: ObjectStore, storage_server: Storage) -> None:
    """Exceptions, debuggers and careless log lines show our objects with their secrets masked."""
    server = Server(url=SecretStr(url_of(guarded, ROLE, PASSWORD)))
    secret = storage_server.secret
    for shown in (repr(server), str(server), server.address, repr(storage), str(storage), storage.address):
        assert_holds_none(shown, [PASSWORD, quote(PASSWORD, safe=""), secret], "a representation")
