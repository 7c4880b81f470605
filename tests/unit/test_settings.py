"""The environment is read once, every problem is reported at once, and no secret is ever shown."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.config.copy_settings import COPIES
from blocks.config.environment import child_environment, ignored_tmpdir
from blocks.config.load import Need, load_settings, misspelled, variable_of, when_malformed, when_missing
from blocks.config.notifications import load_notifications, wrong_notifications
from blocks.config.plan import Plan
from blocks.config.settings import NotificationSettings, Settings
from blocks.errors import ConfigurationError
from blocks.plan import BackupPlan
from blocks.sql.server import Server
from blocks.sql.url import conninfo_url, parse_database_url

EVERYTHING: frozenset[Need] = frozenset({"database", "storage"})
SECRET = "s3cr3t-Passw0rd"
COMPLETE = {
    "DATABASE_URL": f"postgresql://app:{SECRET}@db.example.com:5433/shop",
    "S3_ENDPOINT": "https://s3.example.com",
    "S3_BUCKET": "backups",
    "S3_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "S3_SECRET_ACCESS_KEY": SECRET,
}
EXAMPLE = (Path(__file__).parents[2] / ".env.example").read_text()
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A complete environment, to modify."""
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def faults(needs: frozenset[Need] = EVERYTHING) -> list[str]:
    """Return the reported problems."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(needs)
    return [fault.message for fault in caught.value.problems]


def refusal(url: str) -> str:
    """Return why a URL is refused; empty when it isn't. Any error but a plain ValueError fails the test."""
    try:
        parse_database_url(url)
    except ValueError as error:
        return str(error) if type(error) is ValueError else repr(type(error))
    return ""


def test_the_defaults_of_the_specification(environment: pytest.MonkeyPatch) -> None:
    """Unset variables have the specified defaults."""
    settings = load_settings(EVERYTHING)
    assert (settings.backup_interval_s, settings.backup_retention_days, settings.verify_interval_s) == (3600, 7, 86400)
    assert (settings.backup_prefix, settings.compression_level) == ("postgres-backups", 6)
    assert Plan.from_settings(settings).storage.region == "us-east-1"
    assert (settings.verify_latest, settings.verify_backup_file) == (True, None)
    assert settings.server_url == SecretStr(COMPLETE["DATABASE_URL"])


