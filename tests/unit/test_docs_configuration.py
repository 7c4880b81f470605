"""The documents match the settings in the code, and what they offer to paste is accepted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.config.environment import child_environment
from blocks.config.load import Need, load_service_settings, load_settings
from blocks.config.plan import Plan
from blocks.config.settings import SECTIONS, Settings
from blocks.plan import BackupPlan
from tests.generated import DOCUMENTS, NEEDS, documented, missing, written

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
ARGUMENTS = {
    "restore": ["latest"], "acknowledge": ["backup_20261121_020713"], "plan add": ["name"],
    "evidence report": ["--month", "2026-11"],
}  # fmt: skip


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_generated_parts_are_up_to_date(path: Path) -> None:
    """Whoever changes a setting or a provider must run `make docs`."""
    assert written(path) == path.read_text()


def test_every_setting_is_in_a_section() -> None:
    """No setting is missing, except the one that Prefect reads itself."""
    said = [field for section in SECTIONS.values() for field in section.model_fields]
    assert sorted([*said, "prefect_server_encryption_key"]) == sorted(Settings.model_fields)


def test_every_example_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples together form a valid configuration; of a copy, those of a bucket or that of a folder."""
    for section in SECTIONS.values():
        for name, _, says in documented(section):
            monkeypatch.setenv(name, says.example)
    needs: frozenset[Need] = frozenset({"database", "storage", "drill", "target"})
    monkeypatch.delenv("COPY_PATH")
    load_settings(needs)
    for name in [name for name in os.environ if name.startswith(("COPY_S3_", "COPY_PRUNE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COPY_PATH", "/mnt/backups/copy")
    load_settings(needs)


@pytest.mark.parametrize("command", NEEDS)
def test_what_each_command_needs(command: str, tmp_path: Path) -> None:
    """A command without settings reports exactly the variables in the table."""
    words = [*command.split(), *ARGUMENTS.get(command, ())]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flows.cli", *words], env=child_environment({"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}),
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert re.findall(r"Required environment variable (\w+) is not set", done.stderr) == missing(NEEDS[command])


@pytest.mark.parametrize("reader", ["Production", "Startup", "Solo"])
def test_what_is_ready_to_paste_is_accepted(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the three configurations starts the service."""
    block = CONFIGURATION.partition(f"**{reader}")[2].partition("```sh\n")[2].partition("```")[0]
    pairs = [line.partition("=")[::2] for line in block.splitlines()]
    assert [name for name, _ in pairs[:1]] == ["DATABASE_URL"]
    for name, value in pairs:
        monkeypatch.setenv(name, value.strip('"'))
    Plan.from_settings(load_service_settings())


def test_every_field_of_a_plan_is_named() -> None:
    """The table of plans lists the block's fields by the names that a form shows."""
    said = re.findall(r"^\| \*(.+?)\* \|", CONFIGURATION.partition("## Plans: many databases")[2], re.MULTILINE)
    assert said == [info.title for info in BackupPlan.model_fields.values()]
