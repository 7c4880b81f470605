"""Any URL or environment is either read or refused with our own message, and no secret is shown."""

from __future__ import annotations

import os
import sys
import traceback
from unittest import mock
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.load import Need, load_service_settings, load_settings
from blocks.config.plan import Plan
from blocks.errors import ConfigurationError
from blocks.postgres import PostgresServer
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url, parse_database_url
from tests.fuzz import fuzzed

SECRET = "S3CR3T"
REASONS = {
    "it does not begin with postgresql://", "host, port or parameters cannot be read", "it names no host",
    "it names no database", "the port is not a number", "a special character in it is not written as %XX",
}  # fmt: skip
# What the operating system passes on: any bytes but NUL, with invalid UTF-8 as lone surrogates.
ENVIRONMENT = st.binary(max_size=24).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
ODD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
ESCAPED = ODD.map(lambda text: quote(text, safe=""))
HOSTS = st.sampled_from(
    ["db", "db.example.com", "", "[::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1", "::1", "127.0.0.1", "%2Frun%2Fpostgresql",
     "müller.example", "xn--mller-kva.example", "a b", "%00", "%zz", "host%3A", "/run/pg", "@abstract", "[", "[]", "..", "db\n"]
) | ESCAPED  # fmt: skip
PORTS = st.sampled_from(["", ":", ":5432", ":0", ":65536", ":-1", ":x", ":\uff15432", ":5432:5433", ":" + "9" * 5000])
PLACES = st.lists(st.tuples(HOSTS, PORTS).map("".join), max_size=3).map(",".join)
DATABASES = st.sampled_from(
    ["", "/", "/shop", "/sh/op", "/sh%2Fop", "/%00", "/my db", "/my%20db", "//", "/shöp"]
) | ESCAPED.map("/".__add__)
NAMES = st.sampled_from(
    ["host", "hostaddr", "port", "user", "dbname", "sslmode", "ssl", "options", "service", "passfile", "connect_timeout", "schema",
     "pgbouncer", "connection_limit", "application_name", "HOST", "", "odd name", "a[b]", "%70ort", "replication", "client_encoding"]
)  # fmt: skip
PARAMETERS = st.lists(
    st.tuples(NAMES, st.sampled_from(["=", "=", "=", "", "=="]), ESCAPED | st.sampled_from(["true", "1", "/run/pg", "a,b", "%", "&"])).map("".join),
    max_size=4,
).map(lambda pairs: "?" + "&".join(pairs) if pairs else "")  # fmt: skip
LOGINS = st.sampled_from(
    ["", "app@", f"app:{SECRET}@", f":{SECRET}@", f"app:%2F{SECRET}%40@", f"app:{SECRET}:{SECRET}@"]
)
SCHEMES = st.sampled_from(
    ["postgresql://", "postgres://", "POSTGRESQL://", "postgresql+psycopg2://", "postgresql:/", "postgresql:"]
)
URLS = st.tuples(SCHEMES, LOGINS, PLACES, DATABASES, PARAMETERS).map("".join)

VARIABLES = [
    "DATABASE_URL", "VERIFY_DATABASE_URL", "RESTORE_DATABASE_URL", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD",
    "POSTGRES_DB", "S3_ENDPOINT", "S3_BUCKET", "BUCKET_NAME", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_REGION", "BACKUP_PREFIX",
    "BACKUP_INTERVAL", "BACKUP_SCHEDULE", "BACKUP_RETENTION_DAYS", "BACKUP_KEEP_LAST", "BACKUP_KEEP_DAILY", "COMPRESSION_LEVEL", "BACKUP_EXCLUDE_TABLES", "BACKUP_INCLUDE_SCHEMAS", "PG_DUMP_OPTIONS", "VERIFY_INTERVAL", "VERIFY_SCHEDULE",
    "VERIFY_LATEST", "VERIFY_BACKUP_FILE", "VERIFY_TARGET", "VERIFY_MAX_AGE", "VERIFY_TIMEOUT", "VERIFY_QUERIES_FILE",
    "VERIFY_QUERY_TIMEOUT", "VERIFY_STRICT", "RESTORE_VERIFY", "BACKUP_GLOBALS", "TZ", "SERVE_FLOWS", "PORT", "UI_USERNAME", "UI_PASSWORD", "METRICS_ENABLED", "METRICS_PORT", "STATUS_PUBLIC",
]  # fmt: skip
GOOD = {
    "DATABASE_URL": f"postgresql://app:{SECRET}@db/shop", "S3_ENDPOINT": "https://s3.example.com", "S3_BUCKET": "backups",
    "S3_ACCESS_KEY_ID": "key", "S3_SECRET_ACCESS_KEY": SECRET, "UI_PASSWORD": SECRET, "POSTGRES_PASSWORD": SECRET,
}  # fmt: skip
SECRETIVE = {*GOOD, "VERIFY_DATABASE_URL", "RESTORE_DATABASE_URL", "POSTGRES_HOST"} - {"S3_ACCESS_KEY_ID", "S3_BUCKET"}
VALUES = (
    ENVIRONMENT
    | ODD
    | URLS
    | st.integers().map(str)
    | st.sampled_from([
        "", " ", "0", "-1", "1e9", "inf", "nan", "9" * 5000, "٣", "true", "yes", "null", "{}", "[1]", "* * * * *", "*/0 * * * *", "0 0 31 2 *",
        "@daily", "60 * * * *", "Europe/Berlin", "../etc/passwd", "posixrules", "a" * 300, "http://", "http://[", "http://[::1]:99999",
        "https://u:p@h", "http://h:0", "http://\u2100.example", "backup_20260101_000000", "backup_20260101_000000.sql.gz", "backup,prune", "a,b", "/run/pg",
        "::1", "a]b:", "%eth0", "::1%eth0", "auto", "sandbox", "database", "..", "a//b", "sekret\udcff",
    ])
)  # fmt: skip
# What Unicode calls white space, which is what settings are stripped of; Python adds four separators to it.
SPACES = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace() and c not in "\x1c\x1d\x1e\x1f")
NEEDS: frozenset[Need] = frozenset({"database", "storage", "drill", "target"})


