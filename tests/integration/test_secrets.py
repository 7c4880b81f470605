"""Secrets travel as environment and nothing else: a search of everything that is printed, recorded, stored or run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

import httpx

from blocks.postgres import PostgresServer
from blocks.storage import BackupStorage
from flows.demo.services import Storage
from tests.conftest import Ended, NewDatabase

PASSWORD = "p@ss/wörd hunter2%"
TARGET_PASSWORD = "other:hunter3"


@contextmanager
def role(server: PostgresServer, name: str, password: str) -> Iterator[None]:
    with server.connect() as connection:
        connection.execute("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {password}", name, password=password)
    try:
        yield
    finally:
        with server.connect() as connection:
            connection.execute("DROP ROLE {}", name)


class Watch:
    """Look at the arguments of every process, again and again, for words that must not be there."""

    def __init__(self, words: set[str]) -> None:
        self.found: set[str] = set()
        self.programs: set[str] = set()
        self._words = [word.encode() for word in words]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(0.01):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    arguments = place.read_bytes().split(b"\0")
                    self.programs.add(Path(arguments[0].decode(errors="replace")).name)
                    if any(word in argument for argument in arguments for word in self._words):
                        self.found.add(arguments[0].decode(errors="replace"))


def recorded(api: str) -> str:
    """Everything that Prefect's API tells about runs, tasks, logs, artifacts, states and blocks."""
    kinds = ("flow_runs", "task_runs", "logs", "artifacts", "flows", "deployments", "block_documents")
    pages = []
    for kind in kinds:
        offset = 0
        while True:
            answer = httpx.post(f"{api}/{kind}/filter", json={"limit": 200, "offset": offset}, timeout=60)
            assert answer.is_success, answer.text
            pages.append(answer.text)
            offset += 200
            if len(answer.json()) < 200:
                break
    return "\n".join(pages)


def test_no_secret_is_printed_recorded_stored_or_passed_as_an_argument(
    new_database: NewDatabase, command_line: Callable[..., Ended], storage: BackupStorage, storage_server: Storage, prefect_api: str
) -> None:  # fmt: skip
    """Backup, drill, check, prune and failures of every kind give no password and no key away."""
    server = new_database(16, "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 50000)")
    place = server.parameters()
    secrets = {PASSWORD, quote(PASSWORD, safe=""), TARGET_PASSWORD, quote(TARGET_PASSWORD, safe=""), storage_server.secret,
               "hunter2", "hunter3"}  # fmt: skip
    address = f"{place['host']}:{place['port']}/{place['dbname']}"
    url = f"postgresql://secretive:{quote(PASSWORD, safe='')}@{address}"
    with role(server, "secretive", PASSWORD), Watch(secrets) as watch:
        ended = [command_line("backup", DATABASE_URL=url), command_line("drill", DATABASE_URL=url)]
        assert [e.status for e in ended] == [0, 0], ended
        ended += [
            command_line("check", DATABASE_URL=url),
            command_line("list", "--json", DATABASE_URL=url),
            command_line("backup", DATABASE_URL=url.replace("secretive", "nobody")),
            command_line("backup", DATABASE_URL=url.replace(":" + place["port"], ":1x")),
            command_line("backup", DATABASE_URL=url, S3_BUCKET="nowhere"),
            command_line("drill", DATABASE_URL=url, VERIFY_DATABASE_URL=url.replace("secretive", "nobody")),
            command_line("drill", DATABASE_URL=url, S3_ACCESS_KEY_ID="nobody"),
        ]
    printed = "".join(e.out + e.err for e in ended)
    objects = "".join(storage.get(o.key).decode() for o in storage.list_objects() if o.key.endswith(".json"))
    for where in (printed, objects, recorded(prefect_api)):
        assert {secret for secret in secrets if secret in where} == set()
    assert watch.found == set()
    assert {"pg_dump", "psql"} <= watch.programs  # the watch saw what it was there to see


def test_the_url_of_a_target_leaves_the_arguments_and_is_recorded_nowhere(
    new_database: NewDatabase, command_line: Callable[..., Ended], prefect_api: str
) -> None:
    """`--to` is the user's own argument; it is gone from ours at once, and from all that comes after."""
    server = new_database(16, "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 300000)")
    place = server.parameters()
    assert command_line("backup", server=server).status == 0
    to = f"postgresql://target:{quote(TARGET_PASSWORD, safe='')}@{place['host']}:{place['port']}/{place['dbname']}"
    with role(server, "target", TARGET_PASSWORD), Watch({"hunter3"}) as watch:
        ended = [command_line("restore", "latest", RESTORE_DATABASE_URL=to)]
        assert "ERROR: Restore refused: the target database has tables" in ended[0].err
        ended.append(command_line("restore", "latest", "--replace", RESTORE_DATABASE_URL=to))
        assert ended[1].status == 0, ended[1].err
        assert watch.found == set()
        ended.append(command_line("restore", "latest", "--to", to, "--replace"))
        assert ended[2].status == 0, ended[2].err
    assert "psql" in watch.programs
    assert not {name for name in watch.found if "psql" in name}
    assert "hunter3" not in "".join(e.out + e.err for e in ended) + recorded(prefect_api)
