"""Connect to a PostgreSQL server, directly or through libpq programs, and inspect it."""

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

# Runs first in every session. Never resolve our names in schemas where others can create objects (CVE-2018-1058); list
# the temporary schema, which is otherwise searched first. Make a count filtered by row security an error, not a smaller
# number.
SAFE_NAMES = "pg_catalog, pg_temp"
SAFE_SESSION = f"SET search_path = {SAFE_NAMES}; SET row_security = off; SET quote_all_identifiers = off"
# A startup option, so that login triggers resolve names the same way. Poolers reject it; their sessions are already
# logged in.
SAFE_OPTION = "-c search_path=pg_catalog,pg_temp"
_SEARCH_PATH = "SELECT pg_catalog.current_setting('search_path')"
# The search path configured for the role and database, else PostgreSQL's default. Set after the login, so that login
# triggers don't use it.
_OWN_PATH = """
SELECT pg_catalog.set_config('search_path', coalesce((SELECT substr(s.setting, 13)
FROM pg_db_role_setting x, unnest(x.setconfig) AS s (setting) WHERE s.setting LIKE 'search\\_path=%'
AND x.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
AND x.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
ORDER BY x.setdatabase <> 0 AND x.setrole <> 0 DESC, x.setrole <> 0 DESC, x.setdatabase <> 0 DESC LIMIT 1), '"$user", public'), false)"""
# How poolers reject startup options that they cannot pass on.
_NO_OPTIONS = re.compile("startup parameter|command-line options", re.IGNORECASE)
# Timeouts that a role or database sets for its applications must not interrupt us, nor let us wait forever.
NO_LIMITS = (
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout',"
    " 'lock_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')"
)
# Detect a server that vanished silently within two minutes, instead of the system's default of two hours.
_KEEPALIVES = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6"}
# Connection parameters without a libpq environment variable.
_BY_ARGUMENT = ("keepalives", *_KEEPALIVES, "tcp_user_timeout")
_LOOKS = 5


@dataclass(frozen=True)
class ServerFacts:
    """What dumps and restores need to know about a server and the connected database."""

    version_number: int  # as in server_version_num: 150018 is 15.18
    version: str
    database: str
    size_bytes: int
    encoding: str
    collation: str
    character_type: str
    locale_provider: str  # c: libc, i: ICU, b: built in
    locale: str  # of ICU or the built-in provider
    collation_version: str  # of the library that sorts text; empty when the locale has none
    lc_monetary: str  # how money values are formatted
    superuser: bool
    may_create_databases: bool

    @property
    def major(self) -> int:
        """The major version, 15 for 15.18."""
        return self.version_number // 10000


@dataclass(frozen=True)
class Server:
    """A PostgreSQL database, identified by its URL."""

    url: SecretStr

    def parameters(self) -> dict[str, str]:
        """The URL as libpq parameters, including the password."""
        return parse_database_url(self.url.get_secret_value())[0]

    @property
    def dropped_parameters(self) -> list[str]:
        """The names of URL parameters that are dropped because libpq does not know them."""
        return parse_database_url(self.url.get_secret_value())[1]

    @property
    def address(self) -> str:
        """`host:port/database` for display, without user and password."""
        p = self.parameters()
        return f"{self.host}:{p.get('port', '5432')}/{p['dbname']}"

    @property
    def host(self) -> str:
        """The host's name or address, or the folder of its socket."""
        p = self.parameters()
        return str(p.get("host") or p.get("hostaddr"))

    @property
    def database(self) -> str:
        """The database name in the URL."""
        return self.parameters()["dbname"]

    def on(self, database: str) -> Server:
        """The same server and login with another database."""
        return Server(url=SecretStr(conninfo_url({**self.parameters(), "dbname": database})))

    def child_environment(self) -> dict[str, str]:
        """The PG* variables that connect libpq programs to this database, so that no secret appears in any argv."""
        variables = {o.keyword.decode(): o.envvar.decode() for o in pq.Conninfo.get_defaults() if o.envvar}
        given = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": APPLICATION_NAME, **self.parameters()}
        return {variables[name]: value for name, value in given.items() if name in variables}

    def child_options(self) -> list[str]:
        """Options for libpq programs that cannot be passed by environment; none of them is secret."""
        given = {**_KEEPALIVES, **{n: v for n, v in self.parameters().items() if n in _BY_ARGUMENT}}
        return ["--dbname=" + conninfo.make_conninfo("", **given)]

    @contextmanager
    def connect(self, *, own_names: bool = False, to_write: bool = False) -> Iterator[Connection]:
        """Open an autocommit connection that resolves names only in `pg_catalog`.

        With `own_names`, it uses the search path of the role and database, for SQL written by the user. `to_write`: also
        where the role or database is set to read only, which is no reason to refuse what the user asked for. All errors
        are translated into our error family.
        """
        with translated(self.address), self._open() as opened:
            # The search path that login triggers saw; a pooler may have dropped ours.
            safe = opened.execute(_SEARCH_PATH).fetchall()[0][0] == SAFE_NAMES.replace(" ", "")
            opened.execute(SAFE_SESSION)
            opened.execute(NO_LIMITS)
            opened.execute("SET statement_timeout = '10min'; SET max_parallel_workers_per_gather = 0")
            if own_names:
                opened.execute(_OWN_PATH)
            if to_write:
                opened.execute("SET default_transaction_read_only = off")
            yield Connection(opened, self.address, takes_options=safe)

    def _open(self, start: str = SAFE_OPTION) -> psycopg.Connection[Any]:
        given: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": APPLICATION_NAME,
            **_KEEPALIVES,
            **self.parameters(),
        }
        given["client_encoding"] = "UTF8"  # for names; the data can have any encoding
        options = f"{given.get('options', '')} {start}".strip()
        try:
            return psycopg.connect(autocommit=True, **{**given, "options": options})
        except psycopg.OperationalError as error:
            if not start or not _NO_OPTIONS.search(str(error)):
                raise
            return psycopg.connect(autocommit=True, **given)

    def refuse_pooled_sessions(self) -> None:
        """Raise PooledSessions if a pooler gives our session to other clients between two statements."""
        with translated(self.address), self._open() as first:
            # A server reports its own process at the start of a session; a pooler reports a number of its own.
            if _process(first) == first.info.backend_pid:
                return
            with contextlib.suppress(psycopg.Error), self._open() as second:  # a full pool isn't a shared one
                seen = [(_process(first), _process(second)) for _ in range(_LOOKS)]
                ours, others = ({pids[n] for pids in seen} for n in (0, 1))
                if len(ours) > 1 or ours & others:  # a busy pool assigns us another process each time
                    raise PooledSessions(self.address)

    def ask(self) -> None:
        """Check that the database answers; raises DatabaseError if it does not."""
        with self.connect() as connection:
            connection.query("SELECT 1")

    def inspect(self) -> ServerFacts:
        """Read the server's version, the database's size and locale, and our privileges.

        Raises PooledSessions if a session would not be exclusively ours.
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
    """The backend process that serves us right now; don't prepare: the statement could belong to another backend."""
    (pid,) = opened.execute("SELECT pg_catalog.pg_backend_pid()", prepare=False).fetchall()[0]
    return int(pid)