def told(error: BaseException) -> str:
    """Return everything a log could say of an error, including its causes and its traceback."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


@fuzzed
@given(URLS)
def test_a_url_of_any_structure(url: str) -> None:
    """A URL is read and survives a round trip, or is refused for one of our reasons without showing its password."""
    try:
        parameters, dropped = parse_database_url(url)
    except ValueError as error:
        assert type(error) is ValueError
        assert str(error) in REASONS
        assert SECRET not in told(error)
        return
    assert parse_database_url(conninfo_url(parameters)) == (parameters, [])
    server = Server(url=SecretStr(url))
    shown = [
        server.address,
        server.database,
        *server.dropped_parameters,
        repr(server),
        str(server),
        PostgresServer(url=server.url).model_dump_json(),
    ]
    assert SECRET not in "".join(shown)
    assert {name for name, value in server.child_environment().items() if SECRET in value} <= {"PGPASSWORD"}
    assert server.dropped_parameters == dropped
    assert server.on("other").parameters() == {**parameters, "dbname": "other"}


@fuzzed
@given(
    st.dictionaries(st.sampled_from(VARIABLES), VALUES, max_size=8),
    st.sets(st.sampled_from(sorted(GOOD))),
    st.frozensets(st.sampled_from(sorted(NEEDS))),
)
def test_any_environment(given_values: dict[str, str], left_out: set[str], needs: frozenset[Need]) -> None:
    """Settings yield a plan without showing secrets, or every problem names its variable and never its value."""
    # Don't put the secret into a variable that isn't meant for secrets: such values are shown.
    shown_anyway = {name: v if name in SECRETIVE else v.replace(SECRET, "x") for name, v in given_values.items()}
    environ = {name: value for name, value in GOOD.items() if name not in left_out} | shown_anyway
    with mock.patch.dict(os.environ, {name: value.replace("\0", "") for name, value in environ.items()}, clear=True):
        try:
            load_service_settings()
            settings = load_settings(needs)
            shown = [repr(settings), settings.model_dump_json(), *settings.enabled_flows]
            if "storage" in needs:
                plan = Plan.from_settings(settings)
                servers = [server for server in (plan.server, plan.drill.server) if server]
                shown += [repr(plan), *(server.address for server in servers), plan.storage.address]
        except ConfigurationError as error:
            assert error.problems
            for fault in error.problems:
                assert any(name in fault.message for name in VARIABLES)
            assert SECRET not in told(error) + "".join(error.lines())
            return
    assert SECRET not in "".join(shown)


@fuzzed
@example("[::1]", "", "app", "", "shop")
@example("db", "", "app", "0\x1f", "shop\x1f")
@example("postgresql://app:secret@db/shop", "", "app", "", "shop")
@given(HOSTS | ENVIRONMENT, PORTS.map(lambda port: port[1:]), VALUES, VALUES, VALUES)
def test_the_older_names_hold_anything(host: str, port: str, user: str, password: str, database: str) -> None:
    """POSTGRES_* yield a server or are refused; the password is taken literally, whatever it is."""
    older = {"HOST": host, "PORT": port, "USER": user, "PASSWORD": password, "DB": database}
    environ = {f"POSTGRES_{name}": value.replace("\0", "") for name, value in older.items()}
    with mock.patch.dict(os.environ, {**GOOD, **environ}, clear=True):
        del os.environ["DATABASE_URL"]
        try:
            plan = Plan.from_settings(load_settings(frozenset({"database", "storage"})))
        except ConfigurationError as error:
            assert all("POSTGRES_" in fault.message or "DATABASE_URL" in fault.message for fault in error.problems)
            return
    parameters = plan.source.parameters()
    assert parameters.get("password", "") == environ["POSTGRES_PASSWORD"].strip(SPACES)
    assert plan.source.address.endswith(f"/{environ['POSTGRES_DB'].strip(SPACES)}")
