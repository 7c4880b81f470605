"""A run's outcome survives a Prefect server whose responses get lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.conftest import Ended, NewDatabase
from tests.faults.http_proxy import Answer, Request, error, lost, s3_proxy
from tests.integration.objects import LIBRARY

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def heard() -> list[str]:
    """State changes that the server has received while the client got no response."""
    return []


@pytest.fixture
def prefect_api(prefect_api: str, heard: list[str]) -> Iterator[str]:
    """The Prefect server behind a proxy that drops its first response to each new state of a flow run."""

    def once(request: Request) -> Answer:
        said = f"{request.target} {json.loads(request.read())['state']['type']}"
        if said not in heard:
            heard.append(said)
            lost(request)
        return request.forward()

    with s3_proxy(urlsplit(prefect_api).port or 0) as proxy:
        proxy.on("POST", "/flow_runs/[^/]+/set_state", once)
        proxy.on("GET", "/events/", error(404, "none"))  # a web socket, which the proxy can't forward
        yield f"{proxy.url}/api"


# In child processes: Prefect's services keep the first address that a process used for its whole life.


def test_a_backup_whose_end_is_told_twice(
    heard: list[str], command_line: Callable[..., Ended], new_database: NewDatabase
) -> None:
    """The server answers the retry with its own copy, which has no result: the backup and prune results survive."""
    ended = command_line("backup", "--json", server=new_database(16, LIBRARY))
    assert [said.rpartition(" ")[2] for said in heard] == ["RUNNING", "RUNNING", "COMPLETED", "COMPLETED"]
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["rows"] > 0
    assert "could not be pruned" not in ended.err


def test_an_error_that_is_told_twice(
    heard: list[str], command_line: Callable[..., Ended], new_database: NewDatabase
) -> None:
    """An error whose final state is sent twice keeps its hint and its exit status."""
    ended = command_line("backup", server=new_database(16).on("nowhere"))
    assert [said.rpartition(" ")[2] for said in heard] == ["RUNNING", "FAILED"]
    assert ended.status == 1
    assert "ERROR: Cannot connect to database [" in ended.err
    assert "Traceback" not in ended.err
