"""The UI's pages on backups: figures, trends and commands without secrets, which never break a run."""

from __future__ import annotations

import itertools
import logging
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from prefect.logging import disable_run_logger
from pydantic import SecretStr

from blocks.s3.client import ObjectStore
from flows.terminal import show_catalog
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import Manifest, TableRecord
from tasks.engine.repository.names import name_at
from tasks.engine.repository.outline import outline_of
from tasks.engine.repository.repository import Repository
from tasks.engine.wording import change, human_seconds
from tasks.reports import progress
from tasks.reports.backup import backup_markdown, backup_sentence
from tasks.reports.catalog import catalog_markdown
from tasks.reports.progress import DumpProgress, Progress, RestoreProgress
from tasks.reports.publish import artifact_key, published

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
REPOSITORY = Repository(ObjectStore.at(
    endpoint="https://s3.example.com", bucket="box", prefix="a folder", region="r", key_id="KEYID", secret=SecretStr("KEYSECRET")
))  # fmt: skip


def manifest(
    tables: int = 2, *, rows: int = 1000, object_bytes: int = 4 << 20, name: str = "backup_20261121_030000"
) -> Manifest:
    records = tuple(
        TableRecord(name=f"public.t{n}|`x`", columns=("a",), rows=rows if n == 0 else 0, digest="0" * 32, raw_bytes=1000 - n,
                    member_offset=0, skip_bytes=0) for n in range(tables)
    )  # fmt: skip
    return Manifest(
        tool_version="1", plan="default", name=name, database="shop", server_version="16.4", client_version="16.5",
        encoding="UTF8", collation="C", character_type="C", started_at=NOW, ended_at=NOW + timedelta(seconds=12), raw_bytes=10 << 20,
        object_bytes=object_bytes, sha256="f" * 64, compression="gzip, level 6", schema_digest="0" * 32, schema_statements=3,
        tables=records, sequences=(), large_objects=0, large_object_digest="0" * 32, extensions={"hstore": "1.8"}, roles=(),
    )  # fmt: skip


def backups(count: int) -> list[Backup]:
    moments = [NOW - timedelta(hours=count - n) for n in range(count)]
    return [
        Backup(name_at(m), m, "k", (100 + n) << 20, has_manifest=n != 0, has_report=False)
        for n, m in enumerate(moments)
    ]


def test_a_backup_is_compared_with_the_one_before() -> None:
    """Size, rows and tables are shown with their change; the first backup says that it has no predecessor."""
    before = manifest(rows=800, object_bytes=5 << 20, name="backup_20261120_030000")
    text = backup_markdown("default", REPOSITORY, manifest(), outline_of(before), 2.0)
    assert "| object | 4.0M | 5.0M | ↘ -20.0 % |" in text
    assert "| rows | 1,000 | 800 | ↗ +25.0 % |" in text
    assert "| tables | 2 | 2 | → same |" in text
    assert "There is no backup before" in backup_markdown("default", REPOSITORY, manifest(), None, 2.0)
    assert backup_sentence(outline_of(manifest(1))) == "1,000 rows of 1 table, 4.0M"


def test_how_to_restore_by_hand() -> None:
    """The report has shell commands to paste, without secrets."""
    text = backup_markdown("orders-eu", REPOSITORY, manifest(), None, 2.0)
    assert 'pg-roundtrip restore backup_20261121_030000 --to "$TARGET_URL" --plan orders-eu\n' in text
    assert "aws s3 cp --endpoint-url https://s3.example.com" in text
    assert "'s3://box/a folder/backup_20261121_030000.sql.gz' .\n" in text
    assert f'echo "{manifest().sha256}  backup_20261121_030000.sql.gz" | sha256sum --check &&\n  gunzip -c ' in text
    assert "KEYID" not in text
    assert "KEYSECRET" not in text


