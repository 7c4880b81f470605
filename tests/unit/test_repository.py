"""The repository has what users, platforms and contributors look for, and nothing that nobody may see."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.markdown import ROOT

PROMISED = (
    "README.md", "QUICKSTART.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md",
    "docs/compatibility.md", "docs/configuration.md", "docs/drills.md", "docs/format.md", "docs/operations.md", "docs/providers.md",
    "docs/reliability.md", "docs/restore.md", "docs/retention.md", "docs/runbooks.md", "docs/scaling.md", "docs/specification.md",
    "docs/troubleshooting.md", ".env.example", ".gitignore", ".dockerignore", "Dockerfile", "docker-compose.yml", "prefect.yaml",
    "railway.toml", "railway.json", ".github/workflows/*.yml", ".github/dependabot.yml",
)  # fmt: skip
# What somebody's working copy may hold beside the project.
NOT_OURS = {".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".bench", ".image-test", ".env",
            "__pycache__", "node_modules", "dist", "build"}  # fmt: skip
SECRETS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/]",
    "a key of Amazon's": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a token of GitHub's": r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{22,}",
    "a key of Prefect Cloud's": r"\bpn[ub]_[A-Za-z0-9]{36}\b",
    "a hook of Slack's": r"hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/",
}


def files() -> list[Path]:
    """Every file of the project."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith(".egg-info")]
        found += [Path(folder) / name for name in names if name not in NOT_OURS]
    return found


@pytest.mark.parametrize("path", PROMISED)
def test_every_promised_file_is_there(path: str) -> None:
    """The files that the specification names, those that platforms read, and a document for each subject; none is empty."""
    found = [*ROOT.glob(path)]
    assert found
    assert all(file.stat().st_size > 100 for file in found)


def test_the_licence_is_the_mit_licence() -> None:
    """As pyproject.toml says, too."""
    text = " ".join((ROOT / "LICENSE").read_text().split())
    assert text.startswith("MIT License Copyright")
    assert "Permission is hereby granted, free of charge, to any person obtaining a copy" in text
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text
    assert 'license = "MIT"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", [".env", ".env.production", "server.key", "certificate.pem"])
def test_git_leaves_secrets_out(name: str) -> None:
    """What holds secrets by its nature is not committed by mistake, nor sent to the builder of the image."""
    for file, last in ((".gitignore", ".env.example"), (".dockerignore", "blocks")):
        rules = [
            line.strip("/") for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")
        ]
        assert not _kept(name, rules)
        assert _kept(last, rules)


def _kept(name: str, rules: list[str]) -> bool:
    """Whether the last rule that fits a name, if any does, says that it stays."""
    fitting = [rule for rule in rules if fnmatch(name, rule.removeprefix("!"))]
    return not fitting or fitting[-1].startswith("!")


def secrets_in(text: str) -> list[str]:
    """The kinds of secrets that a text holds; what calls itself an example is none."""
    found = ((kind, re.search(pattern, text)) for kind, pattern in SECRETS.items())
    return [kind for kind, seen in found if seen and "EXAMPLE" not in seen[0]]


def test_no_secret_is_in_the_repository() -> None:
    """No file looks as if a key or a token had been left in it."""
    readable = {path: path.read_bytes().decode(errors="ignore") for path in files()}
    assert len(readable) > 200
    assert {path: kinds for path, text in readable.items() if (kinds := secrets_in(text))} == {}


def test_secrets_would_be_found() -> None:
    """Put together here, so that this file holds none."""
    assert secrets_in("-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE") == ["a private key"]
    assert secrets_in("id = AKIA" + "Q7" * 8) == ["a key of Amazon's"]
    assert secrets_in("token: gh" + "p_" + "a1" * 18) == ["a token of GitHub's"]
    assert secrets_in("AKIAIOSFODNN7EXAMPLE") == []


def test_every_script_can_be_executed() -> None:
    """A file that says by what it is run can be run, and says where errors end it when it is a shell's."""
    scripts = [path for path in files() if path.read_bytes()[:2] == b"#!"]
    assert len(scripts) >= 4
    assert [path for path in scripts if not os.access(path, os.X_OK)] == []
    shells = [path for path in scripts if re.match(rb"#!.*\b(ba)?sh\b", path.read_bytes())]
    assert [path for path in shells if not re.search(r"^set -[a-z]*e", path.read_text(), re.MULTILINE)] == []
