"""A server with every kind of role, setting and right that lies outside of a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.sql.server import Server
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tests.conftest import psql
from tests.integration.objects import LIBRARY

DATABASE = "db \"1\" ü = 'x' \\b"
ROLE = 'r ü "q" x'
_NAME, _ROLE = ('"' + name.replace('"', '""') + '"' for name in (DATABASE, ROLE))
SCRIPT = rf"""
CREATE ROLE {_ROLE} LOGIN PASSWORD 'geheim' CONNECTION LIMIT 3 VALID UNTIL '2030-01-01 12:00+02';
CREATE ROLE "select" NOINHERIT CREATEROLE;
CREATE ROLE "new
line" CREATEDB REPLICATION BYPASSRLS;
CREATE ROLE app LOGIN PASSWORD 'geheim';
CREATE ROLE su SUPERUSER;
COMMENT ON ROLE su IS 'it''s a \ comment
-- with; CREATE ROLE lines';
ALTER ROLE su SET search_path = a, "B b", 'c''d';
ALTER ROLE su SET my.thing = 'x\y''z; \! ls';
ALTER ROLE su SET work_mem = '5MB';
ALTER ROLE app SET search_path = '';
ALTER ROLE app SET statement_timeout = '1ms';
ALTER ROLE postgres SET lock_timeout = '7s';
GRANT "select" TO {_ROLE} WITH ADMIN OPTION;
SET ROLE {_ROLE};
GRANT "select" TO "new
line";
RESET ROLE;
GRANT pg_read_all_data TO "select";
GRANT su TO app;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE "ts 1" OWNER su LOCATION '';
ALTER TABLESPACE "ts 1" SET (random_page_cost = 1.5, seq_page_cost = 2);
COMMENT ON TABLESPACE "ts 1" IS 'slow';
GRANT CREATE ON TABLESPACE "ts 1" TO app;
GRANT SET, ALTER SYSTEM ON PARAMETER log_statement TO app WITH GRANT OPTION;
GRANT SET ON PARAMETER "my.thing" TO app;
CREATE DATABASE {_NAME} OWNER "select" TEMPLATE template0 TABLESPACE "ts 1" CONNECTION LIMIT 7;
ALTER DATABASE {_NAME} SET search_path = x, "Y y", public;
ALTER DATABASE {_NAME} SET work_mem = '6MB';
ALTER ROLE su IN DATABASE {_NAME} SET work_mem = '7MB';
ALTER ROLE su IN DATABASE postgres SET work_mem = '8MB';
ALTER DATABASE postgres SET work_mem = '9MB';
COMMENT ON DATABASE {_NAME} IS 'my; "db"';
REVOKE ALL ON DATABASE {_NAME} FROM PUBLIC;
GRANT CONNECT ON DATABASE {_NAME} TO app WITH GRANT OPTION;
SET SESSION AUTHORIZATION app;
GRANT CONNECT ON DATABASE {_NAME} TO "new
line";
RESET SESSION AUTHORIZATION;
"""
SINCE_16 = """
GRANT su TO "select" WITH INHERIT TRUE, SET FALSE;
GRANT app TO "select" WITH INHERIT FALSE, SET TRUE, ADMIN TRUE;
"""


@contextmanager
def odd_server(client: Client) -> Iterator[Server]:
    """Run a server for a test, with a database that has tables and everything around it; yield that database."""
    with running_server(client) as server:
        psql(client, server, SCRIPT + (SINCE_16 if client.major >= 16 else ""))
        psql(client, server.on(DATABASE), f"{LIBRARY} ALTER TABLE authors OWNER TO app; GRANT SELECT ON books TO su;")
        yield server.on(DATABASE)
