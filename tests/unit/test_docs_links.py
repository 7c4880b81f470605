"""What the documents name is there: files, headings, symbols, variables, parameters of runs, one version."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import prefect.settings
import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from pydantic import AliasChoices

from blocks.config.settings import Settings
from flows.deployments import _FLOWS
from tasks.wording import tool_version
from tests.markdown import ROOT, Document, Piece, documents

DOCUMENTS = documents()
ROOMS = ("blocks", "tasks", "flows", "tests")
FOLDERS = (*ROOMS, "docs", ".github", ".ci")
FILES = r"\w\.(py|md|toml|ya?ml|lock)$"
# Files that a user makes, and programs of others: named in the documents, and not in the project.
THEIR_FILES = {"docker-compose.override.yml", ".pgpass"}
THEIR_CALLS = {"pg_reload_conf", "lo_export", "now"}
THEIR_WORDS = {"malloc_trim"}
THEIR_NAMES = {
    "MINIO_SITE_REGION",  # MinIO's own
    "RAILWAY_RUN_UID",  # Railway's own
    "PREFECT_API_KEY",  # Prefect Cloud's; handed on by the compose file
    "TARGET_URL",  # set by the reader in the line before, or thought of as such
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "AWS_CA_BUNDLE",  # read by the libraries that we speak HTTP with
    # Planned by the product specification for later, or written in the checklist for a pipeline of rclone.
    "WEBHOOK_URL", "WEBHOOK_ON_SUCCESS", "WEBHOOK_ON_FAILURE", "RCLONE_S3_*", "PG_PASSWORD",
}  # fmt: skip

Faults = Iterator[str]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=str)


# --- links ------------------------------------------------------------------------------------------------------------


def broken_links(document: Document) -> Faults:
    """Links to files and headings that are not there."""
    for link in document.links():
        parts = urlsplit(link.text)
        if parts.scheme or parts.netloc:
            continue
        target = (document.path.parent / unquote(parts.path)).resolve() if parts.path else document.path
        other = document if target == document.path else None
        if not target.is_relative_to(ROOT) or not (target.exists() or other):
            yield f"{document}:{link.line}: {link.text} is not there"
        elif parts.fragment and parts.fragment not in (other or Document.read(target)).anchors():
            yield f"{document}:{link.line}: {link.text} names no heading"


@each_document
def test_every_link_leads_somewhere(document: Document) -> None:
    """Each relative link has its file, and each anchor its heading."""
    assert [*broken_links(document)] == []


def test_every_document_and_picture_can_be_found() -> None:
    """Who begins with the README comes to every document by links, and every picture is shown somewhere."""
    by_path = {document.path: document for document in DOCUMENTS}
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        if here.is_dir():
            waiting += here.glob("*.md")
        for link in by_path[here].links() if here in by_path else ():
            parts = urlsplit(link.text)
            if parts.path and not parts.scheme:
                waiting.append((here.parent / unquote(parts.path)).resolve())
    templates = {path for path in by_path if ".github" in path.parts}
    pictures = set((ROOT / "docs" / "images").iterdir())
    assert sorted(str(path.relative_to(ROOT)) for path in ({*by_path} - templates | pictures) - seen) == []


# --- files and symbols ------------------------------------------------------------------------------------------------


@cache
def sources() -> dict[Path, str]:
    """The project's own files that are no documents, with their text."""
    found = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*")] + [*ROOT.iterdir()]
    kinds = (".py", ".toml", ".yaml", ".yml", ".json", ".sql", ".txt", ".example", "")
    ours = (p for p in found if p.is_file() and p.suffix in kinds and "__pycache__" not in p.parts)
    return {path: path.read_text(errors="replace") for path in ours}


@cache
def definitions() -> set[str]:
    """The names of all functions, methods and classes."""
    trees = [ast.parse(text) for path, text in sources().items() if path.suffix == ".py"]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}


@cache
def words() -> set[str]:
    """Every word of a file of ours, but for documents and the examples of what is wrong below."""
    return {word for path, text in sources().items() if path != Path(__file__) for word in re.findall(r"\w+", text)}