def test_the_tables_of_a_backup() -> None:
    """The report has only the largest of many tables, and names can't break its layout."""
    text = backup_markdown("default", REPOSITORY, manifest(40), None, 2.0)
    rows = [line for line in text.splitlines() if line.startswith("| public.")]
    assert len(rows) == 25
    assert rows[0].startswith(r"| public.t0\|\`x\` | 1,000 |")
    assert "15 smaller tables" in text


def test_the_catalog_is_bounded_and_newest_first() -> None:
    """The catalog has at most 500 rows and says how many are left out; what wasn't looked into isn't guessed."""
    all_of_them = backups(600)
    entries: dict[str, dict[str, object]] = {b.name: {"rows": 7, "verdict": None} for b in all_of_them[-50:]}
    entries[all_of_them[-1].name]["verdict"] = "FAILED"
    text = catalog_markdown("default", all_of_them, entries)
    rows = [line for line in text.splitlines() if line.startswith("| `backup_")]
    assert len(rows) == 500
    assert rows[0].startswith(f"| `{all_of_them[-1].name}` ")
    assert rows[0].endswith("| 699M | ↗ +0.1 % | 7 | ❌ FAILED |")
    assert rows[1].endswith("| 7 | not drilled |")
    assert rows[60].endswith("| … | … |")
    assert "100 older backups more" in text
    assert "450 older backups" in text


def test_the_catalog_marks_what_another_tool_made() -> None:
    """A foreign backup has no row count; the first backup has no predecessor; an empty catalog works too."""
    found = backups(2)
    text = catalog_markdown("default", found, {b.name: {"rows": None, "verdict": None} for b in found})
    assert "| 100M |  | foreign | not drilled |" in text
    assert "| unreadable | not drilled |" in text
    assert "no backups" in catalog_markdown("default", [], {})


def test_the_catalog_of_a_shared_folder_names_the_databases() -> None:
    """Each size is compared with the previous one of the same database; a name from a bucket is escaped."""
    found = backups(4)
    names = ["shop", "wiki|`", "shop", "wiki|`"]
    entries = {b.name: {"rows": 7, "verdict": None, "database": name} for b, name in zip(found, names, strict=True)}
    rows = [line for line in catalog_markdown("default", found, entries).splitlines() if line.startswith("| `backup_")]
    assert rows[0].endswith(r" | 7 | not drilled | wiki\|\` |")
    assert "↗ +2.0 %" in rows[0]  # of 103 against 101 MiB
    assert rows[3].endswith("|  | foreign | not drilled | shop |")


def test_the_command_marks_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    """`list` at a terminal shows whether a manifest is missing or unreadable."""
    entry = {"name": "backup_20240207_143022", "taken_at": "", "object_bytes": 1, "rows": None, "verdict": None}
    show_catalog([entry | {"foreign": foreign} for foreign in (False, True)])
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r"  +", line)[-2] for line in lines[1:3]] == ["foreign", "unreadable"]


@pytest.mark.parametrize(("now", "before", "said"), [
    (1, 1, "→ same"), (2, 0, "↗ new"), (110, 100, "↗ +10.0 %"), (50, 100, "↘ -50.0 %"), (100_001, 100_000, "↗ under 0.1 %"),
    (5000, 1, "↗ +499,900.0 %"),
])  # fmt: skip
def test_a_change(now: int, before: int, said: str) -> None:
    assert change(now, before) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (125, "2 min 5 s"), (7500, "2 h 5 min")]
)
def test_seconds(seconds: float, said: str) -> None:
    assert human_seconds(seconds) == said


def test_keys_are_what_prefect_takes() -> None:
    assert artifact_key("drill", "orders1") == "drill-orders1"
    keys = {artifact_key("drill", name) for name in ("default/a_b", "default/a-b", "default/A-b")}
    assert len(keys) == 3
    assert all(re.fullmatch(r"drill-default-a-b-[0-9a-f]{8}", key) for key in keys)


