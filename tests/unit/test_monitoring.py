"""The files for Prometheus and Grafana fit what the service reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tasks.engine.repository.outline import outline_of
from tasks.status.figures import BackupFigures, DrillFigures
from tasks.status.metrics import Stock, exposition
from tests.markdown import ROOT
from tests.prometheus import promtool
from tests.unit.test_catalog import FIRST, manifest, report
from tests.unit.test_metrics import BACKUP, NOW, values

FOLDER = ROOT / "docs" / "monitoring"
CASES = ROOT / "tests" / "data" / "alerts_test.yml"


@pytest.fixture(scope="module")
def page() -> bytes:
    """A page of metrics with every metric there is."""
    stock = Stock(
        readable=True, backups=(BACKUP,), newest=BACKUP, manifest=BackupFigures.of(outline_of(manifest())), report=DrillFigures.of(report(FIRST)), proven=BACKUP,
        proven_at=NOW, intervals_s={"backup": 3600.0},
    )  # fmt: skip
    return exposition(
        "shop", stock, {("backup", "timeout"): 1}, {"backup": NOW}, NOW, failed_logins=2, untold=["slack"]
    )


def test_metrics_follow_the_conventions(page: bytes) -> None:
    """Promtool finds nothing odd in the names, units, types and help texts; and it does look."""
    assert promtool("check", "metrics", stdin=page) == ""
    assert "total" in promtool("check", "metrics", stdin=b"# HELP a_total Odd.\n# TYPE a_total gauge\na_total 1\n")


def test_the_alert_rules_are_rules() -> None:
    """Prometheus accepts them."""
    assert promtool("check", "rules", str(FOLDER / "alerts.yml")) == ""


def test_the_alerts_speak_up_and_are_silent() -> None:
    """Dead services, stopped and missing backups, FAILED and missing proofs, unreadable buckets; nothing while all is well."""
    assert promtool("test", "rules", str(CASES)) == ""


@pytest.mark.parametrize(("rule", "broken"), [
    ("backup_age_seconds > ignoring (flow) (2 *", "backup_age_seconds > ignoring (flow) (3 *"),
    ('verdict="FAILED"} == 1', 'verdict="FAILED"} == 2'), ("catalog_readable == 0", "catalog_readable == 2"),
    ("backup_anomalies > 0", "backup_anomalies > 2"), ("notifications_failed > 0", "notifications_failed > 1"),
    ("[7d]", "[1m]"), ('> ignoring (flow) (2 * pg_roundtrip_schedule_interval_seconds{flow="restore-drill"})', "> 1e12"),
])  # fmt: skip
def test_the_cases_tell_a_broken_rule(rule: str, broken: str, tmp_path: Path) -> None:
    """The cases are good for something: each rule that no longer fires fails them."""
    text = (FOLDER / "alerts.yml").read_text()
    assert rule in text
    (tmp_path / "alerts.yml").write_text(text.replace(rule, broken))
    (tmp_path / "cases.yml").write_text(CASES.read_text().replace("../../docs/monitoring/", ""))
    assert "FAILED" in promtool("test", "rules", str(tmp_path / "cases.yml"))


def test_everything_named_is_reported(page: bytes) -> None:
    """Alert rules and dashboard name only metrics that exist, and every alert has a case."""
    known = {f"pg_roundtrip_{name.partition('/')[0]}" for name in values(page)}
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    board = (FOLDER / "grafana.json").read_text()
    named = re.findall(r"\bpg_roundtrip_\w+", "\n".join(rule["expr"] for rule in rules) + board)
    assert len(set(named)) > 15
    assert set(named) <= known
    assert [rule["alert"] for rule in rules if rule["alert"] not in CASES.read_text()] == []
    assert len({panel["title"] for panel in json.loads(board)["panels"]}) > 10
