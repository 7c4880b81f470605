"""docs/configuration.md, .env.example and the code have the same variables, with the same defaults, in the same order."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any, cast

import prefect.settings
import pytest
from prefect.server.utilities import encryption
from pydantic import AliasChoices

from blocks.config.plan import Plan
from blocks.config.settings import Need, Settings, load_service_settings, load_settings
from blocks.errors import ConfigurationError
from blocks.plan import BackupPlan
from blocks.s3.providers import KEYS
from flows import cli, plans
from flows.new_plan import add_plan

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
HEADER = ["variable", "default", "example", "meaning"]
# What is set in a file that the compose file reads does not become the system's own.
NOT_IN_THE_EXAMPLE = "The system's own"
REQUIRED = ["DATABASE_URL", "S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]
Row = tuple[str, str, str]  # variable, default, example


def cells(line: str) -> list[str]:
    """The cells of a table's row."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def documented() -> dict[str, list[Row]]:
    """The variables of the document with their defaults and examples, by the section that they stand in."""
    found: dict[str, list[Row]] = {}
    for section in DOCUMENT.split("\n## ")[1:]:
        title, lines = section.partition("\n")[0], section.splitlines()
        if "| " + " | ".join(HEADER) + " |" not in lines:
            continue
        rows = [cells(line) for line in lines if line.startswith("| `")]
        assert all(len(row) == len(HEADER) and row[2] and row[3].endswith(".") for row in rows), rows
        found[title] = [(row[0].strip("`"), row[1].strip("`"), row[2].strip("`")) for row in rows]
    return found


def rows() -> list[Row]:
    """All of them, in their order."""
    return [row for section in documented().values() for row in section]


def in_settings() -> dict[str, str]:
    """Every variable that the settings are read from, under its first name, with its default as it is written."""
    found = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        name = str(alias.choices[0]) if isinstance(alias, AliasChoices) else str(alias or field.upper())
        found[name] = written(info.default)
    return found


def written(default: Any) -> str:
    """A default as one writes it in the environment."""
    text = default.get_secret_value() if hasattr(default, "get_secret_value") else default
    return "" if text is None else str(text).lower() if isinstance(text, bool) else str(text)


def missing(needs: frozenset[Need]) -> list[str]:
    """What an empty environment lacks for some needs."""
    try:
        load_settings(needs)
    except ConfigurationError as error:
        return [fault.message.split()[3] for fault in error.faults]
    return []


def needs_of_commands() -> dict[str, frozenset[Need]]:
    """What each command asks for before it begins, read from its code."""
    found: dict[str, set[str]] = {}
    for module, group in ((cli, ""), (plans, "plan ")):
        for function in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(function, ast.FunctionDef) or not any(
                isinstance(made, ast.Call) and ast.unparse(made.func) == "app.command"
                for made in function.decorator_list
            ):
                continue
            name = next(
                (ast.literal_eval(made.args[0]) for made in function.decorator_list
                 if isinstance(made, ast.Call) and made.args), function.name
            )  # fmt: skip
            done_by = ast.parse(inspect.getsource(add_plan)) if group + name == "plan add" else function
            asked = [
                call for call in ast.walk(done_by)
                if isinstance(call, ast.Call) and ast.unparse(call.func) in ("_require", "load_settings")
            ]  # fmt: skip
            words = {
                node.value for call in asked for node in ast.walk(call)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }  # fmt: skip
            found[group + name] = words
    return {name: cast("frozenset[Need]", frozenset(words)) for name, words in found.items()}


def test_every_setting_is_documented_with_its_default() -> None:
    """What the code reads stands in the document, and its default there is the one in the code."""
    said = {name: default for name, default, _ in rows()}
    assert {name: said.get(name) for name in in_settings()} == in_settings()


def test_what_is_documented_is_read() -> None:
    """Every variable of the document is read by somebody: the settings, Prefect, the compose file or the system."""
    for name, default, _ in rows():
        if name in in_settings():
            continue
        if name.startswith("PREFECT_"):
            assert prefect_has(name), name
        elif name in [variable for variable, *_ in documented()[NOT_IN_THE_EXAMPLE]]:
            continue
        else:
            assert f"${{{name}:-{default}}}" in COMPOSE, name


def prefect_has(name: str) -> bool:
    """Whether Prefect reads a variable: as one of its settings, or where it encrypts blocks."""
    return hasattr(prefect.settings, name) or f'"{name}"' in inspect.getsource(encryption)


