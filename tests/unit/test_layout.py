"""Layers stay separate: imports run one way, and modules and functions stay small."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.blocks.core import Block

import blocks

ROOT = Path(__file__).parents[2]
ROOMS = {"blocks": {"blocks"}, "tasks": {"tasks", "blocks"}, "flows": {"flows", "tasks", "blocks"}}
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
# "About": don't split what belongs together for a little more; far more needs a comment that says why.
MODULE_LINES, FUNCTION_LINES, ABOUT = 250, 25, 1.1
REASON = "# Long because "


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """Return the full names of everything that a module imports, including inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports by a relative name"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def code_lines(source: str) -> set[int]:
    """Return the numbers of lines with code: no blank lines, comments or docstrings."""
    lines = {n for n, line in enumerate(source.splitlines(), 1) if line.strip() and not line.strip().startswith("#")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def long_functions(source: str) -> Iterator[tuple[str, int]]:
    """Return functions that are too long without a reason; nested functions count separately."""
    code = code_lines(source)
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for function in functions:
        own = set(range(function.body[0].lineno, (function.end_lineno or 0) + 1))
        inner = [f for f in ast.walk(function) if f in functions and f is not function]
        for other in inner:
            own -= set(range(other.lineno, (other.end_lineno or 0) + 1))
        text = "\n".join(source.splitlines()[function.lineno - 2 : function.end_lineno])
        if len(own & code) > FUNCTION_LINES * ABOUT and REASON not in text:
            yield function.name, len(own & code)


def test_the_rooms_are_there() -> None:
    """Every room exists: a rule that checks no files would always pass."""
    assert len(MODULES) > 30
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    """Flows can use tasks, tasks can use blocks, and never the other way round."""
    room = path.relative_to(ROOT).parts[0]
    ours = {name.partition(".")[0] for name in imports(path)} & {*ROOMS, "tests"}
    assert ours <= ROOMS[room]


@pytest.mark.parametrize("path", sorted((ROOT / "tasks" / "engine").rglob("*.py")), ids=name_of)
def test_the_engine_knows_no_prefect(path: Path) -> None:
    """The engine is tested and reused without the orchestrator, and without the tasks around it."""
    for name in imports(path):
        assert name.partition(".")[0] not in ("prefect", "prefect_aws")
        assert not name.startswith("tasks.") or name.startswith("tasks.engine")


# The engine's rooms from the bottom up: each can use those below it.
FLOORS = ("", "age", "repository", "notify", "servers", "dump", "stream", "look", "restore", "drill", "evidence")
ENGINE = ROOT / "tasks" / "engine"


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=name_of)
def test_the_engine_s_rooms_stand_on_each_other(path: Path) -> None:
    """A room can be understood without those above it."""
    assert {room.name for room in ENGINE.iterdir() if room.is_dir()} - {"__pycache__"} == {*FLOORS} - {""}
    room = path.parent.name if path.parent != ENGINE else ""
    used = [name.split(".")[2] for name in imports(path) if name.startswith("tasks.engine.")]
    above = FLOORS[FLOORS.index(room) + 1 :]
    assert [name for name in used if name in above] == []


def test_errors_know_nothing_of_ours() -> None:
    """Every room can raise an error, so the errors are below them all."""
    paths = sorted((ROOT / "blocks" / "errors").glob("*.py"))
    assert paths
    assert {
        n for path in paths for n in imports(path) if n.partition(".")[0] in ROOMS and not n.startswith("blocks.errors")
    } == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_one_reads_at_a_time_is_small(path: Path) -> None:
    """Modules have about 250 lines of code and functions about 25, or a comment that says why not."""
    source = path.read_text()
    assert len(code_lines(source)) <= MODULE_LINES * ABOUT or REASON in source
    assert list(long_functions(source)) == []