@pytest.mark.parametrize(("variable", "value", "field", "expected"), [
    ("BACKUP_INTERVAL", "21600", "backup_interval_s", 21600), ("BACKUP_RETENTION_DAYS", "30", "backup_retention_days", 30),
    ("BACKUP_KEEP_LAST", "3", "backup_keep_last", 3), ("BACKUP_KEEP_DAILY", "7", "backup_keep_daily", 7), ("BACKUP_KEEP_WEEKLY", "4", "backup_keep_weekly", 4),
    ("BACKUP_KEEP_MONTHLY", "12", "backup_keep_monthly", 12), ("BACKUP_KEEP_YEARLY", "", "backup_keep_yearly", None),
    ("S3_REGION", "us-west-2", "s3_region", "us-west-2"), ("BACKUP_PREFIX", "/production/backups/", "backup_prefix", "production/backups"),
    ("COMPRESSION_LEVEL", "9", "compression_level", 9), ("ANOMALY_IGNORE_TABLES", "a.*, b", "anomaly_ignore_tables", "a.*, b"), ("VERIFY_INTERVAL", "43200", "verify_interval_s", 43200),
    ("VERIFY_LATEST", "false", "verify_latest", False), ("VERIFY_LATEST", "TRUE", "verify_latest", True),
    ("VERIFY_BACKUP_FILE", "backup_20240207_143022.sql.gz", "verify_backup_file", "backup_20240207_143022.sql.gz"),
    ("S3_ENDPOINT", " https://s3.example.com/ ", "s3_endpoint", "https://s3.example.com"), ("BACKUP_PREFIX", "/", "backup_prefix", ""),
    ("S3_REGION", "", "s3_region", None), ("COMPRESSION_LEVEL", "", "compression_level", 6),
    ("VERIFY_TARGET", "sandbox", "verify_target", "sandbox"), ("VERIFY_DESTINATION", "primary", "verify_destination", "primary"), ("S3_ENDPOINT", "file:///mnt/b/", "s3_endpoint", "file:///mnt/b"), ("VERIFY_MAX_AGE", "86400", "verify_max_age_s", 86400),
    ("VERIFY_QUERIES_FILE", "/etc/q.sql", "verify_queries_file", "/etc/q.sql"), ("VERIFY_STRICT", "true", "verify_strict", True), ("RESTORE_VERIFY", "false", "restore_verify", False), ("BACKUP_GLOBALS", "true", "backup_globals", True),
    ("VERIFY_TIMEOUT", "3600", "verify_timeout_s", 3600), ("VERIFY_QUERY_TIMEOUT", "5", "verify_query_timeout_s", 5), ("KEY_CHECK_INTERVAL", "3600", "key_check_interval_s", 3600),
    ("BACKUP_SCHEDULE", "*/5 * * * *", "backup_schedule", "*/5 * * * *"), ("VERIFY_SCHEDULE", "0 4 * * SUN", "verify_schedule", "0 4 * * SUN"),
    ("TZ", "Europe/Berlin", "tz", "Europe/Berlin"), ("PORT", "3000", "port", 3000), ("METRICS_PORT", "9091", "metrics_port", 9091),
    ("METRICS_ENABLED", "true", "metrics_enabled", True), ("STATUS_PUBLIC", "true", "status_public", True), ("UI_USERNAME", "ops", "ui_username", "ops"),
    ("S3_PROVIDER", "backblaze", "s3_provider", "backblaze"), ("S3_PROVIDER", " ", "s3_provider", None),
    ("WEBHOOK_URL", "", "webhook_url", None), ("WEBHOOK_ON_SUCCESS", "true", "webhook_on_success", True), ("WEBHOOK_ON_FAILURE", "false", "webhook_on_failure", False),
    ("NOTIFY_UNPROVEN_AFTER", "0", "notify_unproven_after_s", 0), ("NOTIFY_URLS", " ", "notify_urls", None),
    ("PING_URL", "https://user:x@hc.example/1", "ping_url", SecretStr("https://user:x@hc.example/1")),
    ("SERVE_FLOWS", "restore-drill, backup", "enabled_flows", ("backup", "restore-drill")),
])  # fmt: skip
def test_what_is_set_is_read(
    environment: pytest.MonkeyPatch, variable: str, value: str, field: str, expected: object
) -> None:
    """Each variable reaches its field; an empty one counts as unset."""
    environment.setenv(variable, value)
    assert getattr(load_settings(EVERYTHING), field) == expected


