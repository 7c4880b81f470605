"""CI runs what developers run here, on the days and for the versions that are promised."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
READ_ONLY = {"contents": "read"}


def workflow(name: str) -> dict[Any, Any]:
    """Return a workflow as its host reads it."""
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text()))


def triggers(name: str) -> dict[str, Any]:
    """Return when a workflow runs; YAML parses the key `on` as true."""
    return dict(workflow(name)[True])


def steps(name: str) -> list[dict[str, Any]]:
    """Return every step of every job of a workflow."""
    return [step for job in workflow(name)["jobs"].values() for step in job.get("steps", ())]


def made(text: str) -> set[str]:
    """Return the make targets that a script runs."""
    return set(re.findall(r"\bmake ([a-z][a-z-]*)", text))


def targets_of(name: str) -> set[str]:
    """Return the make targets that a workflow runs."""
    return set().union(*(made(step.get("run", "")) for step in steps(name)))


def script(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the programs in `.ci` in a folder."""
    command = [sys.executable, str(ROOT / ".ci" / name), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_ends_some_time(path: Path) -> None:
    """Only the job that needs it gets more than read permission; nothing hangs for six hours."""
    found = workflow(path.stem)
    assert found["permissions"] == READ_ONLY
    assert found["concurrency"]["group"]
    assert all("timeout-minutes" in job or "uses" in job for job in found["jobs"].values())


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


def test_steps_are_targets_that_there_are() -> None:
    """Every CI step can be run here, by the same name."""
    assert targets_of("tests") == {"lint", "types", "links", "coverage", "test-all", "test-unit", "test-compat"}
    assert targets_of("image") == {"image", "image-test"}
    assert targets_of("release") == {"release-notes"}
    assert targets_of("dependencies") == {"lock"}
    assert set().union(*(targets_of(path.stem) for path in WORKFLOWS)) <= TARGETS


def test_a_release_is_tested_and_says_where_it_comes_from() -> None:
    """The tests, and the image's own with the scan, come first; it is published with provenance and an SBOM."""
    jobs = workflow("release")["jobs"]
    for called, name in (("tests", "tests"), ("scan", "image")):
        assert jobs[called]["uses"] == f"./.github/workflows/{name}.yml"
        assert "workflow_call" in triggers(name)
    assert (jobs["image"]["needs"], jobs["notes"]["needs"]) == (["tests", "scan"], "image")
    push = next(step["with"] for step in jobs["image"]["steps"] if step.get("id") == "push")
    assert push["platforms"] == "linux/amd64,linux/arm64"
    assert (push["push"], push["provenance"], push["sbom"]) == (True, "mode=max", True)
    assert any(step.get("uses", "").startswith("actions/attest-build-provenance@") for step in jobs["image"]["steps"])


def test_the_notes_of_a_release_are_those_of_the_changelog(tmp_path: Path) -> None:
    """The notes are the complete section of that version, and nothing else."""
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
    """A release needs the project's version and an entry in the changelog."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(log)
    done = script("release_notes.py", tmp_path, tag)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"ERROR: {said}\nHINT: " in done.stderr


@pytest.mark.parametrize(("lines", "status"), [(899, 1), (900, 0), (0, 1)])
def test_too_few_lines_are_an_error(lines: int, status: int, tmp_path: Path) -> None:
    """At least 90 % of lines are required; branches are reported only."""
    totals = {"covered_lines": lines, "num_statements": 1000 if lines else 0, "covered_branches": 3, "num_branches": 4}
    (tmp_path / "report.json").write_text(json.dumps({"totals": totals}))
    done = script("coverage_gate.py", tmp_path, "report.json")
    assert done.returncode == status, done.stderr
    assert done.stdout == f"lines {lines / 10:.1f} %, branches 75.0 %\n"
