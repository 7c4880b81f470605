"""Know how a PostgreSQL server is reached, by us and by libpq's programs, and what it is."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import conninfo, pq
from pydantic import SecretStr

from blocks.errors import PooledSessions
from blocks.sql.connection import Connection
from blocks.sql.errors import translated
from blocks.sql.url import conninfo_url, parse_database_url

CONNECT_TIMEOUT_S = 10
APPLICATION_NAME = "pg-roundtrip"

# The first thing in every session: no name of ours is looked up where others can create something (CVE-2018-1058). The
# temporary schema is searched first unless it is named. A filtered count must be an error, not a smaller number.
SAFE_NAMES = "pg_catalog, pg_temp"
SAFE_SESSION = f"SET search_path = {SAFE_NAMES}; SET row_security = off; SET quote_all_identifiers = off"
# By this, code that runs at a login finds the same names; poolers refuse it, and their sessions have had their login.
SAFE_OPTION = "-c search_path=pg_catalog,pg_temp"
_SEARCH_PATH = "SELECT pg_catalog.current_setting('search_path')"
# Where role and database say that names are to be looked for, else the server's default; not asked at login, for its triggers.
_OWN_PATH = """
SELECT pg_catalog.set_config('search_path', coalesce((SELECT substr(s.setting, 13)
FROM pg_db_role_setting x, unnest(x.setconfig) AS s (setting) WHERE s.setting LIKE 'search\\_path=%'
AND x.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
AND x.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
ORDER BY x.setdatabase <> 0 AND x.setrole <> 0 DESC, x.setrole <> 0 DESC, x.setdatabase <> 0 DESC LIMIT 1), '"$user", public'), false)"""
# What a pooler says of options that it cannot pass on.
_NO_OPTIONS = re.compile("startup parameter|command-line options", re.IGNORECASE)
# What a role or database has set for its applications must neither cut us short nor let us wait for ever.
NO_LIMITS = (
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout',"
    " 'lock_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
)
# A server that is gone without a word is noticed within two minutes, and not after two hours, as the system has it.
_KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6"}
# Parameters of a connection for which libpq has no variable.
_BY_ARGUMENT = ("keepalives", *_KEEPALIVES, "tcp_user_timeout")
_LOOKS = 5


@dataclass(frozen=True)
class ServerFacts:
    """What a dump or a restore must know of a server and of the database it is connected to."""

    version_number: int  # as the server has it: 150018 is 15.18
    version: str
    database: str
    size_bytes: int
    encoding: str
    collation: str
    character_type: str
    locale_provider: str  # c: libc, i: ICU, b: built in
    locale: str  # of ICU or the built-in provider
    collation_version: str  # of the library that orders text; empty when the locale has none
    lc_monetary: str  # how it shows money
    superuser: bool
    may_create_databases: bool

    @property
    def major(self) -> int:
        """The major version, 15 for 15.18."""
        return self.version_number // 10000


@dataclass(frozen=True)
class Server:
    """A PostgreSQL database, by its URL, and how it is reached."""

    url: SecretStr

    def parameters(self) -> dict[str, str]:
        """The URL as libpq parameters, the password among them."""
        return parse_database_url(self.url.get_secret_value())[0]

    @property
    def dropped_parameters(self) -> list[str]:
        """The names of URL parameters that libpq does not know and that are therefore left out."""
        return parse_database_url(self.url.get_secret_value())[1]

    @property
    def address(self) -> str:
        """`host:port/database`, for people: no user, no password."""
        p = self.parameters()
        return f"{p.get('host') or p.get('hostaddr')}:{p.get('port', '5432')}/{p['dbname']}"

    @property
    def database(self) -> str:
        """The name of the database that the URL names."""
        return self.parameters()["dbname"]

    def on(self, database: str) -> Server:
        """The same server and login, another database."""
        return Server(url=SecretStr(conninfo_url({**self.parameters(), "dbname": database})))

    def child_environment(self) -> dict[str, str]:
        """The PG* variables with which libpq programs reach this database: no secret in any argv."""
        variables = {o.keyword.decode(): o.envvar.decode() for o in pq.Conninfo.get_defaults() if o.envvar}
        given = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": APPLICATION_NAME, **self.parameters()}
        return {variables[name]: value for name, value in given.items() if name in variables}

    def child_options(self) -> list[str]:
        """What libpq programs must be told of a connection and cannot be by environment; nothing of it is secret."""
        given = {**_KEEPALIVES, **{n: v for n, v in self.parameters().items() if n in _BY_ARGUMENT}}
        return ["--dbname=" + conninfo.make_conninfo("", **given)]

    @contextmanager
    def connect(self, *, own_names: bool = False) -> Iterator[Connection]:
        """Open a connection in autocommit mode that looks names up in `pg_catalog` alone.

        With `own_names` it looks where role and database say, for what the user wrote. Every fault is translated into our
        family of errors.
        """
        with translated(self.address), self._open() as opened:
            # What a login trigger was given; a pooler may have dropped it.
            safe = opened.execute(_SEARCH_PATH).fetchall()[0][0] == SAFE_NAMES.replace(" ", "")
            opened.execute(SAFE_SESSION)
            opened.execute(NO_LIMITS)
            opened.execute("SET statement_timeout = '10min'; SET max_parallel_workers_per_gather = 0")
            if own_names:
                opened.execute(_OWN_PATH)
            yield Connection(opened, self.address, takes_options=safe)

    def _open(self, start: str = SAFE_OPTION) -> psycopg.Connection[Any]:
        given: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": APPLICATION_NAME,
            **_KEEPALIVES,
            **self.parameters(),
        }
        given["client_encoding"] = "UTF8"  # we ask for names, whatever encoding the data has
        options = f"{given.get('options', '')} {start}".strip()
        try:
            return psycopg.connect(autocommit=True, **{**given, "options": options})
        except psycopg.OperationalError as error:
            if not start or not _NO_OPTIONS.search(str(error)):
                raise
            return psycopg.connect(autocommit=True, **given)

    def refuse_pooled_sessions(self) -> None:
        """Raise PooledSessions when a pooler gives our session to others between two statements."""
        with translated(self.address), self._open() as first:
            # A server tells its process at the start of a session; a pooler tells a number of its own.
            if _process(first) == first.info.backend_pid:
                return
            with contextlib.suppress(psycopg.Error), self._open() as second:  # a pool that is full is no such pool
                seen = [(_process(first), _process(second)) for _ in range(_LOOKS)]
                ours, others = ({pids[n] for pids in seen} for n in (0, 1))
                if len(ours) > 1 or ours & others:  # a busy pool gives us another each time
                    raise PooledSessions(self.address)

    def ask(self) -> None:
        """See whether the database answers; raises DatabaseError when it does not."""
        with self.connect() as connection:
            connection.query("SELECT 1")

    def inspect(self) -> ServerFacts:
        """Ask the server what it is, how large the database is and what we may do there.

        Raises PooledSessions where no session of ours would be ours alone.
        """
        self.refuse_pooled_sessions()
        with self.connect() as connection:
            row = connection.query(
                "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
                " current_database(), pg_database_size(current_database()), pg_encoding_to_char(d.encoding),"
                " d.datcollate, d.datctype, coalesce(to_jsonb(d)->>'datlocprovider', 'c'),"
                " coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale', ''),"
                " coalesce(to_jsonb(d)->>'datcollversion', ''), current_setting('lc_monetary'), r.rolsuper, r.rolsuper OR r.rolcreatedb"
                " FROM pg_database d, pg_roles r"
                " WHERE d.datname = current_database() AND r.rolname = current_user"
            )[0]
        return ServerFacts(*row)


def _process(opened: psycopg.Connection[Any]) -> int:
    """The server's process that serves us at this moment; a prepared statement would be of another one."""
    (pid,) = opened.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchall()[0]
    return int(pid)