def test_everything_that_is_missing_at_once() -> None:
    """An empty environment is reported in full, in the specification's words and order."""
    names = ["DATABASE_URL", "S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]
    assert faults() == [f"Required environment variable {name} is not set" for name in names]


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("value", [None, "", "   "])
def test_each_variable_that_is_missing(environment: pytest.MonkeyPatch, name: str, value: str | None) -> None:
    """Unset, empty and blank are the same: the variable is named, with what to do."""
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(EVERYTHING)
    lines = caught.value.lines()
    assert lines[0] == f"ERROR: Required environment variable {name} is not set (PGR-CONFIG)"
    assert lines[1].startswith("HINT: ")
    assert (len(lines), caught.value.exit_status) == (2, 2)


WRONG = {
    "DATABASE_URL": "mysql://app@db/shop", "VERIFY_DATABASE_URL": "db.example.com", "RESTORE_DATABASE_URL": "postgresql:///shop",
    "POSTGRES_HOST": "postgresql://u:p@db/shop", "POSTGRES_PORT": "many", "S3_ENDPOINT": "s3.example.com", "S3_BUCKET": "s3://backups", "BACKUP_PREFIX": "a//../b", "BACKUP_INTERVAL": "hourly",
    "BACKUP_RETENTION_DAYS": "0", "BACKUP_KEEP_LAST": "0", "BACKUP_KEEP_DAILY": "-1", "BACKUP_KEEP_WEEKLY": "all",
    "BACKUP_KEEP_MONTHLY": "0", "BACKUP_KEEP_YEARLY": "1.5", "COMPRESSION_LEVEL": "10", "VERIFY_INTERVAL": "5", "VERIFY_LATEST": "perhaps",
    "VERIFY_BACKUP_FILE": "../backup_20240207_143022.sql.gz", "VERIFY_TARGET": "moon", "VERIFY_DESTINATION": "moon", "VERIFY_MAX_AGE": "1 day",
    "VERIFY_TIMEOUT": "1", "VERIFY_QUERY_TIMEOUT": "0", "KEY_CHECK_INTERVAL": "5", "VERIFY_STRICT": "maybe", "RESTORE_VERIFY": "maybe", "ALLOW_SHARED_PREFIX": "maybe",
    "BACKUP_SCHEDULE": "every night", "BACKUP_GLOBALS": "auto",
    "VERIFY_SCHEDULE": "0 0 31 2 *", "TZ": "Middle-earth", "PORT": "http", "METRICS_PORT": "0", "METRICS_ENABLED": "sometimes", "STATUS_PUBLIC": "sometimes",
    "UI_USERNAME": "me:you", "SERVE_FLOWS": "backup,restores", "S3_PROVIDER": "Backblaze B2",
    "BACKUP_DATABASES": "a.b", "BACKUP_PARALLEL_DATABASES": "33", "VERIFY_DATABASES": "some",
    "BACKUP_EXCLUDE_TABLES": 'a, "b', "BACKUP_EXCLUDE_TABLE_DATA": "db.app.t", "BACKUP_EXCLUDE_SCHEMAS": "app.x", "BACKUP_INCLUDE_SCHEMAS": '"', "BACKUP_INCLUDE_TABLES": "a.b.c",
    "PREFECT_SERVER_ENCRYPTION_KEY": "correct-horse", "EVIDENCE_KEY": "correct-horse", "RPO_TARGET": "1h", "RTO_TARGET": "59",
    "BACKUP_AGE_RECIPIENTS": "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ8H00W3", "AGE_IDENTITY": "correct-horse",
    "PRE_BACKUP_HOOK": "echo 'open", "POST_BACKUP_HOOK": 'echo "open', "ON_FAILURE_HOOK": "echo open\\", "POST_DRILL_HOOK": "''", "POST_RESTORE_CHECK": "'' a",
    "PRE_BACKUP_HOOK_REQUIRED": "maybe", "HOOK_TIMEOUT": "0",
    "S3_OBJECT_LOCK_DAYS": "0", "S3_OBJECT_LOCK_MODE": "soft", "S3_SSE": "aes", "S3_CREDENTIALS": "role", "PRUNE": "never",
    "COPIES_REQUIRED": "5", "COPY_WAIT": "1", "COPY_INTERVAL": "often", "COPY_BEHIND_AFTER": "59",
}  # fmt: skip
WRONG_COPY = {
    "PATH": "backups", "S3_ENDPOINT": "s3.example.com", "S3_BUCKET": "s3://backups", "S3_PROVIDER": "Backblaze B2", "PREFIX": "a//b",
    "RETENTION_DAYS": "0", "KEEP_LAST": "0", "KEEP_DAILY": "-1", "KEEP_WEEKLY": "all", "KEEP_MONTHLY": "0", "KEEP_YEARLY": "1.5",
    "S3_OBJECT_LOCK_DAYS": "0", "S3_OBJECT_LOCK_MODE": "soft", "S3_SSE": "aes", "S3_CREDENTIALS": "role", "PRUNE": "never",
}  # fmt: skip
WRONG |= {f"{place.upper()}_{name}": value for place in COPIES for name, value in WRONG_COPY.items()}
# No backup may fail for one of these.
WRONG_NOTIFICATIONS = {
    "WEBHOOK_URL": "hooks.slack.com/x", "WEBHOOK_ON_SUCCESS": "maybe", "WEBHOOK_ON_FAILURE": "maybe", "WEBHOOK_TEMPLATE": "{{ title",
    "NOTIFY_URLS": "mail to me", "NOTIFY_UNPROVEN_AFTER": "59", "PING_URL": "ftp://hc-ping.com/x", "VERIFY_PING_URL": "https://",
}  # fmt: skip


def complete_copy(environment: pytest.MonkeyPatch, name: str) -> None:
    """Set everything that is needed of the copy that a variable belongs to."""
    place, _, field = name.partition("_")
    if place.lower() in COPIES and field.startswith("S3_"):
        for needed in ("S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"):
            environment.setenv(f"{place}_{needed}", COMPLETE[needed])
    elif place.lower() in COPIES:
        environment.setenv(f"{place}_PATH", "/mnt/backups")


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_each_variable_that_is_wrong(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    """An invalid value is refused whether it is needed or not, with the rule that it breaks."""
    complete_copy(environment, name)
    environment.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(EVERYTHING)
    assert caught.value.lines() == [f"ERROR: Invalid {name} format (PGR-CONFIG)", f"HINT: {when_malformed(name)}"]
    assert value not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), WRONG_NOTIFICATIONS.items())
