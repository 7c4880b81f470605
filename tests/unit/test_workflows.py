"""What runs on the project's host is what runs here, on the days and for the versions that are promised."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import links
from tests.links import addresses, fault_of

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
READ_ONLY = {"contents": "read"}


def workflow(name: str) -> dict[Any, Any]:
    """A workflow as its host reads it."""
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text()))


def triggers(name: str) -> dict[str, Any]:
    """When a workflow runs; YAML takes the key `on` for a truth."""
    return dict(workflow(name)[True])


def steps(name: str) -> list[dict[str, Any]]:
    """Every step of every job of a workflow."""
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", ())]


def made(text: str) -> set[str]:
    """The targets that a script makes."""
    return set(re.findall(r"\bmake ([a-z][a-z-]*)", text))


def targets_of(name: str) -> set[str]:
    """The targets that a workflow makes."""
    return set().union(*(made(step.get("run", "")) for step in steps(name)))


def script(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of `.ci`'s programs in a folder."""
    command = [sys.executable, str(ROOT / ".ci" / name), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_ends_some_time(path: Path) -> None:
    """Rights beyond reading are given to the one job that needs them; nothing hangs for six hours."""
    found = workflow(path.stem)
    assert found["permissions"] == READ_ONLY
    assert found["concurrency"]["group"]
    assert all("timeout-minutes" in job or "uses" in job for job in found["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_begins_with_the_code(path: Path) -> None:
    """What it makes is made of the commit that it is about; a job without steps calls another workflow."""
    for job in workflow(path.stem)["jobs"].values():
        assert "uses" in job or job["steps"][0]["uses"].startswith("actions/checkout@")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_fails_is_reported(path: Path) -> None:
    """No job and no step may fail unseen, but for addresses elsewhere on the day of a release."""
    jobs = workflow(path.stem)["jobs"]
    assert {name for name, job in jobs.items() if "continue-on-error" in job} <= {"links"}
    assert [step for step in steps(path.stem) if "continue-on-error" in step] == []
    assert [step for step in steps(path.stem) if re.search(r"\bmake .*\|\|", step.get("run", ""))] == []


def test_only_a_release_may_publish() -> None:
    """No other workflow can write packages or releases, so no pull request can."""
    rights = {
        (path.stem, name): job["permissions"]
        for path in WORKFLOWS
        for name, job in workflow(path.stem)["jobs"].items()
        if "permissions" in job
    }
    assert rights == {
        ("release", "image"): {**READ_ONLY, "packages": "write", "id-token": "write", "attestations": "write"},
        ("release", "notes"): {"contents": "write"},
        ("dependencies", "propose"): {"contents": "write", "pull-requests": "write"},
    }
    assert triggers("release") == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    assert set(triggers("dependencies")) == {"schedule", "workflow_dispatch"}


@pytest.mark.parametrize("name", ["tests", "image"])
def test_pushes_pull_requests_and_every_night(name: str) -> None:
    """Tests and image are made for each change, and daily at 02:00 UTC."""
    found = triggers(name)
    assert found["push"] == {"branches": ["main", "develop"]}
    assert "pull_request" in found
    assert found["schedule"] == [{"cron": "0 2 * * *"}]


def test_steps_are_targets_that_there_are() -> None:
    """What runs there can be run here, by the same name."""
    assert targets_of("tests") == {"lint", "types", "links", "coverage", "test-all", "test-unit", "test-compat"}
    assert targets_of("image") == {"image", "image-test"}
    assert targets_of("release") == {"release-notes"}
    assert targets_of("dependencies") == {"lock"}
    assert set().union(*(targets_of(path.stem) for path in WORKFLOWS)) <= TARGETS


def test_a_commit_is_looked_at_as_its_push_is() -> None:
    """The hooks make what the job `lint` makes."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    lint = workflow("tests")["jobs"]["lint"]["steps"]
    assert [hook["entry"] for hook in hooks] == [step["run"] for step in lint if "run" in step]


def test_lint_looks_at_everything_that_a_machine_reads() -> None:
    """Python, shell, Dockerfiles, workflows."""
    recipe = (ROOT / "Makefile").read_text().partition("\nlint: ")[2].partition("\n\n")[0]
    for tool in ("ruff check", "ruff format --check", "hadolint", "shellcheck", "vendor.github-workflows", "zizmor"):
        assert tool in recipe


@pytest.mark.parametrize("name", ["suite", "long"])
def test_the_suite_may_what_it_needs(name: str) -> None:
    """Some tests fill a disk that they mount, or look into a server's process: root of a usual container may not."""
    container = workflow("tests")["jobs"][name]["container"]
    assert {"--init", "--privileged"} <= set(container["options"].split())
    assert "--shm-size" in container["options"]


def test_the_storages_are_pinned() -> None:
    """SeaweedFS is the one of the compose file; MinIO is a release of its own registry, not whatever is newest."""
    services = workflow("tests")["jobs"]["compatibility"]["services"]
    assert f"${{S3_IMAGE:-{services['seaweedfs']['image']}}}" in (ROOT / "docker-compose.yml").read_text()
    assert re.fullmatch(r"quay\.io/minio/minio:RELEASE\.\d{4}(-\d\d){2}T\d\d(-\d\d){2}Z", services["minio"]["image"])
    runs = [step for step in workflow("tests")["jobs"]["compatibility"]["steps"] if "run" in step]
    assert [step["env"]["S3_PROVIDER"] for step in runs] == ["seaweedfs", "minio"]


def test_the_image_is_scanned_and_listed() -> None:
    """For both processors: a list of what is in it, and an error when something has a known hole with a cure."""
    build = workflow("image")["jobs"]["build"]
    assert {row["platform"] for row in build["strategy"]["matrix"]["include"]} == {"amd64", "arm64"}
    scans = [step["with"] for step in build["steps"] if step.get("uses", "").startswith("aquasecurity/trivy-action@")]
    assert scans[0]["format"] == "cyclonedx"
    assert scans[1]["exit-code"] == "1"


def test_a_release_is_tested_and_says_where_it_comes_from() -> None:
    """Tests, and the image's own with the scan, come first; it is published with provenance and a list of contents."""
    jobs = workflow("release")["jobs"]
    for called, name in (("tests", "tests"), ("scan", "image")):
        assert jobs[called]["uses"] == f"./.github/workflows/{name}.yml"
        assert "workflow_call" in triggers(name)
    assert (jobs["image"]["needs"], jobs["notes"]["needs"]) == (["tests", "scan"], "image")
    push = next(step["with"] for step in jobs["image"]["steps"] if step.get("id") == "push")
    assert push["platforms"] == "linux/amd64,linux/arm64"
    assert (push["push"], push["provenance"], push["sbom"]) == (True, "mode=max", True)
    assert any(step.get("uses", "").startswith("actions/attest-build-provenance@") for step in jobs["image"]["steps"])


@pytest.mark.parametrize(
    ("tag", "tags", "names"),
    [
        ("v1.10.0", ["v1.2.3", "v1.9.0", "v1.10.0"], ["1.10.0", "1.10", "latest"]),
        ("v1.2.4", ["v1.2.4", "v1.2.3", "v2.0.0"], ["1.2.4", "1.2"]),
    ],
)
def test_latest_is_the_newest_version(tag: str, tags: list[str], names: list[str], tmp_path: Path) -> None:
    """A mended old release does not become `latest`."""
    (step,) = [step for step in workflow("release")["jobs"]["image"]["steps"] if step.get("id") == "name"]
    gh = tmp_path / "gh"
    gh.write_text("#!/bin/sh\n" + "".join(f"echo refs/tags/{tag}\n" for tag in tags))
    gh.chmod(0o755)
    output = tmp_path / "output"
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_REF_NAME": tag, "GITHUB_REPOSITORY": "Owner/Name"}
    command = ["bash", "-e", "-o", "pipefail", "-c", step["run"]]
    subprocess.run(command, env={**environ, "GITHUB_OUTPUT": str(output)}, check=True)
    said = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert said["tags"].split(",") == [f"ghcr.io/owner/name:{name}" for name in names]
    assert said["version"] == tag.removeprefix("v")


def test_an_address_elsewhere_does_not_hold_a_release_up() -> None:
    """A page that is gone is a fault of the day, not of the tag."""
    assert workflow("tests")["jobs"]["links"]["continue-on-error"] == "${{ github.ref_type == 'tag' }}"


def test_what_ages_is_renewed() -> None:
    """Dependabot looks after actions and bounds; the lock files have a workflow. It cannot read the base image, an argument."""
    found = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    assert {update["package-ecosystem"] for update in found} == {"github-actions", "pip"}
    assert {update["schedule"]["interval"] for update in found} == {"weekly"}
    assert triggers("dependencies")["schedule"] == [{"cron": "0 4 * * 1"}]
    assert "make lock UPGRADE=1" in (ROOT / ".github" / "workflows" / "dependencies.yml").read_text()


def test_the_notes_of_a_release_are_those_of_the_changelog(tmp_path: Path) -> None:
    """The section of that version, whole and alone."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    log = tmp_path / "CHANGELOG.md"
    log.write_text(
        "# Changelog\n\n## Unreleased\n\n- no\n\n## 1.2.3 (2026-11-22)\n\n- yes\n\n### More\n\n- too\n\n## 1.2.30\n\n- no\n"
    )
    done = script("release_notes.py", tmp_path, "v1.2.3")
    assert (done.returncode, done.stdout) == (0, "- yes\n\n### More\n\n- too\n")


@pytest.mark.parametrize(
    ("tag", "log", "said"),
    [
        ("v1.2.4", "## 1.2.4\n\n- yes\n", "The tag is v1.2.4, but pyproject.toml has the version 1.2.3"),
        ("v1.2.3", "## Unreleased\n\n- yes\n\n## 1.2.30\n\n- no\n", "CHANGELOG.md says nothing of 1.2.3"),
    ],
)
def test_a_tag_that_does_not_fit_is_refused(tag: str, log: str, said: str, tmp_path: Path) -> None:
    """Nothing is released under a version that it does not have, or without a word on what changed."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(log)
    done = script("release_notes.py", tmp_path, tag)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"ERROR: {said}\nHINT: " in done.stderr


@pytest.mark.parametrize(("lines", "status"), [(899, 1), (900, 0), (0, 1)])
def test_too_few_lines_are_an_error(lines: int, status: int, tmp_path: Path) -> None:
    """The bound is 90 % of lines; branches are told and not held against it."""
    totals = {"covered_lines": lines, "num_statements": 1000 if lines else 0, "covered_branches": 3, "num_branches": 4}
    (tmp_path / "report.json").write_text(json.dumps({"totals": totals}))
    done = script("coverage_gate.py", tmp_path, "report.json")
    assert done.returncode == status, done.stderr
    assert done.stdout == f"lines {lines / 10:.1f} %, branches 75.0 %\n"


def test_addresses_are_found_and_examples_left_alone() -> None:
    """The link check asks what a reader could open, and no example."""
    text = """See <https://www.prefect.io>, [MIT](https://semver.org). `https://s3.example.com`, http://127.0.0.1:8080,
    https://user:password@host.org/x https://s3.eu-central-1.amazonaws.com http://s3:8333 http://db.internal:5432 https://….r2.cloudflarestorage.com
    (https://github.com/seaweedfs/seaweedfs/wiki/Amazon-S3-API)."""
    wiki = "https://github.com/seaweedfs/seaweedfs/wiki/Amazon-S3-API"
    assert addresses(text) == {"https://www.prefect.io", "https://semver.org", wiki}


def test_an_address_that_is_gone_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there, and a server that never answers; a server that does not want us now is none of our faults."""
    monkeypatch.setattr(links, "_WAIT_S", 0)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there = f"http://127.0.0.1:{server.server_port}"
        assert [fault_of(f"{there}/{status}") for status in (200, 404, 429)] == ["", "status 404", ""]
        server.shutdown()
    assert fault_of(f"{there}/200").startswith("ConnectError")