def test_what_the_files_read_is_documented() -> None:
    """No variable that the compose file or the image takes is left out."""
    read = set(re.findall(r"\$\{([A-Z][A-Z0-9_]+)", COMPOSE)) | set(
        re.findall(r"^ {6}([A-Z][A-Z0-9_]+):", COMPOSE, re.MULTILINE)
    )
    # What the two servers to try with are told goes by other names inside of them.
    inside = {"PGDATA", "PGUSER", "PGDATABASE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert read - {name for name, *_ in rows()} == inside


def test_no_variable_is_documented_twice() -> None:
    """Each has one place."""
    names = [name for name, *_ in rows()]
    assert len(names) == len(set(names))


def test_the_example_file_is_the_document() -> None:
    """The same groups, and in each the same variables in the same order, with their defaults."""
    groups = re.split(r"^# --- (.+) ---$", EXAMPLE, flags=re.MULTILINE)
    in_file = {
        title: re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE)
        for title, text in zip(groups[1::2], groups[2::2], strict=True)
    }
    wanted = {title: list(section) for title, section in documented().items() if title != NOT_IN_THE_EXAMPLE}
    assert list(in_file) == list(wanted)
    for title, section in wanted.items():
        names = [name for name, _ in in_file[title]]
        assert names == [name for name, *_ in section]
        optional = {name: default for name, default in in_file[title] if name not in REQUIRED}
        assert optional == {name: default for name, default, _ in section if name not in REQUIRED}


def test_what_is_needed_is_not_commented_out() -> None:
    """Who copies the example file has to fill in what is needed, and nothing else."""
    assert re.findall(r"^([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE) == REQUIRED


def test_every_value_of_a_choice_is_named() -> None:
    """Whose storage it may be."""
    meaning = next(line for line in DOCUMENT.splitlines() if line.startswith("| `S3_PROVIDER`"))
    assert [key for key in re.findall(r"`([a-z0-9]+)`", cells(meaning)[3]) if key in KEYS] == [*KEYS]


def test_every_example_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples together are a configuration that is accepted."""
    for name, _, example in rows():
        if name in in_settings():
            monkeypatch.setenv(name, example)
    load_settings(frozenset({"database", "storage", "drill", "target"}))


def test_what_each_command_needs() -> None:
    """The table of commands says what an empty environment is told to set."""
    table = DOCUMENT.partition("## What each command needs")[2].partition("\n## ")[0]
    said = {
        command.removeprefix("`pg-roundtrip ").rstrip("`"): re.findall(r"`([A-Z0-9_]+)`", always)
        for command, always, _ in (cells(line) for line in table.splitlines() if line.startswith("| `"))
    }
    with pytest.raises(ConfigurationError) as caught:
        load_service_settings()
    served = [fault.message.split()[3] for fault in caught.value.faults]
    expected = {name: missing(needs) for name, needs in needs_of_commands().items()} | {"serve": served}
    assert {name: sorted(names) for name, names in said.items()} == {n: sorted(names) for n, names in expected.items()}


@pytest.mark.parametrize("reader", ["Production", "Startup", "Solo"])
def test_what_is_ready_to_paste_is_accepted(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the three configurations starts the service, and sets no variable that nobody knows."""
    block = DOCUMENT.partition(f"**{reader}")[2].partition("```sh\n")[2].partition("```")[0]
    pairs = [line.partition("=")[::2] for line in block.splitlines()]
    assert [name for name, _ in pairs[:1]] == ["DATABASE_URL"]
    assert {name for name, _ in pairs} <= set(in_settings())
    for name, value in pairs:
        monkeypatch.setenv(name, value.strip('"'))
    Plan.from_settings(load_service_settings())


def test_every_field_of_a_plan_is_named() -> None:
    """The table of plans has the fields of the block by the names that a form shows, and real variables beside them."""
    table = DOCUMENT.partition("## Plans: many databases")[2]
    said = {
        row[0].strip("*"): re.findall(r"`([A-Z][A-Z0-9_]+)(?:=\w+)?`", row[1])
        for row in map(cells, re.findall(r"^\| \*.+$", table, re.MULTILINE))
    }
    assert list(said) == [info.title for info in BackupPlan.model_fields.values()]
    assert {name for names in said.values() for name in names} <= set(in_settings())
