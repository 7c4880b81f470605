"""Our own sessions never execute objects that a user created in a database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from blocks.config.plan import Plan
from blocks.sql.server import Server
from tasks.status.check import check_plan
from tests.conftest import Ended, NewDatabase

# Functions and operators that shadow the system's in our statements: a superuser who calls one hands over its rights.
# `to_jsonb` of a row type is a better match than the system's own, even with the default search path.
TRAP = """
CREATE SCHEMA {schema} AUTHORIZATION {role};
SET ROLE {role};
CREATE FUNCTION {schema}.spring() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN EXECUTE 'ALTER ROLE {role} SUPERUSER'; END IF;
END $f$;
CREATE FUNCTION {schema}.to_jsonb(d pg_catalog.pg_database) RETURNS jsonb LANGUAGE plpgsql
  AS $f$ BEGIN PERFORM {schema}.spring(); RETURN pg_catalog.row_to_json(d)::jsonb; END $f$;
CREATE FUNCTION {schema}.current_setting(n text) RETURNS text LANGUAGE plpgsql
  AS $f$ BEGIN PERFORM {schema}.spring(); RETURN pg_catalog.current_setting(n); END $f$;
CREATE FUNCTION {schema}.current_database() RETURNS name LANGUAGE plpgsql
  AS $f$ BEGIN PERFORM {schema}.spring(); RETURN pg_catalog.current_database(); END $f$;
CREATE FUNCTION {schema}.pg_backend_pid() RETURNS int LANGUAGE plpgsql
  AS $f$ BEGIN PERFORM {schema}.spring(); RETURN pg_catalog.pg_backend_pid(); END $f$;
CREATE FUNCTION {schema}.quote_ident(t text) RETURNS text LANGUAGE plpgsql
  AS $f$ BEGIN PERFORM {schema}.spring(); RETURN pg_catalog.quote_ident(t); END $f$;
CREATE FUNCTION {schema}.same(a name, b name) RETURNS boolean LANGUAGE plpgsql
  AS $f$ BEGIN PERFORM {schema}.spring(); RETURN a OPERATOR(pg_catalog.=) b; END $f$;
CREATE OPERATOR {schema}.= (LEFTARG = name, RIGHTARG = name, FUNCTION = {schema}.same);
CREATE FUNCTION {schema}.same(a oid, b oid) RETURNS boolean LANGUAGE plpgsql
  AS $f$ BEGIN PERFORM {schema}.spring(); RETURN a OPERATOR(pg_catalog.=) b; END $f$;
CREATE OPERATOR {schema}.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = {schema}.same);
CREATE TABLE {schema}.pg_settings (name text, setting text);
RESET ROLE;
"""


@pytest.mark.parametrize("setting", ["", "trap, pg_catalog, public"], ids=["usual path", "path of the database"])
def test_nobody_becomes_superuser_by_a_backup(
    new_database: NewDatabase,
    plan_for: Callable[..., Plan],
    server_of: Callable[[int], Server],
    command_line: Callable[..., Ended],
    setting: str,
) -> None:
    """A role that can create functions can't make `check` and `backup` call them, whatever search_path it sets."""
    role, schema = "trapper" + ("_path" if setting else ""), "trap" if setting else "public"
    server = server_of(15)
    with server.connect() as connection:
        connection.execute("CREATE ROLE {}", role)
    source = new_database(15, "CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1);")
    try:
        script = TRAP.format(role=role, schema=schema)
        if schema == "public":
            script = script.replace("CREATE SCHEMA public AUTHORIZATION", "GRANT CREATE ON SCHEMA public TO")
        with source.connect() as connection:
            connection.execute(script.replace("{", "{{").replace("}", "}}"))
            if setting:
                connection.execute("ALTER DATABASE {} SET search_path = " + setting, source.database)
        plan = plan_for(source)
        assert {f.result for f in check_plan(plan) if f.name in ("database", "read every table")} == {"ok"}
        assert command_line("backup", server=source).status == 0
        with server.connect() as connection:
            assert connection.query("SELECT rolsuper FROM pg_roles WHERE rolname = %s", role) == [(False,)]
    finally:
        with server.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", source.database)
            connection.execute("DROP ROLE IF EXISTS {}", role)


def test_the_path_of_a_session_of_ours_is_the_systems(new_database: NewDatabase) -> None:
    """The search_path of a role, a database or a URL never affects our statements."""
    server = new_database(16)
    with server.connect() as connection:
        connection.execute("ALTER DATABASE {} SET search_path = public", server.database)
        connection.execute("ALTER DATABASE {} SET row_security = on", server.database)
    with server.connect() as connection:
        assert connection.query("SHOW search_path") == [("pg_catalog, pg_temp",)]
        assert connection.query("SHOW row_security") == [("off",)]
    with server.connect(own_names=True) as connection:
        assert connection.query("SHOW search_path") == [("public",)]
