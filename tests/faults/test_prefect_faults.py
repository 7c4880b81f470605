"""A Prefect server that is hard to reach: what a run ended with is what the run says, not what an answer has left of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.conftest import Ended, NewDatabase
from tests.faults.http_proxy import Answer, Request, error, lost, s3_proxy
from tests.integration.objects import LIBRARY


@pytest.fixture
def heard() -> list[str]:
    """What the server has heard of without being heard."""
    return []


@pytest.fixture
def prefect_api(prefect_api: str, heard: list[str]) -> Iterator[str]:
    """The Prefect server behind a proxy that loses its first answer to each new state of a flow run."""

    def once(request: Request) -> Answer:
        said = f"{request.target} {json.loads(request.read())['state']['type']}"
        if said not in heard:
            heard.append(said)
            lost(request)
        return request.forward()

    with s3_proxy(urlsplit(prefect_api).port or 0) as proxy:
        proxy.on("POST", "/flow_runs/[^/]+/set_state", once)
        proxy.on("GET", "/events/", error(404, "none"))  # a web socket, which it cannot pass on
        yield f"{proxy.url}/api"


# In processes of their own: Prefect's services keep the first address that a process used for as long as it lives.


def test_a_backup_whose_end_is_told_twice(
    heard: list[str], command_line: Callable[..., Ended], new_database: NewDatabase
) -> None:
    """The server answers the second time with what it has, which is no result: the backup's and the prune's are kept."""
    ended = command_line("backup", "--json", server=new_database(16, LIBRARY))
    assert [said.rpartition(" ")[2] for said in heard] == ["RUNNING", "RUNNING", "COMPLETED", "COMPLETED"]
    assert ended.status == 0, ended.err
    assert json.loads(ended.out)["rows"] > 0
    assert "could not be pruned" not in ended.err


def test_an_error_that_is_told_twice(
    heard: list[str], command_line: Callable[..., Ended], new_database: NewDatabase
) -> None:
    """It stays one of ours, with its hint and its exit status."""
    ended = command_line("backup", server=new_database(16).on("nowhere"))
    assert [said.rpartition(" ")[2] for said in heard] == ["RUNNING", "FAILED"]
    assert ended.status == 1
    assert "ERROR: Cannot connect to database [" in ended.err
    assert "Traceback" not in ended.err