def test_an_invalid_channel_costs_no_backup(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    """It is left out by itself, as if it weren't set; the other channels and all other settings stay."""
    environment.setenv("BACKUP_INTERVAL", "21600")
    environment.setenv("PING_URL", "https://hc-ping.com/1")
    environment.setenv(name, value)
    settings, told = load_settings(EVERYTHING), load_notifications()
    assert (settings.backup_interval_s, settings.wrong) == (21600, (name,))
    assert [found.message for found in wrong_notifications()] == [f"Invalid {name} format"]
    assert wrong_notifications()[0].hint == when_malformed(name)
    field = next(field for field in NotificationSettings.model_fields if variable_of(field) == name)
    assert getattr(settings, field) == getattr(Settings(), field) == NotificationSettings.model_fields[field].default
    if name == "PING_URL":
        assert told is None
    else:
        assert told
        assert told.ping_url == settings.ping_url == SecretStr("https://hc-ping.com/1")


def test_an_invalid_address_leaves_the_others(environment: pytest.MonkeyPatch) -> None:
    """Of a list, only what is no address is left out; every other setting that is wrong is still reported."""
    environment.setenv("NOTIFY_URLS", "mailto:me@example.com json://one, json://two?to=a@b,c@d")
    environment.setenv("PING_URL", "hc-ping.com/1")
    told = load_notifications()
    assert told
    assert told.notify_urls == SecretStr("json://one json://two?to=a@b,c@d")
    assert told.wrong == ("NOTIFY_URLS", "PING_URL")
    environment.setenv("BACKUP_INTERVAL", "hourly")
    assert faults() == ["Invalid BACKUP_INTERVAL format"]


def test_missing_and_wrong_together(environment: pytest.MonkeyPatch) -> None:
    """One round of fixes is enough: missing and invalid variables are reported together, each once."""
    environment.delenv("S3_BUCKET")
    environment.delenv("S3_SECRET_ACCESS_KEY")
    for name, value in WRONG.items():
        if name != "S3_BUCKET":
            environment.setenv(name, value)
    found = faults()
    assert found[:2] == [
        f"Required environment variable S3_{name} is not set" for name in ("BUCKET", "SECRET_ACCESS_KEY")
    ]
    assert sorted(found[2:]) == sorted(f"Invalid {name} format" for name in WRONG if name != "S3_BUCKET")


def test_a_wrong_variable_is_not_missing_too(environment: pytest.MonkeyPatch) -> None:
    """A variable that is set but invalid is reported once, and no alternative is requested."""
    environment.setenv("POSTGRES_HOST", "db")
    environment.setenv("DATABASE_URL", "mysql://db")
    assert faults() == ["Invalid DATABASE_URL format"]
    environment.delenv("POSTGRES_HOST")
    environment.delenv("DATABASE_URL")
    environment.setenv("VERIFY_DATABASE_URL", "mysql://db")
    assert faults(frozenset({"drill"})) == ["Invalid VERIFY_DATABASE_URL format"]


def test_spaces_around_a_value_do_not_count(environment: pytest.MonkeyPatch) -> None:
    """Leading and trailing whitespace, such as a newline left by files and forms, is ignored."""
    for name, value in COMPLETE.items():
        environment.setenv(name, f" {value}\n")
    environment.setenv("S3_REGION", "  ")
    settings = load_settings(EVERYTHING)
    assert settings.database_url == SecretStr(COMPLETE["DATABASE_URL"])
    assert settings.s3_secret_access_key == SecretStr(SECRET)
    assert (settings.s3_access_key_id, settings.s3_bucket, settings.s3_region) == ("AKIAEXAMPLE", "backups", None)


def test_every_rule_is_tried() -> None:
    """Every variable with a rule is covered above."""
    ruled = {variable_of(field) for field in Settings.model_fields if when_malformed(variable_of(field))}
    assert set(WRONG | WRONG_NOTIFICATIONS) == ruled
    assert all(when_missing(name) for name in COMPLETE)


@pytest.mark.parametrize(
    "value",
    ["2024", "backup_20240207_143022.sql", "backup_\uff12\uff10240207_143022", "backup_20240207_143022\n.sql.gz"],
)
def test_a_backups_name_is_exact(environment: pytest.MonkeyPatch, value: str) -> None:
    """Only a complete name is a backup's name."""
    environment.setenv("VERIFY_BACKUP_FILE", value)
    assert faults() == ["Invalid VERIFY_BACKUP_FILE format"]


@pytest.mark.parametrize(
    "value",
    ["ftp://host", "https://", "https://key:secret@host", "https://host:port", "https://host:0", "https://[::1"],
)
def test_an_endpoint_is_an_address_without_keys(environment: pytest.MonkeyPatch, value: str) -> None:
    """Keys in an endpoint are refused, because they would be shown wherever it is shown."""
    environment.setenv("S3_ENDPOINT", value)
    assert faults() == ["Invalid S3_ENDPOINT format"]


def test_what_a_command_does_not_need_may_be_missing() -> None:
    """Listing backups needs no database, and a restore needs only a target."""
    needs: list[tuple[Need, list[str]]] = [
        ("database", ["DATABASE_URL"]), ("target", ["RESTORE_DATABASE_URL"]),
        ("storage", ["S3_ENDPOINT", "S3_BUCKET", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]),
    ]  # fmt: skip
    for need, names in needs:
        assert faults(frozenset({need})) == [f"Required environment variable {name} is not set" for name in names]
    assert load_settings(frozenset()) == Settings()


@pytest.mark.parametrize("target", ["database", "sandbox", "auto"])
def test_only_a_drill_on_a_database_server_needs_one(environment: pytest.MonkeyPatch, target: str) -> None:
    """A sandbox drill needs no database settings: it needs nothing from production."""
    environment.delenv("DATABASE_URL")
    environment.setenv("VERIFY_TARGET", target)
    needs: frozenset[Need] = frozenset({"drill", "storage"})
    if target == "database":
        assert faults(needs) == ["Required environment variable DATABASE_URL is not set"]
    else:
        assert Plan.from_settings(load_settings(needs)).drill.target == target


def test_a_drill_of_one_backup_needs_its_name(environment: pytest.MonkeyPatch) -> None:
    """VERIFY_LATEST=false without a name doesn't say which backup to drill."""
    environment.setenv("VERIFY_LATEST", "false")
    assert faults(frozenset({"drill"})) == ["Required environment variable VERIFY_BACKUP_FILE is not set"]
    environment.setenv("VERIFY_BACKUP_FILE", "backup_20240207_143022")
    assert Plan.from_settings(load_settings(EVERYTHING)).drill.backup_file == "backup_20240207_143022"
    environment.delenv("VERIFY_LATEST")
    assert Plan.from_settings(load_settings(EVERYTHING)).drill.backup_file is None


def test_a_server_for_drills_is_enough_for_drills(environment: pytest.MonkeyPatch) -> None:
    """A drill on another server doesn't need the database's own address."""
    environment.delenv("DATABASE_URL")
    environment.setenv("VERIFY_DATABASE_URL", "postgresql://app@scratch/postgres")
    assert load_settings(frozenset({"drill", "storage"})).server_url is None


def test_the_older_names(environment: pytest.MonkeyPatch) -> None:
    """POSTGRES_* and BUCKET_NAME set the same things; the newer names win."""
    for name in ("DATABASE_URL", "S3_BUCKET"):
        environment.delenv(name)
    environment.setenv("BUCKET_NAME", "old-bucket")
    for name, value in {"HOST": "db", "PORT": "5433", "USER": "u@x", "PASSWORD": "p:/?#[]@%", "DB": "my db"}.items():
        environment.setenv(f"POSTGRES_{name}", value)
    settings = load_settings(EVERYTHING)
    assert settings.s3_bucket == "old-bucket"
    assert settings.server_url
    assert settings.server_url.get_secret_value() == "postgresql://u%40x:p%3A%2F%3F%23%5B%5D%40%25@db:5433/my%20db"
    environment.setenv("S3_BUCKET", "new-bucket")
    environment.setenv("DATABASE_URL", COMPLETE["DATABASE_URL"])
    settings = load_settings(EVERYTHING)
    assert (settings.s3_bucket, settings.server_url) == ("new-bucket", SecretStr(COMPLETE["DATABASE_URL"]))


def test_the_older_names_in_part(environment: pytest.MonkeyPatch) -> None:
    """POSTGRES_HOST requires the others; without it DATABASE_URL is what is missing."""
    environment.delenv("DATABASE_URL")
    environment.setenv("POSTGRES_HOST", "db")
    assert faults() == [f"Required environment variable POSTGRES_{name} is not set" for name in ("USER", "DB")]
    environment.delenv("POSTGRES_HOST")
    environment.setenv("POSTGRES_DB", "shop")
    assert faults() == ["Required environment variable DATABASE_URL is not set"]


@given(
    user=TEXT, password=st.text(max_size=0) | TEXT, database=TEXT, host=st.sampled_from(["db", "::1", "/run/pg", "a,b"])
)
def test_the_older_names_say_anything(user: str, password: str, database: str, host: str) -> None:
    """Whatever characters user, password and database contain, libpq gets them unchanged."""
    settings = Settings.model_construct(
        postgres_host=host, postgres_user=user, postgres_password=SecretStr(password), postgres_db=database
    )
    assert settings.server_url
    parameters, dropped = parse_database_url(settings.server_url.get_secret_value())
    expected = {"host": host, "port": "5432", "user": user, "dbname": database}
    assert parameters == expected | ({"password": password} if password else {})
    assert dropped == []


@given(
    st.dictionaries(st.sampled_from(["host", "user", "password", "dbname", "sslmode", "options", "sslrootcert"]), TEXT)
)
def test_parameters_survive_as_a_url(parameters: dict[str, str]) -> None:
    """Parameters survive the round trip through a URL."""
    whole = {"host": "db", "dbname": "shop"} | parameters
    assert parse_database_url(conninfo_url(whole)) == (whole, [])


@given(
    st.text(max_size=60) | st.text("postgresql://:@/?&=#[]%,0a\n\0\udc80", max_size=40).map("postgresql://u:".__add__)
)
def test_no_url_breaks_the_parser(url: str) -> None:
    """Any text is parsed or refused with a ValueError with our own message."""
    reasons = {
        "it does not begin with postgresql://", "host, port or parameters cannot be read", "it names no host",
        "it names no database", "the port is not a number", "a special character in it is not written as %XX",
    }  # fmt: skip
    reason = refusal(url)
    assert reason in reasons if reason else parse_database_url(url)[0]["dbname"]


@given(
    st.text("abcXYZ019!$&'()*+,;=:@/?#[]% ", max_size=12).map(lambda odd: f"S3CR3T{odd}S3CR3T"),
    st.sampled_from(["db", "db:5432", "db:x"]),
)
def test_no_password_is_ever_shown(password: str, place: str) -> None:
    """A wrongly encoded password is parsed correctly or refused; no part of it is shown."""
    url = f"postgresql://app:{password}@{place}/shop"
    if reason := refusal(url):
        assert "S3CR3T" not in reason
        return
    server = Server(url=SecretStr(url))
    for shown in (server.address, server.database, *server.dropped_parameters, repr(server), str(server)):
        assert "S3CR3T" not in shown
    environment = server.child_environment()
    assert [name for name, value in environment.items() if "S3CR3T" in value] == ["PGPASSWORD"]


@given(TEXT)
def test_a_percent_encoded_password(password: str) -> None:
    """Any password can be written in a URL."""
    parameters, _ = parse_database_url(f"postgresql://app:{quote(password, safe='')}@db/shop")
    assert parameters["password"] == password


@pytest.mark.parametrize(("url", "expected"), [
    ("postgres://u:p@h/d", {"user": "u", "password": "p", "host": "h", "dbname": "d"}),
    ("postgresql+asyncpg://u@h:5433/d", {"user": "u", "host": "h", "port": "5433", "dbname": "d"}),
    ("postgresql://u:p?q#r@h/d", {"user": "u", "password": "p?q#r", "host": "h", "dbname": "d"}),
    ("postgresql://[::1]:5433/d", {"host": "::1", "port": "5433", "dbname": "d"}),
    ("postgresql://u@a:1,b:2/d", {"user": "u", "host": "a,b", "port": "1,2", "dbname": "d"}),
    ("postgresql:///d?host=/run/pg", {"host": "/run/pg", "dbname": "d"}),
    ("postgresql://h/d?ssl=true", {"host": "h", "dbname": "d", "sslmode": "require"}),
    ("postgresql://h/d?sslmode=disable&options=-c%20x%3D1", {"host": "h", "dbname": "d", "sslmode": "disable", "options": "-c x=1"}),
])  # fmt: skip
def test_urls_of_every_kind(url: str, expected: dict[str, str]) -> None:
    """What libpq and its wrappers accept is parsed as they do."""
    assert parse_database_url(url) == (expected, [])


@pytest.mark.parametrize("url", [
    "", "mysql://h/d", "postgresql://", "postgresql://h", "postgresql:///d", "postgresql://h:x/d", "postgresql://h:0/d",
    "postgresql://h:65536/d", "postgresql://h/d?port=x", "postgresql://u:a@b@h/d", "postgresql://u:1/a@h/d", "postgresql://h/d\0x",
    "postgresql://u:%zz@h/d", "postgresql://[::1/d", "postgresql://u:1/a?b@h/d", "postgresql://h:5432\n/d",
])  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    """What names no server, or would show part of a password as a host, is refused."""
    with pytest.raises(ValueError):
        parse_database_url(url)


def test_parameters_of_other_libraries_are_dropped() -> None:
    """Parameters that libpq would refuse are dropped, and reported without their values."""
    url = "postgresql://u:p@h/d?pgbouncer=true&schema=public&sslmode=require&connection_limit=5&pool_timeout"
    parameters, dropped = parse_database_url(url)
    assert parameters == {"user": "u", "password": "p", "host": "h", "dbname": "d", "sslmode": "require"}
    assert dropped == ["pgbouncer", "schema", "connection_limit", "pool_timeout"]


def test_secrets_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    """Settings, blocks and plans hide their secrets in every form that a log can take."""
    settings = load_settings(EVERYTHING)
    plan = Plan.from_settings(settings)
    for shown in (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        repr(plan),
        str(plan),
        BackupPlan.from_settings(settings).model_dump_json(),
        str(vars(plan)),
    ):
        assert SECRET not in shown
    assert settings.s3_secret_access_key
    assert settings.s3_secret_access_key.get_secret_value() == SECRET
    assert plan.source.address == "db.example.com:5433/shop"


def test_secrets_are_not_in_exceptions(environment: pytest.MonkeyPatch) -> None:
    """An error in a secret is reported without it, even in a traceback with all its causes."""
    for name in ("DATABASE_URL", "VERIFY_DATABASE_URL", "RESTORE_DATABASE_URL"):
        environment.setenv(name, f"postgresql://app:{SECRET}@{SECRET}@host:port/shop")
    environment.setenv("POSTGRES_PORT", SECRET)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(EVERYTHING)
    assert len(caught.value.problems) == 4
    chain: BaseException | None = caught.value
    while chain:
        assert SECRET not in "".join(traceback.format_exception(chain)) + repr(chain) + str(vars(chain))
        chain = chain.__cause__ or chain.__context__


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:
    """The settings read once stay the same for the whole run."""
    settings = load_settings(EVERYTHING)
    with pytest.raises(ValueError, match="frozen"):
        settings.s3_bucket = "other"  # type: ignore[misc]


def test_children_get_what_they_need_and_no_keys(environment: pytest.MonkeyPatch) -> None:
    """No child process sees the storage's keys, or a PG* variable that happens to be set."""
    environment.setenv("PGPASSWORD", "not this one")
    environment.setenv("PGOPTIONS", "-c x=1")
    given_to_child = child_environment({"PGHOST": "db"})
    assert SECRET not in str(given_to_child)
    assert {name for name in given_to_child if name.startswith("PG")} == {"PGHOST", "PGTZ"}


def test_the_provider_that_is_named_is_kept_in_a_plan(environment: pytest.MonkeyPatch) -> None:
    """A saved plan addresses its storage as the environment did; so does a plan saved before providers existed."""
    environment.setenv("S3_PROVIDER", "cloudflare")
    storage = BackupPlan.from_settings(load_settings(EVERYTHING)).storage
    fields = {name: getattr(storage, name) for name in type(storage).model_fields}
    again = type(storage)(**fields)
    assert (again.store.provider.key, again.store.region) == ("cloudflare", "auto")
    del fields["provider_key"]
    assert type(storage)(**fields).store.provider.key == "other"


def test_a_name_that_is_nearly_one_of_ours_is_found(environment: pytest.MonkeyPatch) -> None:
    """A misspelled retention rule is ignored: the default would remove backups that were meant to stay."""
    environment.setenv("BACKUP_RETENTION_DAY", "90")
    environment.setenv("COMPRESION_LEVEL", "9")
    assert misspelled() == {"BACKUP_RETENTION_DAY": "BACKUP_RETENTION_DAYS", "COMPRESION_LEVEL": "COMPRESSION_LEVEL"}


def test_a_folder_for_temporary_files_that_is_not_there(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python silently uses another folder, and fills the disk that was to be spared."""
    environment.setattr(tempfile, "tempdir", str(tmp_path))
    environment.setenv("TMPDIR", f"{tmp_path}/")
    assert ignored_tmpdir() is None
    environment.setenv("TMPDIR", f"{tmp_path}/gone")
    assert ignored_tmpdir() == f"{tmp_path}/gone"
    environment.delenv("TMPDIR")
    assert ignored_tmpdir() is None


def test_names_of_ours_and_of_others_are_left_alone(environment: pytest.MonkeyPatch) -> None:
    """Warnings about valid names would teach people to ignore warnings."""
    ours = [row.split("=")[0].lstrip("# ") for row in EXAMPLE.splitlines() if "=" in row]
    for name in [*ours, "TEST_DATABASE_URL", "DATABASE_PUBLIC_URL", "VERIFY_PEER", "BACKUP_DIR", "AWS_REGION"]:
        environment.setenv(name, "1")
    assert misspelled() == {}
