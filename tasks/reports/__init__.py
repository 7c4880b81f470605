"""Publish what runs did as Prefect artifacts; a failure to publish never fails a run."""

from tasks.reports.backup import backup_sentence, publish_backup
from tasks.reports.catalog import publish_catalog
from tasks.reports.drill import coverage, drill_markdown, drill_sentence, publish_drill, timings, verdict_line
from tasks.reports.retention import publish_retention, retention_sentence, retention_table
from tasks.reports.sets import drills_table, publish_drills, publish_set

__all__ = ["backup_sentence", "coverage", "drill_markdown", "drill_sentence", "drills_table", "publish_backup", "publish_catalog", "publish_drill", "publish_drills", "publish_retention", "publish_set",
           "retention_sentence", "retention_table", "timings", "verdict_line"]  # fmt: skip
