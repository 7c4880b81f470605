"""Every command that a document tells readers to type exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from cyclopts.exceptions import CycloptsError
from prefect.cli._app import _app as PREFECT  # noqa: N812

from flows.cli import app
from tests.documents import documents, marked_blocks, marks, shell_blocks
from tests.markdown import ROOT

DOCUMENTS = documents()
OURS = typer.main.get_command(app)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(document: Path, program: str) -> Iterator[list[str]]:
    """Return the calls of a program in a document's shell blocks and inline code, each split into words."""
    text = document.read_text()
    inline = re.findall(r"`([^`\n]+)`", text)
    for line in (
        line for block in (*shell_blocks(document), *inline) for line in block.replace("\\\n", " ").splitlines()
    ):
        for part in re.split(r"\|\||&&|[|;()]|\$\(", line.partition(" #")[0]):
            try:
                words = shlex.split(part)
            except ValueError:
                continue
            while words and re.fullmatch(
                r"[A-Z][A-Z0-9_]*=.*|exec|-T|--rm|backup|run|compose|docker", words[0], re.DOTALL
            ):
                words = words[1:]
            if words and words[0].rpartition("/")[2] == program:
                yield words[1:]


def complaint_about(words: list[str]) -> str:
    """Return why the command line would reject these words; empty when it wouldn't."""
    command: Any = OURS
    while words and not words[0].startswith("--") and (verbs := getattr(command, "commands", None)):
        if words[0] == "…":
            return ""
        if words[0] not in verbs:
            return f"no command {words[0]}"
        command, words = verbs[words[0]], words[1:]
    options = {o for parameter in command.params for o in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    return f"no option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_our_commands_exist(document: Path) -> None:
    """Every `pg-roundtrip …` uses an existing command and its options."""
    for words in commands(document, "pg-roundtrip"):
        plain = [word.strip("[]") for word in words]
        assert not complaint_about(plain), f"pg-roundtrip {' '.join(words)}: {complaint_about(plain)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_make_targets_exist(document: Path) -> None:
    """Every `make …` names a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(document, "make"):
        assert {word for word in words if "=" not in word} <= targets, words


def test_commands_are_found_and_judged() -> None:
    """A check that finds nothing would always pass."""
    found = [words for document in DOCUMENTS for words in commands(document, "pg-roundtrip")]
    assert len(found) > 40
    assert ["restore", "latest", "--to", "postgresql://app:change-me@postgres:5432/restored"] in found
    assert complaint_about(["restore", "latest", "--replace"]) == ""
    assert complaint_about(["restore-drill"]) == "no command restore-drill"
    assert complaint_about(["plan", "add", "shop", "--force"]) == "no option --force"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_mark_has_its_block(document: Path) -> None:
    """A mark that isn't followed by a shell block would be a promise that no test keeps."""
    assert marks(document) == len(marked_blocks(document))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_prefects_commands_exist(document: Path) -> None:
    """Every `prefect …` is accepted by this version of Prefect."""
    for words in commands(document, "prefect"):
        if words and words != ["…"]:
            plain = [word for word in words if word not in ("--no-prompt", "…")]
            PREFECT.parse_args(plain, exit_on_error=False, print_error=False)


def test_prefects_commands_are_judged() -> None:
    """The check above does refuse what Prefect would reject."""
    assert sum(1 for document in DOCUMENTS for _ in commands(document, "prefect")) > 20
    for wrong in (["work-pool", "make", "x"], ["deploy", "--everything"]):
        with pytest.raises(CycloptsError):
            PREFECT.parse_args(wrong, exit_on_error=False, print_error=False)
