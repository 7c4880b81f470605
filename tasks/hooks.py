"""The steps that run the user's hooks. They tell a hook what happened in its environment, and give it no secret of ours."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, SecretStr

from blocks.config.hook_settings import HookSettings, split_command
from blocks.config.hooks import environment_for_hooks, load_hooks, withheld_from_hooks
from blocks.config.load import variable_of
from blocks.config.plan import Plan
from blocks.config.secrets import mask_of
from blocks.errors import HookFailed
from tasks.engine.hook import Hook, HookEnd, carry_out
from tasks.engine.repository.catalog import Backup
from tasks.engine.repository.manifest import DrillReport
from tasks.engine.repository.names import is_encrypted, object_file
from tasks.engine.wording import visible
from tasks.orchestration import get_run_logger, task
from tasks.outcome import Outcome
from tasks.retries import ONCE

Name = Literal["pre_backup_hook", "post_backup_hook", "on_failure_hook", "post_drill_hook"]
Status = Literal["succeeded", "failed", "stopped"]
_SAID = 1_000
_ALL_THE_SAME = "the backup is taken all the same, because PRE_BACKUP_HOOK_REQUIRED is false"
_NOT_TAKEN = "no backup was taken; correct the hook, or set PRE_BACKUP_HOOK_REQUIRED=false"
_DONE = "what ran before it stands; the hook's output is in the log above"


@dataclass(frozen=True)
class Occasion:
    """What a hook is told: variables, of which empty ones are left out, and a JSON document."""

    values: Mapping[str, str] = field(default_factory=dict)
    report: str = ""


def at_start(verb: str, plan: str) -> Occasion:
    """Return what a hook is told before a run."""
    return Occasion({"PG_ROUNDTRIP_VERB": verb, "PG_ROUNDTRIP_PLAN": plan})


def at_end(outcome: Outcome[Any], plan: Plan | None, status: Status | None = None) -> Occasion:
    """Return what a hook is told after a run."""
    facts, error, report = outcome.facts, outcome.error, outcome.report
    values = {
        **at_start(outcome.verb, outcome.plan).values,
        "PG_ROUNDTRIP_STATUS": status or ("succeeded" if outcome.good else "failed"),
        "PG_ROUNDTRIP_MESSAGE": visible(outcome.sentence)[:_SAID],
        "PG_ROUNDTRIP_CODE": outcome.code,
        "PG_ROUNDTRIP_HINT": visible(error.hint if error else report.hint if report else "")[:_SAID],
        "PG_ROUNDTRIP_VERDICT": outcome.verdict.value if outcome.verdict else "",
        **of_backup(
            plan, report.backup if report else getattr(facts, "name", ""), encrypted=_is_encrypted(facts, report)
        ),
    }
    return Occasion(values, facts.model_dump_json(indent=1) if isinstance(facts, BaseModel) else "")


def _is_encrypted(facts: object, report: DrillReport | None) -> bool:
    return report.encrypted if report else is_encrypted(getattr(facts, "key", ""))


def of_backup(plan: Plan | None, name: str, *, encrypted: bool) -> dict[str, str]:
    """Return the variables that name a backup."""
    if plan is None or not name or plan.databases:  # of which of a whole server's databases, the name doesn't say
        return {}
    return {"PG_ROUNDTRIP_BACKUP": name, "PG_ROUNDTRIP_KEY": plan.storage.key(object_file(name, encrypted=encrypted))}


@task("run a hook", ONCE, run_name="run {name}")
def run_hook(name: Name, hooks: HookSettings, plan: Plan | None, occasion: Occasion) -> None:
    """Run a hook, if it is set. Raises HookFailed for one that a backup depends on; any other is only warned of."""
    command: SecretStr | None = getattr(hooks, name)
    if command is None:
        return
    event = name.removesuffix("_hook").replace("_", "-")
    try:
        with _report_file(occasion.report) as path:
            told = {"PG_ROUNDTRIP_EVENT": event, "PG_ROUNDTRIP_REPORT": path}
            values = {**_of_plan(plan), **_of_database(plan), **occasion.values, **told}
            ended = run_and_log(_hook(name, command, hooks, plan, values))
    except OSError as error:
        ended = HookEnd(f"its report could not be written: {error.strerror}", ran=False)
    if not ended.trouble:
        return
    trouble = f"{variable_of(name)}: {ended.trouble}"
    if name == "pre_backup_hook" and hooks.pre_backup_hook_required:
        raise HookFailed(trouble, hint=_NOT_TAKEN)
    hint = _ALL_THE_SAME if name == "pre_backup_hook" else _DONE
    get_run_logger().warning("A hook failed [%s]\nHINT: %s", trouble, hint)


def run_and_log(hook: Hook) -> HookEnd:
    """Run a hook; its output goes to the log."""
    logger = get_run_logger()
    logger.info("Running %s: %s", hook.setting, hook.program)
    return carry_out(hook, lambda line: logger.info("%s: %s", hook.setting, line))


def restore_check(plan: Plan, backup: Backup) -> Hook | None:
    """Return the test of a restored copy, which has yet to be told where that is; None if there is no such test."""
    hooks = load_hooks()
    if hooks.post_restore_check is None:
        return None
    run = at_start("restore-drill", plan.name).values
    values = {
        "PG_ROUNDTRIP_EVENT": "post-restore",
        **_of_plan(plan),
        **run,
        **of_backup(plan, backup.name, encrypted=backup.encrypted),
    }
    return _hook("post_restore_check", hooks.post_restore_check, hooks, plan, values)


def _hook(name: str, command: SecretStr, hooks: HookSettings, plan: Plan | None, values: Mapping[str, str]) -> Hook:
    mask = mask_of(plan)
    if withheld := withheld_from_hooks(mask):
        get_run_logger().info("Not passed to hooks, because a secret of ours is in it: %s", ", ".join(withheld))
    environ = {**environment_for_hooks(mask), **{name: value for name, value in values.items() if value}}
    return Hook(variable_of(name), split_command(command.get_secret_value()), environ, hooks.hook_timeout_s, mask)


def _of_plan(plan: Plan | None) -> dict[str, str]:
    """Return what a plan backs up, and where its backups are."""
    if plan is None:
        return {}
    return {
        "PG_ROUNDTRIP_ENDPOINT": plan.storage.endpoint,
        "PG_ROUNDTRIP_BUCKET": plan.storage.bucket,
        "PG_ROUNDTRIP_FOLDER": plan.storage.folder,
        "PG_ROUNDTRIP_DATABASE": _server_of(plan).get("dbname", ""),
    }


def _of_database(plan: Plan | None) -> dict[str, str]:
    """Return where the database to back up is, without a login."""
    server = _server_of(plan) if plan else {}
    if not server:
        return {}
    host = server.get("host") or server.get("hostaddr", "")
    return {"PG_ROUNDTRIP_HOST": host, "PG_ROUNDTRIP_PORT": server.get("port", "5432")}


def _server_of(plan: Plan) -> dict[str, str]:
    with suppress(ValueError):  # a form takes any text for a URL; the run will say what is wrong with it
        return plan.server.parameters() if plan.server else {}
    return {}


@contextmanager
def _report_file(report: str) -> Iterator[str]:
    """Write a document to a file that only this user can read; yield its path, empty if there is no document."""
    if not report:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="pg-roundtrip-hook-") as folder:
        path = Path(folder, "report.json")
        path.write_text(report)
        yield str(path)


def hurried(hooks: HookSettings, within_s: int) -> HookSettings:
    """Return the same hooks with less time: whoever stopped us does not wait long."""
    return hooks.model_copy(update={"hook_timeout_s": min(within_s, hooks.hook_timeout_s)})