def functions_in(path: Path) -> set[str]:
    """The names of the functions of a file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing_path(text: str) -> str:
    """Why a path that is written as ours is none; empty for what is none of ours, or is there."""
    path, _, function = text.partition("::")
    first = path.partition("/")[0]
    if not re.fullmatch(r"[\w.*-]+(/[\w.*-]+)*/?", path) or path in THEIR_FILES:
        return ""
    if first in FOLDERS and "/" in path:
        there = [*ROOT.glob(path.rstrip("/"))]
    elif "/" not in path and re.search(FILES, path):
        there = [file for file in sources() if file.name == path] or [d.path for d in DOCUMENTS if d.path.name == path]
        there += [file for file in ROOT.glob("*.lock") if file.name == path]
    else:
        return ""
    if not there:
        return "is not there"
    return f"has no {function}" if function and function not in functions_in(there[0]) else ""


def missing_symbol(text: str) -> str:
    """Why a name that is written as one of our modules, or a call, is none; empty otherwise."""
    if re.fullmatch(rf"({'|'.join(ROOMS)})(\.\w+)+", text) and not re.search(FILES, text):
        try:
            pkgutil.resolve_name(text)
        except (ImportError, AttributeError):
            return "is no symbol"
    called = re.fullmatch(r"(?:\w+\.)*([A-Za-z_]\w*)\(.*\)", text)
    if called and called[1] not in definitions() | THEIR_CALLS:
        return "is no function of ours"
    named = re.fullmatch(r"(?:pg_roundtrip_)?([a-z]+(?:_[a-z]+)+|(?:[A-Z][a-z]+){2,})", text)
    return "is no word of ours" if named and named[1] not in words() | THEIR_WORDS else ""


def missing_things(document: Document) -> Faults:
    """Paths and symbols between backticks that are not there."""
    for span in document.spans():
        for look in (missing_path, missing_symbol):
            if reason := look(span.text):
                yield f"{document}:{span.line}: {span.text} {reason}"


@each_document
def test_every_file_and_symbol_is_there(document: Document) -> None:
    """What stands between backticks and looks like a file, a module or a function of ours is one; a name stands in some file."""
    assert [*missing_things(document)] == []


# --- runs by hand ------------------------------------------------------------------------------------------------------


def wrong_runs(document: Document) -> Faults:
    """What Prefect would refuse of `prefect deployment run FLOW/PLAN -p NAME=VALUE`."""
    for piece in (*document.spans(), *document.fences()):
        for flow, rest in re.findall(r"prefect deployment run ([\w-]+)/[\w<>-]+(.*)", piece.text):
            parameters = set(re.findall(r"(?:-p|--param) (\w+)=", rest))
            unknown = parameters - set(_FLOWS[flow].parameters.properties) if flow in _FLOWS else {"no such flow"}
            yield from (f"{document}:{piece.line}: {flow}: {name}" for name in sorted(unknown))


@each_document
def test_every_run_by_hand_can_be_made(document: Document) -> None:
    """The flow is one of ours and takes the parameters."""
    assert [*wrong_runs(document)] == []


# --- variables --------------------------------------------------------------------------------------------------------


@cache
def variables() -> set[str]:
    """Every variable that the settings are read from."""
    found = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        found |= {*map(str, alias.choices)} if isinstance(alias, AliasChoices) else {str(alias or name.upper())}
    return found


@cache
def mentioned() -> set[str]:
    """Every name in capitals that a file of ours has, but for documents and tests."""
    texts = (t for p, t in sources().items() if "tests" not in p.relative_to(ROOT).parts and p.name != ".env.example")
    return {name for text in texts for name in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+_?\b", text)}


def is_known(name: str) -> bool:
    """Whether a variable is one of ours or Prefect's, or one that a file of ours sets or reads."""
    if name.endswith("*"):
        return name in THEIR_NAMES or any(known.startswith(name[:-1]) for known in variables() | mentioned())
    # Prefect has an attribute for each of its settings.
    theirs = name.startswith("PREFECT_") and hasattr(prefect.settings, name)
    return theirs or name in variables() | mentioned() | THEIR_NAMES


def unknown_variables(document: Document) -> Faults:
    """Names in capitals that nobody reads: all between backticks; in blocks of code those that begin as ours do."""
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
    """A name that was renamed or made up is found."""
    assert [*unknown_variables(document)] == []


# --- blocks of code ---------------------------------------------------------------------------------------------------


def _shell(text: str) -> None:
    placeholders = re.sub(r"<[a-zA-Z][\w .'-]*>", "word", text)
    done = subprocess.run(["bash", "-n"], input=placeholders, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())


READERS: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "json": json.loads,
    "yaml": lambda text: [*yaml.safe_load_all(text)],
    "toml": tomllib.loads,
    **dict.fromkeys(("sh", "bash", "shell"), _shell),
}
DIAGRAMS = (
    "flowchart",
    "graph",
    "sequenceDiagram",
    "stateDiagram-v2",
    "classDiagram",
    "erDiagram",
    "gantt",
    "timeline",
)


