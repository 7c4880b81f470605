"""Report what a prune decided about every backup, and why."""

from __future__ import annotations

from tasks.engine.repository import retention
from tasks.engine.repository.held import told_of_due
from tasks.reports.publish import artifact_key, published

_SHOWN = 500


@published("The table of the retention policy")
def publish_retention(plan: str, decided: retention.PrunePlan, *, dry_run: bool = False) -> None:
    """Publish a prune's table: every backup, its fate, and why; of many backups, the removed and the newest ones."""
    from prefect.artifacts import create_table_artifact  # noqa: PLC0415  (showing a report needs no Prefect)

    rows = retention_table(decided)
    if len(rows) > _SHOWN:
        rows.sort(key=lambda row: row["decision"] == "keep")
    more = [{"backup": f"… and {len(rows) - _SHOWN} more", "decision": "", "reason": ""}][: len(rows) > _SHOWN]
    description = retention_sentence(decided, dry_run=dry_run)
    create_table_artifact(key=artifact_key("prune", plan), description=description, table=[*rows[:_SHOWN], *more])


def retention_table(decided: retention.PrunePlan) -> list[dict[str, str]]:
    """Return a plan's decisions for display, newest first."""
    return [
        {"backup": d.backup.name, "decision": "keep" if d.keep else "remove", "reason": d.reason}
        for d in reversed(decided.decisions)
    ]


def retention_sentence(decided: retention.PrunePlan, *, dry_run: bool = False) -> str:
    """Summarize a prune in a sentence."""
    removed, all_of_them = len(decided.removals), len(decided.decisions)
    done = f"{'Would remove' if dry_run else 'Removed'} {removed} of {all_of_them} backups"
    failed = f"{decided.failed} could not be deleted" if decided.failed else ""
    return "; ".join(filter(None, (done, told_of_due(decided), failed, decided.warning)))
