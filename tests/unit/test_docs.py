"""The documents refer only to things that exist: flows and their parameters, variables, the one version."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import prefect.settings
import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from pydantic import AliasChoices

from blocks.config.settings import Settings
from flows.deployments import _FLOWS
from tasks.engine.wording import tool_version
from tests.markdown import ROOT, Document, Piece, documents

DOCUMENTS = documents()
FOLDERS = ("blocks", "tasks", "flows", "tests", "docs", ".github", ".ci")
THEIR_NAMES = {
    "MINIO_SITE_REGION",  # MinIO's own
    "RAILWAY_RUN_UID",  # Railway's own
    "PREFECT_API_KEY",  # Prefect Cloud's; passed on by the compose file
    "HOOK_PASSWORD",  # set by the reader for a hook
    "TARGET_URL",  # set by the reader on the line before, or meant as an example
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "AWS_CA_BUNDLE",  # read by the libraries that we use for HTTP
    # Planned in the product specification for later, or used in the checklist for a pipeline with rclone.
    "WEBHOOK_URL", "WEBHOOK_ON_SUCCESS", "WEBHOOK_ON_FAILURE", "RCLONE_S3_*", "PG_PASSWORD",
}  # fmt: skip

Faults = Iterator[str]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=str)


@cache
def sources() -> dict[Path, str]:
    """Return the project's own files other than documents, with their text."""
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*")] + [*ROOT.iterdir()]
    kinds = (".py", ".toml", ".yaml", ".yml", ".json", ".sql", ".txt", ".example", "")
    ours = (p for p in found if p.is_file() and p.suffix in kinds and "__pycache__" not in p.parts)
    return {path: path.read_text(errors="replace") for path in ours}


def wrong_runs(document: Document) -> Faults:
    """Return what Prefect would reject of `prefect deployment run FLOW/PLAN -p NAME=VALUE`."""
    for piece in (*document.spans(), *document.fences()):
        for flow, rest in re.findall(r"prefect deployment run ([\w-]+)/[\w<>-]+(.*)", piece.text):
            parameters = set(re.findall(r"(?:-p|--param) (\w+)=", rest))
            unknown = parameters - set(_FLOWS[flow].parameters.properties) if flow in _FLOWS else {"no such flow"}
            yield from (f"{document}:{piece.line}: {flow}: {name}" for name in sorted(unknown))


@each_document
def test_every_run_by_hand_can_be_made(document: Document) -> None:
    """Every documented `prefect deployment run` names one of our flows and parameters that it accepts."""
    assert [*wrong_runs(document)] == []


@cache
def variables() -> set[str]:
    """Return every variable that the settings read."""
    found = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        found |= {*map(str, alias.choices)} if isinstance(alias, AliasChoices) else {str(alias or name.upper())}
    return found


@cache
def mentioned() -> set[str]:
    """Return every upper-case name in our files, except documents and tests."""
    texts = (t for p, t in sources().items() if "tests" not in p.relative_to(ROOT).parts and p.name != ".env.example")
    return {name for text in texts for name in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+_?\b", text)}


def is_known(name: str) -> bool:
    """Return whether a variable is one of ours or Prefect's, or one that a file of ours sets or reads."""
    if name.endswith("*"):
        return name in THEIR_NAMES or any(known.startswith(name[:-1]) for known in variables() | mentioned())
    # Prefect has an attribute for each of its settings.
    theirs = name.startswith("PREFECT_") and hasattr(prefect.settings, name)
    return theirs or name in variables() | mentioned() | THEIR_NAMES


def unknown_variables(document: Document) -> Faults:
    """Return upper-case names that nothing reads: every code span; in code blocks only those with our prefixes."""
    pattern = r"(?<![\w%.])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*(?:_\*|_[A-Z0-9]+)(?!\w)"
    beginnings = tuple(f"{name.partition('_')[0]}_" for name in variables() if "_" in name)
    pieces: list[tuple[Piece, tuple[str, ...]]] = [(span, ("",)) for span in document.spans()]
    pieces += [(fence, (*beginnings, "PREFECT_")) for fence in document.fences()]
    for piece, begins in pieces:
        for name in re.findall(pattern, piece.text):
            if name.startswith(begins) and not is_known(name):
                yield f"{document}:{piece.line}: nobody reads {name}"


@each_document
def test_every_variable_is_read_by_somebody(document: Document) -> None:
    """Renamed or invented names are detected."""
    assert [*unknown_variables(document)] == []


def test_the_version_is_in_one_place() -> None:
    """Only pyproject.toml has the version; the program reads the installed metadata, and nothing repeats it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tool_version() == version
    stated = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.]*\d)")
    history = {ROOT / "pyproject.toml", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", Path(__file__)}
    texts = {**sources(), **{d.path: d.text for d in DOCUMENTS}}
    kept = ROOT / "tests" / "data"  # made by older versions
    repeated = {p: stated.findall(text) for p, text in texts.items() if p not in history and kept not in p.parents}
    # docs/specification.md names the versions of what it maps, which are not ours.
    assert [str(p.relative_to(ROOT)) for p, found in repeated.items() if found and p.name != "specification.md"] == []


def test_the_newest_release_is_this_version() -> None:
    """The changelog's newest release, if there is one, is the version in pyproject.toml."""
    releases = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert [*releases, tool_version()][0] == tool_version()


@pytest.mark.parametrize("deployment", yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"], ids=str)
def test_prefect_loads_what_prefect_yaml_names(deployment: dict[str, Any]) -> None:
    """Each entrypoint is a flow that accepts the parameters given to it."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert set(deployment["parameters"]) <= set(flow.parameters.properties)


WRONG = """`S3_BUKET` `VERIFY_NO_*`

```sh
export PREFECT_API_ULR=x
prefect deployment run bakcup/default
prefect deployment run restore/default -p bakcup=latest --param replace=true -p no=1
```
"""


def test_what_is_wrong_is_found() -> None:
    """The checks above detect names that nothing reads, and runs that can't be made."""
    document = Document(ROOT / "EXAMPLE.md", WRONG)
    assert len([*unknown_variables(document)]) == 3
    assert len([*wrong_runs(document)]) == 3


def test_every_test_that_a_document_names_exists() -> None:
    """A promise is shown by the test beside it, so the test must be there."""
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", written))
    named = {
        name
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
        for name in re.findall(r"`(test_\w+)`", path.read_text())
    }
    assert len(named) > 50
    assert named - there == set()
