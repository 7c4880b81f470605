"""The files for Prometheus and Grafana fit what the service reports."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tasks.status.metrics import exposition
from tests.markdown import ROOT
from tests.prometheus import promtool
from tests.unit.test_metrics import NOW, full_stock, values

FOLDER = ROOT / "docs" / "monitoring"
CASES = [ROOT / "tests" / "data" / name for name in ("alerts_test.yml", "alerts_of_places_test.yml")]


@pytest.fixture(scope="module")
def page() -> bytes:
    """A page of metrics with every metric there is."""
    return exposition(
        "shop", full_stock(), {("backup", "timeout"): 1}, {"backup": NOW}, NOW, failed_logins=2, untold=["slack"]
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
    assert promtool("test", "rules", *map(str, CASES)) == ""


@pytest.mark.parametrize(("rule", "broken"), [
    ("backup_age_seconds > ignoring (flow) (2 *", "backup_age_seconds > ignoring (flow) (3 *"),
    ('or pg_roundtrip_drill_verdict{verdict="FAILED"} == 1', 'or pg_roundtrip_drill_verdict{verdict="FAILED"} == 2'), ("catalog_readable == 0", "catalog_readable == 2"),
    ("backup_anomalies > 0", "backup_anomalies > 2"), ("notifications_failed > 0", "notifications_failed > 1"),
    ("place_readable == 0", "place_readable == 2"), ("place_behind_seconds > pg_", "place_behind_seconds > 2 * pg_"),
    ('place_drill_verdict{verdict="FAILED"} == 1', 'place_drill_verdict{verdict="FAILED"} == 2'),
    ('place_drill_verdict{verdict="INCONCLUSIVE"} == 1', 'place_drill_verdict{verdict="INCONCLUSIVE"} == 2'),
    ("> 2 * pg_roundtrip_place_drill", "> 9 * pg_roundtrip_place_drill"), ("for: 7d", "for: 8d"),
    ("check_opened < pg_", "check_opened > pg_"), ("== 1 unless on (job, instance, plan) pg_roundtrip_place_drill_verdict", "== 1"),
    ("(pg_roundtrip_build_info[7d])", "(pg_roundtrip_build_info[1m])"), ('> ignoring (flow) (2 * pg_roundtrip_schedule_interval_seconds{flow="restore-drill"})', "> 1e12"),
])  # fmt: skip
def test_the_cases_tell_a_broken_rule(rule: str, broken: str, tmp_path: Path) -> None:
    """The cases are good for something: each rule that no longer fires fails them."""
    text = (FOLDER / "alerts.yml").read_text()
    assert rule in text
    (tmp_path / "alerts.yml").write_text(text.replace(rule, broken))
    cases = CASES[any(word in rule for word in ("place", "check_opened", "for: 7d"))]
    (tmp_path / "cases.yml").write_text(cases.read_text().replace("../../docs/monitoring/", ""))
    assert "FAILED" in promtool("test", "rules", str(tmp_path / "cases.yml"))


def test_everything_named_is_reported(page: bytes) -> None:
    """Alert rules and dashboard name only metrics that exist, and every alert has a case."""
    known = {f"pg_roundtrip_{name.partition('/')[0]}" for name in values(page)}
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    board = (FOLDER / "grafana.json").read_text()
    named = re.findall(r"\bpg_roundtrip_\w+", "\n".join(rule["expr"] for rule in rules) + board)
    assert len(set(named)) > 15
    assert set(named) <= known
    assert [rule["alert"] for rule in rules if not any(rule["alert"] in cases.read_text() for cases in CASES)] == []
    assert len({panel["title"] for panel in json.loads(board)["panels"]}) > 10