def unreadable_blocks(document: Document) -> Faults:
    """Blocks that are not written in the language that they are said to be in."""
    for fence in document.fences():
        language, _, _ = fence.language.partition(" ")
        try:
            READERS.get(language, len)(fence.text)
        except (ValueError, SyntaxError, yaml.YAMLError) as error:
            yield f"{document}:{fence.line}: {error}"
        if language == "mermaid":
            first = (fence.text.split() or [""])[0]
            pairs = all(fence.text.count(a) == fence.text.count(b) for a, b in ("[]", "()", "{}"))
            if first not in DIAGRAMS or not pairs or fence.text.count('"') % 2:
                yield f"{document}:{fence.line}: no diagram"
    if len(re.findall(r"^\s*(?:```|~~~)", document.text, re.MULTILINE)) % 2:
        yield f"{document}: a block of code has no end"


@each_document
def test_every_block_of_code_can_be_read(document: Document) -> None:
    """Shell, Python, JSON, YAML and TOML are parsed; a diagram has a kind, and its brackets come in pairs."""
    assert [*unreadable_blocks(document)] == []


# --- one version, and what Prefect loads ------------------------------------------------------------------------------


def test_the_version_is_in_one_place() -> None:
    """It stands in pyproject.toml; the program reads it from there by its installation, and nothing else repeats it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tool_version() == version
    stated = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.]*\d)")
    history = {ROOT / "pyproject.toml", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", Path(__file__)}
    texts = {**sources(), **{d.path: d.text for d in DOCUMENTS}}
    repeated = {p: stated.findall(text) for p, text in texts.items() if p not in history}
    # docs/specification.md names the versions of what it maps, which are not ours.
    assert [str(p.relative_to(ROOT)) for p, found in repeated.items() if found and p.name != "specification.md"] == []


def test_the_newest_release_is_this_version() -> None:
    """The changelog's newest release, when there is one, is the version of pyproject.toml."""
    releases = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert [*releases, tool_version()][0] == tool_version()


@pytest.mark.parametrize("deployment", yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"], ids=str)
def test_prefect_loads_what_prefect_yaml_names(deployment: dict[str, Any]) -> None:
    """Each entrypoint is a flow that takes the parameters given to it."""
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert set(deployment["parameters"]) <= set(flow.parameters.properties)


# --- these tests can fail ---------------------------------------------------------------------------------------------

WRONG = """# Heading one

[a](missing.md) [b](#no-such-heading) [c](#heading-one) [d](README.md#nowhere) [e](https://example.com/x)

`docs/missing.md` `missing.py` `tests/conftest.py::no_such` `blocks.config.settings.no_such` `no_such_function()`
`no_such_name` `NoSuchName`
`S3_BUKET` `VERIFY_NO_*`

```sh
:
export PREFECT_API_ULR=x
prefect deployment run bakcup/default
prefect deployment run restore/default -p bakcup=latest --param replace=true -p no=1
if
```

```json
{
```

```mermaid
picture
```
"""
RIGHT = """# Heading one
## Heading one

[a](LICENSE) [b](#heading-one-1) [c](docs/format.md#digests) ![d](docs/images/runs.png)

`docs/format.md` `docs/*.md` `tests/conftest.py::psql` `blocks.config.settings.load_settings` `load_settings()` `/health` `backup/default`
`pg-roundtrip restore BACKUP --to URL [--replace]` `pg-roundtrip …` `.venv/bin/pg-roundtrip` `prune --dry-run` `plan list` `make demo KEEP=1`
`S3_BUCKET=x` `BACKUP_KEEP_*` `PREFECT_API_URL` `backup_YYYYMMDD_HHMMSS` `docker build -t pg-roundtrip .`

```sh
DATABASE_URL=postgresql://… pg-roundtrip plan add shop --pool pg-roundtrip  # a plan
docker compose run --rm backup pg-roundtrip restore latest --to postgresql://app@db/restored
prefect deployment run restore/default -p backup=latest --watch
git clone <address of this repository> && cd pg-roundtrip && make setup
```
"""
LOOKS = (broken_links, missing_things, wrong_runs, unknown_variables, unreadable_blocks)


@pytest.mark.parametrize(("look", "number"), [*zip(LOOKS, (3, 7, 3, 3, 3), strict=True)])
def test_what_is_wrong_is_found(look: Callable[[Document], Faults], number: int) -> None:
    """Each kind of fault, and nothing in a document that is right."""
    wrong, right = (Document(ROOT / "EXAMPLE.md", text) for text in (WRONG, RIGHT))
    assert len(found := [*look(wrong)]) == number, found
    assert [*look(right)] == []


def test_there_are_documents() -> None:
    """A rule over no files would hold for ever."""
    assert {"README.md", "docs/format.md", "docs/decisions/0001-list-and-check-are-no-runs.md"} <= {
        *map(str, DOCUMENTS)
    }
