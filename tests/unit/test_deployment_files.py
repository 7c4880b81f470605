"""The files that platforms read agree with the code and with each other."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
# Set by the image.
_NOT_THE_CONTAINERS = {"PREFECT_HOME"}
# Not needed in a drill-only container.
_OF_THE_DATABASE = {
    "DATABASE_URL",
    "RESTORE_DATABASE_URL",
    "RESTORE_VERIFY",
    "COMPRESSION_LEVEL",
    "ANOMALY_IGNORE_TABLES",
    "PG_DUMP_OPTIONS",
}


def test_both_of_railways_files_say_the_same() -> None:
    """Railway reads either of them, and we can't rely on which."""
    as_json = json.loads((ROOT / "railway.json").read_text())
    del as_json["$schema"]
    assert as_json == tomllib.loads((ROOT / "railway.toml").read_text())


def test_railway_builds_looks_and_restarts() -> None:
    """Railway builds our Dockerfile, checks the page that says whether backups work, and restarts after a failure."""
    said = tomllib.loads((ROOT / "railway.toml").read_text())
    assert said["build"]["builder"] == "DOCKERFILE"
    assert (ROOT / said["build"]["dockerfilePath"]).is_file()
    assert said["deploy"]["healthcheckPath"] == "/health"
    assert (said["deploy"]["restartPolicyType"], said["deploy"]["restartPolicyMaxRetries"] > 0) == ("ON_FAILURE", True)


def test_every_documented_variable_reaches_the_container() -> None:
    """What is set in `.env` is not silently lost in the compose file."""
    assert _documented() - _handed_on("backup") - _NOT_THE_CONTAINERS == set()


def test_the_container_for_drills_knows_nothing_of_the_database() -> None:
    """The drill-only container gets all variables except the database's address and those only for backups."""
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
    """Containers restart after a failure, and the service starts once the database and the storage are healthy."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}
    healthy = {"condition": "service_healthy"}
    assert services["backup"]["depends_on"] == {"postgres": healthy, "s3": healthy}
    assert all(services[name]["healthcheck"]["test"] for name in ("postgres", "s3"))


def test_there_is_one_lock_and_every_dependency_is_in_it() -> None:
    """Constraints don't cover unlisted packages, so every direct dependency needs a pin within its bounds."""
    assert [path.name for path in ROOT.glob("*.lock")] == ["requirements.lock"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"], *chain.from_iterable(extras)]
    needed = [need for need in map(Requirement, wanted) if need.name != "pg-roundtrip"]
    pins = re.findall(r"^([a-z0-9._-]+)==(\S+)", LOCK, re.MULTILINE)
    allowed = {
        need.name for need in needed for name, version in pins if name == need.name and version in need.specifier
    }
    assert {need.name for need in needed} - allowed == set()
    assert len(pins) > len(needed)


def test_whatever_is_locked_has_checksums_and_no_address() -> None:
    """Packages install from any index, verified by hash."""
    entries = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []
    assert [line for line in LOCK.splitlines() if "://" in line or " @ " in line] == []


def test_every_environment_is_made_from_the_lock() -> None:
    """One script makes them all, so the image has the tested packages; .dockerignore passes exactly what it copies."""
    dockerfile, makefile = (ROOT / "Dockerfile").read_text(), (ROOT / "Makefile").read_text()
    script = r"python3 \.ci/bootstrap\.py /opt/pg-roundtrip .*(-r pyproject\.toml|--no-deps \.)$"
    assert len(re.findall(script, dockerfile, re.MULTILINE)) == 2
    assert "bootstrap.py .venv -e '.[$*]'" in makefile
    assert not re.search(r"\bpip install\b", dockerfile + makefile)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    assert {name for names in copied for name in names.split()} == sent
