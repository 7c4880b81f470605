"""Hold the address of a PostgreSQL server, and be the one door through which we speak SQL to it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from prefect.blocks.core import Block
from psycopg import conninfo, pq, sql
from pydantic import Field, SecretStr

from blocks.errors import (
    CreateDatabaseDenied,
    DatabaseError,
    DatabaseRefused,
    DatabaseTimeout,
    DatabaseUnreachable,
    NoSpaceLeft,
    PooledSessions,
)

_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?://", re.IGNORECASE)
_LOGIN = re.compile(r"[^@/]*@")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
CONNECT_TIMEOUT_S = 10
APPLICATION_NAME = "pg-roundtrip"

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

Rows = list[tuple[Any, ...]]


def parse_database_url(url: str) -> tuple[dict[str, str], list[str]]:
    """Split a database URL into libpq parameters and the names of those that libpq does not know.

    URLs in the wild carry parameters of other libraries (`?pgbouncer=true`, `?schema=public`): they are
    left out, and named so that a caller can warn. Raises ValueError with a reason that holds no secret.
    """
    scheme = _SCHEME.match(url)
    if not scheme:
        raise ValueError("it does not begin with postgresql://")
    known = {o.keyword.decode(): bool(o.envvar) for o in pq.Conninfo.get_defaults()}
    # As libpq reads it: a login ends at the first @, if no slash comes before it; only then may a ? begin the parameters.
    login = _LOGIN.match(url, scheme.end())
    begin = login.end() if login else scheme.end()
    place, _, query = url[begin:].partition("?")
    if "@" in place or "\0" in url:
        # Else a part of the password would be taken for the host or the database, and shown.
        raise ValueError("a special character in it is not written as %XX")
    pairs = [p for p in query.split("&") if p]
    # `ssl=true` is libpq's own alias of sslmode=require; it is not listed among the keywords.
    kept = [p for p in pairs if p.partition("=")[0] in known or p == "ssl=true"]
    dropped = [p.partition("=")[0] for p in pairs if p not in kept]
    if not all(_PARAMETER.fullmatch(name) for name in dropped):
        raise ValueError("a special character in it is not written as %XX")
    try:
        parsed = conninfo.conninfo_to_dict("postgresql://" + url[scheme.end() : begin] + place + "?" + "&".join(kept))
    except (psycopg.Error, ValueError):
        raise ValueError("host, port or parameters cannot be read") from None
    parameters = {name: str(value) for name, value in parsed.items() if value is not None}
    if not all(map(_is_port, parameters.get("port", "").split(","))):  # one for each host
        raise ValueError("its port is no number")
    if not parameters.get("host") and not parameters.get("hostaddr"):
        raise ValueError("it names no host")
    if not parameters.get("dbname"):
        raise ValueError("it names no database")
    return parameters, dropped


def _is_port(text: str) -> bool:
    return not text or (re.fullmatch("[0-9]{1,5}", text) is not None and 0 < int(text) < 65536)


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
    superuser: bool
    may_create_databases: bool

    @property
    def major(self) -> int:
        """The major version, 15 for 15.18."""
        return self.version_number // 10000


class PostgresServer(Block):
    """A PostgreSQL database, by its URL."""

    _block_type_name = "PostgreSQL Server"
    _block_type_slug = "pg-roundtrip-postgres"
    _description = "A PostgreSQL database that pg-roundtrip backs up, or a server that it rehearses restores on."

    url: SecretStr = Field(
        title="URL", description="postgresql://user:password@host:5432/database, special characters written as %XX."
    )

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

    def on(self, database: str) -> PostgresServer:
        """The same server and login, another database."""
        return PostgresServer(url=SecretStr(conninfo_url({**self.parameters(), "dbname": database})))

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
    def connect(self) -> Iterator[Connection]:
        """Open a connection in autocommit mode; every fault is translated into our family of errors."""
        with translated(self.address), self._open() as opened:
            opened.execute(NO_LIMITS)
            opened.execute("SET statement_timeout = '10min'; SET max_parallel_workers_per_gather = 0")
            yield Connection(opened, self.address)

    def _open(self) -> psycopg.Connection[Any]:
        given: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": APPLICATION_NAME,
            **_KEEPALIVES,
            **self.parameters(),
        }
        given["client_encoding"] = "UTF8"  # we ask for names, whatever encoding the data has
        return psycopg.connect(autocommit=True, **given)

    def refuse_pooled_sessions(self) -> None:
        """Raise PooledSessions when a pooler gives our session to others between two statements.

        It is asked with nothing set, because a setting would go over to them.
        """
        with translated(self.address), self._open() as first:
            # A server tells its process at the start of a session; a pooler tells a number of its own.
            if _process(first) == first.info.backend_pid:
                return
            with contextlib.suppress(psycopg.Error), self._open() as second:  # a pool that is full is no such pool
                shared = any(_process(first) == _process(second) for _ in range(_LOOKS))
                if shared:
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
                " coalesce(to_jsonb(d)->>'datcollversion', ''), r.rolsuper, r.rolsuper OR r.rolcreatedb"
                " FROM pg_database d, pg_roles r"
                " WHERE d.datname = current_database() AND r.rolname = current_user"
            )[0]
        return ServerFacts(*row)


def _process(opened: psycopg.Connection[Any]) -> int:
    """The server's process that serves us at this moment."""
    (pid,) = opened.execute("SELECT pg_backend_pid()").fetchall()[0]
    return int(pid)