def test_the_measure_measures() -> None:
    """A long function is detected unless a comment gives the reason; docstrings and comments don't count."""
    body = "".join(f"    x = {n}\n" for n in range(40))
    assert [*long_functions("def f():\n" + body)] == [("f", 40)]
    assert [*long_functions(f"{REASON}of its many steps.\ndef f():\n" + body)] == []
    assert [*long_functions('def f():\n    """Say\n\n    a lot."""\n' + "    # and\n\n" * 40 + "    return 1\n")] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """Every module begins with a docstring that gives its reason."""
    assert ast.get_docstring(ast.parse(path.read_text()))


LIBRARIES = ("prefect", "boto3", "botocore", "psycopg", "pydantic", "rich", "cryptography", "jinja2")
# What modules with these prefixes must not load; the first match counts.
NOT_LOADED = {
    "blocks.errors": LIBRARIES,
    "blocks.config.says": LIBRARIES,
    "blocks.config.settings": ("prefect", "boto3", "botocore"),
    "blocks.config.load": ("prefect", "boto3", "botocore"),
    "blocks.config": ("prefect",),
    "blocks.s3": ("prefect", "psycopg"),
    "blocks.sql": ("prefect", "boto3", "botocore"),
    "tasks.engine.age": ("prefect", "cryptography"),
    "tasks.engine.evidence": ("prefect", "cryptography"),
    "tasks.engine": ("prefect",),
    "tasks.reports.evidence": ("prefect", "jinja2"),
    "tasks.status.evidence": ("prefect", "cryptography"),
    "tasks.status.check": ("prefect",),
    "tasks.status.health": ("prefect",),
    "tasks.status.listing": ("prefect",),
    "tasks.status.metrics": ("prefect",),
    "tasks.status": ("prefect", "jinja2"),
    "tasks.reports.drill": ("prefect",),
    "flows.cli": LIBRARIES,
    "flows.evidence": LIBRARIES,
    "flows.plans": LIBRARIES,
    "flows.status": LIBRARIES,
    "flows.terminal": ("prefect",),
}
# Each module in a process of its own, forked from one that has imported what it may.
LOADING = """
import importlib, os, sys
allowed, names = (words.split(",") for words in sys.argv[2:])
for library in filter(None, allowed):
    importlib.import_module(library)
for name in names:
    if not os.fork():
        importlib.import_module(name)
        print(name, *(found for found in sys.argv[1].split(",") if found in sys.modules), flush=True)
        os._exit(0)
    if os.wait()[1]:
        print(name, "fails", flush=True)
"""


def loaded(forbidden: tuple[str, ...], names: list[str]) -> dict[str, list[str]]:
    """Which of the forbidden libraries each module loads."""
    allowed = [library for library in LIBRARIES if library not in forbidden]
    lists = [",".join(each) for each in (forbidden, allowed, names)]
    done = subprocess.run([sys.executable, "-c", LOADING, *lists], capture_output=True, text=True, check=True, cwd=ROOT)
    return {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines())}


def test_what_is_loaded_by_what() -> None:
    """Import statements don't tell everything: check what a fresh interpreter holds after importing a module."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES]
    ruled: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        if rule := next((r for n, r in NOT_LOADED.items() if name.startswith(n)), None):
            ruled.setdefault(rule, []).append(name)
    assert sum(map(len, ruled.values())) > 50
    for rule, modules in ruled.items():
        assert loaded(rule, modules) == {name: [] for name in modules}


def test_a_forbidden_library_is_seen() -> None:
    """The test above would fail."""
    assert loaded(("prefect",), ["flows.serve", "tasks.no_such"]) == {
        "flows.serve": ["prefect"],
        "tasks.no_such": ["fails"],
    }


def test_prefect_finds_the_blocks() -> None:
    """`prefect block register -m blocks` inspects the module's attributes, and imports the blocks it finds there."""
    found = {name for name, member in inspect.getmembers(blocks) if Block.is_block_class(member)}
    assert found == {"BackupCopy", "BackupPlan", "BackupStorage", "PostgresServer"}
