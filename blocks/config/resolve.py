"""Find a plan or a restore target by name, in the environment or among the saved blocks."""

from __future__ import annotations

from blocks.config import DEFAULT
from blocks.config.databases import database_of
from blocks.config.load import Need, describes_a_plan, load_settings
from blocks.config.plan import Plan, readable
from blocks.config.server import prefect_server, require_server
from blocks.errors import ConfigurationError, Problem
from blocks.sql.server import Server

_NO_MEMBER = "name a database's folder after the plan, as pg-roundtrip list shows it: default/shop"


def resolve_plan(name: str, needs: frozenset[Need]) -> Plan:
    """Find a plan by name: `default` is what the environment describes, any other is a saved block.

    If the environment describes no plan, `default` can be a saved block too. `default/shop` is the plan of one of a
    server's databases, by its folder. Raises ConfigurationError.
    """
    whole, slash, folder = name.partition("/")
    plan = _resolve(whole, needs)
    return _member(plan, folder) if slash else plan


def _member(plan: Plan, folder: str) -> Plan:
    database = database_of(folder)
    if database is None:
        raise ConfigurationError([Problem(f"The plan {plan.name} has no folder {folder}", _NO_MEMBER)])
    return plan.member(database)


def _resolve(name: str, needs: frozenset[Need]) -> Plan:
    if name == DEFAULT and describes_a_plan():
        return Plan.from_settings(load_settings(needs))
    if prefect_server():
        from blocks.plan import BackupPlan  # noqa: PLC0415  (imports Prefect, which is slow)
        from blocks.saved import load_saved  # noqa: PLC0415

        if saved := load_saved(BackupPlan, name):
            return saved.plan(name)
    if name == DEFAULT:
        load_settings(needs)  # names what is missing
    require_server(f"The saved plan {name}")
    hint = "save a Backup Plan block of this name, or set the variables for the plan 'default'"
    raise ConfigurationError([Problem(f"There is no plan named {name}", hint)])


def resolve_target(name: str) -> Server:
    """Find the database to restore to: `default` is RESTORE_DATABASE_URL, any other is a saved block.

    `default/shop` is another database of that server, by the name that its folder has.
    """
    whole, slash, folder = name.partition("/")
    if slash and (database := database_of(folder)):
        return resolve_target(whole).on(database)
    if name == DEFAULT:
        url = load_settings(frozenset({"target"})).restore_database_url
        assert url is not None
        return Server(url)
    require_server(f"The saved server {name}")
    from blocks.postgres import PostgresServer  # noqa: PLC0415
    from blocks.saved import load_saved  # noqa: PLC0415

    if saved := load_saved(PostgresServer, name):
        return readable(saved.server, "server to restore to")
    hint = "save a PostgreSQL Server block of this name, or set RESTORE_DATABASE_URL"
    raise ConfigurationError([Problem(f"There is no server named {name}", hint)])
