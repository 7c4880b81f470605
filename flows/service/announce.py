"""Log at startup what is served, where and when, in the specification's words; no secret but a generated password."""

from __future__ import annotations

from prefect.logging import get_logger
from prefect.settings import PREFECT_API_URL

from blocks.config.plan import Plan
from blocks.config.settings import Settings
from flows.service.environment import Login
from flows.service.history import History
from tasks.status.check import check_variables

_logger = get_logger("serve")


def announce(settings: Settings, plan: Plan, login: Login | None, history: History) -> None:
    """Log the startup block."""
    backs_up, drills = "backup" in settings.enabled_flows, "restore-drill" in settings.enabled_flows
    _logger.info("Backup service started" if backs_up or not drills else "Verify service started")
    if backs_up:
        _logger.info("Target database: %s", plan.source.address)
    _logger.info("S3 endpoint: %s", plan.storage.endpoint)
    _logger.info("S3 bucket: %s", plan.storage.address)
    if backs_up:
        _logger.info("Backup %s: %s", "schedule" if plan.schedules.backups.cron else "interval", plan.schedules.backups)
        rules = "".join(f", {rule} {count}" for rule, count in plan.retention.keep.items())
        _logger.info("Backup retention: %d days%s", plan.retention.days, rules)
    if drills:
        _logger.info("Verify %s: %s", "schedule" if plan.schedules.drills.cron else "interval", plan.schedules.drills)
    for found in check_variables():
        _logger.warning("%s; %s", found.text, found.hint)
    if history.kept and login is None:
        _logger.info("Prefect server: %s", PREFECT_API_URL.value())
    if history.kept and login:
        _logger.info("Prefect UI: http://localhost:%d, user %s", settings.port, login.user)
    if login and login.made:
        _logger.info("Password, generated for this start because UI_PASSWORD is not set: %s", login.password)
    if login or settings.status_public:
        _logger.info("Status page: http://localhost:%d/status", settings.port)