class _AsPrinted(psycopg.adapt.Loader):
    def load(self, data: bytes | bytearray | memoryview) -> str:  # Python has no infinite dates
        return bytes(data).decode(errors="replace")


class Connection:
    """The few things we do with SQL: ask, do, and name things safely; every fault is one of our errors."""

    def __init__(self, opened: psycopg.Connection[Any], address: str) -> None:
        self._opened = opened
        self._address = address

    @property
    def lost(self) -> bool:
        """Whether the server is gone, and not only a statement refused."""
        return self._opened.closed

    def limit(self, timeout_s: float) -> None:
        """Give each statement from now on this long."""
        self.execute(f"SET statement_timeout = {max(1, min(int(timeout_s * 1000), 2**31 - 1))}")

    def query(self, statement: str, *values: Any) -> Rows:
        """Run a query and fetch all its rows; use it for small answers only."""
        with translated(self._address):
            return list(self._opened.execute(statement.encode(), values or None).fetchall())

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do several things, or none of them."""
        with translated(self._address), self._opened.transaction():
            yield

    def execute(self, statement: str, *names: str, **literals: Any) -> None:
        """Run a statement; `{}` are identifiers in order, `{name}` are literals."""
        identifiers = [sql.Identifier(n) for n in names]
        composed = sql.SQL(statement).format(*identifiers, **{k: sql.Literal(v) for k, v in literals.items()})
        with translated(self._address):
            self._opened.execute(composed)

    @contextmanager
    def read_only(self, timeout_s: int) -> Iterator[None]:
        """Look without touching: the server refuses to write, stops what takes too long, and keeps nothing."""
        limit_ms = min(timeout_s * 1000, 2**31 - 1)
        with translated(self._address), self._opened.transaction(force_rollback=True):
            self._opened.execute(f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {limit_ms}".encode())
            yield

    def stream(self, statement: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one statement, a second being refused; all but booleans come as the server prints them."""
        with translated(self._address), self._opened.cursor() as cursor:
            for oid in {0} | {oid for t in cursor.adapters.types if t.name != "bool" for oid in (t.oid, t.array_oid)}:
                cursor.adapters.register_loader(oid, _AsPrinted)
            yield from cursor.stream(statement.encode())

    def copy_in(self, statement: str, blocks: Iterable[bytes]) -> None:
        """Load rows with COPY … FROM STDIN; `blocks` are bytes in COPY's text format, cut anywhere."""
        with translated(self._address), self._opened.cursor().copy(statement.encode()) as copy:
            for block in blocks:
                copy.write(block)


def conninfo_url(parameters: dict[str, str]) -> str:
    """Write libpq parameters as a URL; everything travels in the query, so no character needs thought."""
    return "postgresql:///?" + urlencode(parameters, quote_via=quote)


# What a server says when it lets nobody of this name in; a refused connection carries no code.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "permission denied",
    "no pg_hba.conf entry",
    "not permitted",
)
# Certificates do not mend themselves, and neither does a server without them.
_TLS = ("certificate", "does not support ssl", "no encryption", "weak sslmode")
_TLS_HINT = (
    "check sslmode and sslrootcert in DATABASE_URL, and the server's certificate: verify-full wants the certificate of"
    " its authority and its own name; a server that takes encrypted connections alone wants sslmode=require or more"
)
_BUSY = ("53300", "57P03", "57P01", "57P02", "08")


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn psycopg's errors into ours: what happened in the server's first line, never the statement."""
    try:
        yield
    except psycopg.Error as error:
        raise _translate(error, address) from None
    except UnicodeDecodeError:
        raise DatabaseError(f"{address}: a name in it is no text in any encoding") from None


def _translate(error: psycopg.Error, address: str) -> Exception:
    code = error.sqlstate or ""
    said = _plain(error.diag.message_primary or str(error))
    context, lowered = f"{address}: {said}", said.lower()
    if code == "42501" and "create database" in lowered:
        return CreateDatabaseDenied(address)
    if code == "53100" or "no space left" in lowered:
        return NoSpaceLeft(context)
    if not code and (refused := _refusal(context, lowered)):
        return refused
    if isinstance(error, psycopg.OperationalError) and (not code or code.startswith(_BUSY)):
        return DatabaseUnreachable(context)
    return DatabaseError(context)


def _refusal(context: str, lowered: str) -> DatabaseError | None:
    """What a connection that could not be made says of its own; it carries no code."""
    if any(sign in lowered for sign in _TLS):
        return DatabaseRefused(context, hint=_TLS_HINT)
    if "timeout" in lowered or "timed out" in lowered:
        return DatabaseTimeout(context)
    return DatabaseRefused(context) if any(refusal in lowered for refusal in _REFUSALS) else None


def _plain(text: str) -> str:
    """Keep the server's own sentence: libpq wraps it in the address, once for each attempt."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    line = next((line for line in lines if "failed: " in line), lines[0])
    return re.sub(r"^.*failed: ", "", line).removeprefix("FATAL:").strip()
