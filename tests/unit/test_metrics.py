"""The metrics page reports what is known in Prometheus's format, and leaves out what is not."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.key_check import KeyCheck, Opened
from tasks.engine.repository.outline import outline_of
from tasks.engine.repository.places import Lag
from tasks.status.figures import BackupFigures, DrillFigures
from tasks.status.metrics import Stock, exposition
from tests.unit.test_catalog import FIRST, SECOND, manifest, report

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BACKUP = Backup(FIRST, datetime(2026, 11, 21, 11, tzinfo=UTC), "k", 7, has_manifest=True, has_report=True)


def full_stock() -> Stock:
    """Return a stock that has something for every metric."""
    drilled = DrillFigures.of(report(FIRST))
    there = Stock(readable=True, report=drilled, proven_at=NOW, intervals_s={"restore-drill": 172800.0})
    return Stock(
        readable=True, backups=(BACKUP,), newest=BACKUP, manifest=BackupFigures.of(outline_of(manifest())), report=drilled, proven=BACKUP,
        proven_at=NOW, intervals_s={"backup": 3600.0}, members={"shop": Stock(readable=True)}, lags={"copy": Lag(1, NOW)},
        keys=KeyCheck((Opened(FIRST, "SHA256:x"), Opened(SECOND, problem="other keys")), 2, 0), places={"copy": there},
    )  # fmt: skip


def values(page: bytes) -> dict[str, float]:
    """Return every sample by name and labels, as a Prometheus server reads them; the plan is always the same."""
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            assert sample.labels.pop("plan") == "shop"
            found["/".join([sample.name.removeprefix("pg_roundtrip_"), *sample.labels.values()])] = sample.value
    return found


def test_everything_that_is_known() -> None:
    """The metrics have size, rows, age, verdict, failures and the next runs."""
    made, drilled = manifest(), report(FIRST)
    stock = Stock(
        readable=True,
        backups=(BACKUP, BACKUP),
        newest=BACKUP,
        manifest=BackupFigures.of(outline_of(made)),
        report=DrillFigures.of(drilled),
        proven=BACKUP,
    )
    failures = {("backup", "timeout"): 3, ("restore-drill", "restore_failed"): 1}
    found = values(exposition("shop", stock, failures, {"backup": NOW}, NOW))
    assert found["catalog_readable"] == 1
    assert (found["backups"], found["stored_bytes"]) == (2, 14)
    assert found["backup_rows"] == made.rows
    assert found["backup_size_bytes"] == made.object_bytes
    assert found["backup_age_seconds"] == (NOW - made.started_at).total_seconds()
    assert found["backup_last_success_timestamp_seconds"] == made.ended_at.timestamp()
    assert found["backup_duration_seconds"] == (made.ended_at - made.started_at).total_seconds()
    assert (found["drill_verdict/PROVEN"], found["drill_verdict/FAILED"]) == (1, 0)
    assert found["drill_restore_seconds"] == drilled.restore_seconds
    assert found["newest_proven_timestamp_seconds"] == BACKUP.taken_at.timestamp()
    assert (found["failed_runs/timeout/backup"], found["failed_runs/restore_failed/restore-drill"]) == (3, 1)
    assert found["next_run_timestamp_seconds/backup"] == NOW.timestamp()


def test_an_empty_bucket_has_no_newest_backup() -> None:
    """Without a backup its metrics are left out: a zero would look like a backup of nothing."""
    found = values(exposition("shop", Stock(readable=True), {}, {}, NOW))
    assert {name for name in found if not name.startswith("build_info")} == {
        "catalog_readable",
        "backups",
        "backups_from_future",
        "stored_bytes",
    }


def test_a_bucket_that_does_not_answer_is_not_empty() -> None:
    """An unreachable bucket reports no count, so that alerts on it don't fire because of a network error."""
    found = values(exposition("shop", Stock(readable=False), {}, {}, NOW))
    assert {name for name in found if not name.startswith("build_info")} == {"catalog_readable"}
    assert found["catalog_readable"] == 0


def test_every_metric_is_explained() -> None:
    """The operations guide lists exactly the existing metrics."""
    page = exposition(
        "shop", full_stock(), {("backup", "timeout"): 1}, {"backup": NOW}, NOW, failed_logins=2, untold=["slack"]
    )
    guide = (Path(__file__).parents[2] / "docs" / "operations.md").read_text().partition("| metric, after")[2]
    rows = re.findall(r"^\| (`.*?`) \|", guide.partition("\n\nAlert rules")[0], re.MULTILINE)
    explained = {name.partition("{")[0] for row in rows for name in re.findall(r"`(.*?)`", row)}
    assert explained == {name.partition("/")[0] for name in values(page)}