def test_a_publication_that_fails_is_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Prefect's API does, the run continues; an address in the error is not repeated."""
    monkeypatch.setattr("tasks.reports.publish.get_run_logger", lambda: logging.getLogger("test"))

    @published("The report")
    def publish() -> None:
        raise ConnectionError("http://user:secret@prefect/api")

    with caplog.at_level(logging.WARNING):
        publish()
    assert caplog.messages == ["The report could not be published in Prefect: ConnectionError"]


class Api:
    """Prefect's artifacts, as far as progress uses them."""

    def __init__(self) -> None:
        self.said: list[tuple[float, str]] = []
        self.open = threading.Event()
        self.open.set()

    def create(self, percent: float, key: str, description: str) -> UUID:
        assert key.endswith("progress")
        self.update(uuid4(), percent, description)
        return uuid4()

    def update(self, _artifact: UUID, percent: float, description: str) -> None:
        assert self.open.wait(30)
        self.said.append((percent, description))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Recorded artifacts, as if a task were running."""
    made = Api()
    monkeypatch.setattr(progress, "create_progress_artifact", made.create)
    monkeypatch.setattr(progress, "update_progress_artifact", made.update)
    monkeypatch.setattr("tasks.reports.progress.TaskRunContext.get", lambda: True)
    yield made
    made.open.set()


def test_progress_is_an_estimate_until_it_is_done(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump can grow beyond its estimate: never 100 before its end; then its true size and its speed."""
    clock = itertools.count(0.0, 2.0)
    monkeypatch.setattr("tasks.reports.progress.time.monotonic", lambda: next(clock))
    with DumpProgress("b", 10 << 20, lambda *_: None) as dump:
        dump.tell(20 << 20, 4 << 20)
        newest = dump._newest
        dump.done(30 << 20, 8 << 20)
    assert newest[0] == 99
    assert newest[1] == "b: 20M of about 10M of SQL read (10M/s), 4.0M stored (2.0M/s)"
    assert api.said[-1] == (100, "b: 30M of SQL read (7.5M/s), 8.0M stored (2.0M/s) in 4.0 s")


def test_progress_that_ends_with_an_error_is_not_done(api: Api) -> None:
    """The progress of an aborted step says so, and the error is passed on."""

    def fail(restore: RestoreProgress) -> None:
        with restore:
            restore.tell(500)
            raise KeyError

    with pytest.raises(KeyError):
        fail(RestoreProgress("b", 1000, lambda *_: None))
    percent, said = api.said[-1]
    assert percent == 50
    assert said.endswith("given up")


def test_progress_never_waits_for_prefect(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the API hangs, newer texts replace older ones, and the end waits only a moment."""
    monkeypatch.setattr(progress, "_LAST_WORD_S", 0.05)
    api.open.clear()
    with Progress("some-progress", "first") as shown:
        for percent in range(1000):
            shown.say(percent / 20, "word")
        shown.finished("last")
    assert api.said == []
    assert shown._thread
    api.open.set()
    shown._thread.join(30)
    assert len(api.said) <= 3
    assert api.said[-1] == (100, "last")


def test_progress_that_cannot_be_shown_is_a_warning(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step continues without its progress when that can't be shown."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("http://user:secret@prefect/api")

    monkeypatch.setattr(progress, "create_progress_artifact", refuse)
    monkeypatch.setattr(progress, "get_run_logger", lambda: logging.getLogger("test"))
    with caplog.at_level(logging.WARNING), Progress("some-progress", "first") as shown:
        shown.say(1, "on it goes")
        shown.finished("last")
    assert caplog.messages == ["The progress is not shown in Prefect: ConnectionError"]


def test_without_a_task_there_is_no_progress() -> None:
    """The engine's steps also run without Prefect; then nothing is reported and no server is started for it."""
    with disable_run_logger(), RestoreProgress("b", 10, lambda *_: None) as restore:
        restore.tell(5)
        restore.done()
    assert restore._thread is None
