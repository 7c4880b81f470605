"""Publish what runs did as Prefect artifacts; a failure to publish never fails a run."""

from tasks.reports.backup import backup_sentence, publish_backup
from tasks.reports.catalog import publish_catalog
from tasks.reports.drill import coverage, drill_markdown, drill_sentence, publish_drill, timings, verdict_line
from tasks.reports.retention import publish_retention, retention_sentence, retention_table

__all__ = ["backup_sentence", "coverage", "drill_markdown", "drill_sentence", "publish_backup", "publish_catalog", "publish_drill", "publish_retention",
           "retention_sentence", "retention_table", "timings", "verdict_line"]  # fmt: skip
