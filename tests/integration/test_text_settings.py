"""No setting of a role, database or server changes what a backup holds, or what a restore brings back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from blocks.s3.client import ObjectStore
from blocks.sql.server import Server
from flows.demo.services import free_ports
from flows.restore import restore
from tasks.engine.drill.place import Place
from tasks.engine.dump.globals import read_globals
from tasks.engine.dump.text_settings import READ_UNDER, WRITTEN_UNDER
from tasks.engine.repository.manifest import Verdict
from tasks.engine.servers.programs import Client
from tasks.engine.servers.sandbox import running_server
from tests.conftest import MAJORS, FlowRun, NewDatabase, databases_of, psql
from tests.faults.servers import at, pooler
from tests.integration.objects import (
    asked,
    manifest_of,
    put_manifest,
    take_backup,
    told,
    without_manifest,
)
from tests.integration.sandboxes import rehearsed

Clients = dict[int, Client]
_PAY = """
CREATE DOMAIN price AS money; CREATE TYPE offer AS (what text, p price);
CREATE TABLE pay (id int PRIMARY KEY, v money, list money[], p price, o offer, d money DEFAULT 1234.5::numeric::money);
INSERT INTO pay SELECT i, (i * 1234.25)::numeric::money, ARRAY[(-i)::money, NULL], i::money, ROW('x', i::money::price)::offer FROM generate_series(1, 100) i;
"""
# Amounts that every locale here can parse, if differently.
_SMALL = _PAY.replace("1234.5", "12.5").replace("1234.25", "1.25")
# Settings that pg_dump fixes in its own session or in its output.
_OF_PG_DUMP = """
DateStyle IntervalStyle extra_float_digits synchronize_seqscans row_security search_path statement_timeout lock_timeout
idle_in_transaction_session_timeout transaction_timeout client_encoding standard_conforming_strings check_function_bodies xmloption
client_min_messages default_tablespace default_table_access_method transaction_isolation transaction_read_only transaction_deferrable
"""
# lc_monetary comes from the manifest, TimeZone from the environment, trigger settings from psql's first statements.
_OURS = (
    "lc_monetary TimeZone event_triggers session_replication_role idle_session_timeout default_transaction_isolation"
)
# These affect logging, speed, temporary files, or the output of functions that a dump doesn't call; text written with
# standard_conforming_strings = on has no escapes.
_HARMLESS = """
backslash_quote createrole_self_grant default_text_search_config default_toast_compression dynamic_library_path
escape_string_warning extension_control_path gin_fuzzy_search_limit gin_pending_list_limit lc_messages lc_numeric lc_time
lo_compat_privileges local_preload_libraries session_preload_libraries temp_tablespaces timezone_abbreviations
vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age vacuum_multixact_failsafe_age vacuum_multixact_freeze_min_age
vacuum_multixact_freeze_table_age xmlbinary
"""


def in_locale(new_database: NewDatabase, locale: str, script: str) -> Server:
    """A database with a locale's money format, filled in a session that starts with these settings."""
    server = new_database(15)
    told(server, f"ALTER DATABASE {server.database} SET lc_monetary = '{locale}'")
    told(server, script)
    return server


def amounts(server: Server, client: Client, locale: str) -> str:
    """Return all the money, as shown in a locale."""
    query = "SELECT id, v, list::text, p, o::text, d FROM pay ORDER BY id;"
    return psql(client, server, f"SET lc_monetary = '{locale}'; {query}")


@pytest.mark.parametrize("major", MAJORS)
def test_every_setting_of_a_session_was_thought_of(major: int, server_of: Callable[[int], Server]) -> None:
    """Every session setting of a new version must be classified before we support it."""
    found = asked(
        server_of(major),
        "SELECT name FROM pg_settings WHERE context IN ('user', 'superuser')"
        " AND (category LIKE 'Client Connection%' OR category LIKE 'Version and Platform%')",
    )
    known = {n.lower() for n in [*WRITTEN_UNDER, *READ_UNDER, *f"{_OF_PG_DUMP} {_OURS} {_HARMLESS}".split()]}
    assert {str(row[0]).lower() for row in found} - known == set()


@pytest.mark.parametrize("locale", ["es_CO.utf8", "de_DE.utf8", "ja_JP.utf8"])
def test_money_comes_back_as_the_same_amounts(
    locale: str, new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The amounts are the same wherever they are restored; a warning says if they'd be displayed differently."""
    source = in_locale(new_database, locale, _PAY)
    take_backup(storage, source, clients[15])
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict is Verdict.PROVEN
    copy = source.on(f"{source.database}_copy")
    done = flow_run(restore, to=copy, backup="latest")
    assert done.state == "Completed", done.error
    try:
        assert amounts(copy, clients[15], locale) == amounts(source, clients[15], locale)
        assert any(f"with {locale} on the source" in record.getMessage() for record in caplog.records)
    finally:
        told(source.on("postgres"), f"DROP DATABASE {copy.database}")


@contextmanager
def older_backup(storage: ObjectStore, source: Server, client: Client) -> Iterator[None]:
    """A backup as version 1.0 made it: money is written in the source's format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tasks.engine.dump.text_settings._IN_C",
            asked(source, "SELECT 1234567.89::numeric::money::text, (-5.5)::numeric::money::text")[0],
        )
        take_backup(storage, source, client)
    put_manifest(storage, manifest_of(storage).model_copy(update={"lc_monetary": "", "source_lc_monetary": ""}))
    yield


@pytest.mark.parametrize("foreign", [False, True])
def test_other_amounts_are_never_restored(
    foreign: bool, new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """Money in the source's format, by an older version or another tool, is refused where it would read differently."""
    source = in_locale(new_database, "es_CO.utf8", _SMALL)
    with older_backup(storage, source, clients[15]):
        if foreign:
            without_manifest(storage)
        copy = source.on(f"{source.database}_copy")
        done = flow_run(restore, to=copy, backup="latest")
        assert "The restored rows differ from those in the backup [public.pay: " in str(done.error)
        assert copy.database not in databases_of(source)
        report = rehearsed(storage, Place("sandbox", client=clients[15]))
        assert report.verdict is Verdict.INCONCLUSIVE
        assert "lc_monetary" in report.cause
        # A server with the source's money format reads it as written.
        told(source.on("postgres"), "ALTER ROLE CURRENT_USER SET lc_monetary = 'es_CO.utf8'")
        try:
            done = flow_run(restore, to=copy, backup="latest")
            assert done.state == "Completed", done.error
            assert amounts(copy, clients[15], "C") == amounts(source, clients[15], "C")
        finally:
            told(source.on("postgres"), "ALTER ROLE CURRENT_USER RESET lc_monetary", f"DROP DATABASE {copy.database}")


def test_money_that_cannot_be_read_is_no_fault_of_the_backup(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """An older backup whose amounts don't parse here is INCONCLUSIVE, and the condition is named."""
    source = in_locale(new_database, "de_DE.utf8", _PAY)
    with older_backup(storage, source, clients[15]):
        report = rehearsed(storage, Place("sandbox", client=clients[15]))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "under which lc_monetary its money was written" in report.cause


def test_a_comparison_may_be_left_out(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """The comparison after a restore can be turned off."""
    source = in_locale(new_database, "es_CO.utf8", _SMALL)
    with older_backup(storage, source, clients[15]):
        copy = source.on(f"{source.database}_copy")
        done = flow_run(restore, to=copy, backup="latest", verify=False)
        assert done.state == "Completed", done.error
        told(source.on("postgres"), f"DROP DATABASE {copy.database}")


_ODD = """
CREATE TABLE odd (id int PRIMARY KEY, a text[], i interval, d date, x {xml}, b bytea, t text DEFAULT E'C:\\\\new');
INSERT INTO odd VALUES (1, ARRAY['NULL', NULL, 'null'], '-1 mon -2 days +03:04:05', '0044-03-15 BC', '<a/>text', '\\x5c27', E'a\\\\b''c');
COMMENT ON TABLE odd IS E'such as C:\\\\temp'; CREATE VIEW seen AS SELECT id, E'\\\\x'::text AS y FROM odd WHERE t = NULL;
"""
_OF_THE_READER = {
    "array_nulls": "off", "bytea_output": "escape", "datestyle": "German, DMY", "intervalstyle": "sql_standard",
    "default_transaction_read_only": "on", "default_transaction_isolation": "serializable", "transform_null_equals": "on",
    "standard_conforming_strings": "off", "xmloption": "document", "quote_all_identifiers": "on", "timezone": "Asia/Kathmandu",
    "default_text_search_config": "pg_catalog.german", "lc_monetary": "de_DE.utf8", "extra_float_digits": "-10", "backslash_quote": "off",
}  # fmt: skip


@pytest.mark.parametrize("major", [15, 18])
def test_settings_of_the_one_who_restores_change_nothing(
    major: int, new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """Settings of the restoring role or of the source change nothing in the result, and the drill confirms it."""
    source, settings = (
        new_database(major, _ODD.replace("{xml}", "xml" if major == 15 else "text")),
        {k: v for k, v in _OF_THE_READER.items() if major == 15 or k != "lc_monetary"},
    )
    admin, copy = source.on("postgres"), source.on(f"{source.database}_copy")
    read_only = "default_transaction_read_only"
    with source.connect(own_names=True) as connection:
        for name, value in settings.items():
            if name != read_only:
                connection.execute(f"ALTER DATABASE {{}} SET {name} = {{value}}", source.database, value=value)
    take_backup(storage, source, clients[major])
    assert rehearsed(storage, Place("sandbox", client=clients[major])).verdict is Verdict.PROVEN
    told(
        admin,
        *(f"ALTER ROLE CURRENT_USER SET {name} = '{value}'" for name, value in settings.items() if name != read_only),
    )
    told(admin, f"CREATE DATABASE {copy.database}")
    try:
        done = flow_run(restore, to=copy, backup="latest")
    finally:
        told(admin, "ALTER ROLE CURRENT_USER RESET ALL")
    assert done.state == "Completed", done.error
    query = "SELECT a::text, a[2] IS NULL, i::text, d::text, x::text, b, t, obj_description('odd'::regclass), pg_get_viewdef('seen') FROM odd"
    plain = "SET datestyle = iso; SET intervalstyle = postgres; SET bytea_output = hex; SET quote_all_identifiers = off; SET standard_conforming_strings = on;"
    assert psql(clients[major], copy, plain + query) == psql(clients[major], source, plain + query)
    told(admin, f"DROP DATABASE {copy.database}")


def test_a_role_that_only_reads_by_default_can_restore(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A read-only default guards against careless sessions; a restore overrides it."""
    source = new_database(16, "CREATE TABLE t AS SELECT 1 AS a")
    take_backup(storage, source, clients[16])
    copy = new_database(16)
    told(source.on("postgres"), f"ALTER DATABASE {copy.database} SET default_transaction_read_only = on")
    report = rehearsed(storage, Place("database", client=clients[16], server=copy.on("postgres")))
    assert report.verdict is Verdict.PROVEN
    done = flow_run(restore, to=copy, backup="latest")
    assert done.state == "Completed", done.error


def test_a_server_that_only_reads_by_default_takes_restores_and_drills(
    clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """Nor does that of the database from which others are created and dropped, such as a restored `postgres`."""
    with running_server(clients[16]) as server:
        told(server, "CREATE TABLE t AS SELECT 1 AS a")
        take_backup(storage, server, clients[16])
        told(server, f"ALTER DATABASE {server.database} SET default_transaction_read_only = on")
        report = rehearsed(storage, Place("database", client=clients[16], server=server))
        assert report.verdict is Verdict.PROVEN, report.cause
        done = flow_run(restore, to=server.on("copy"), backup="latest")
        assert done.state == "Completed", done.error
        assert databases_of(server) == {"postgres", "copy", "template0", "template1"}


def test_a_database_whose_sessions_have_another_encoding(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """A dump is in the database's own encoding, which alone has all of its characters; its settings are read as ever."""
    source = new_database(15, "CREATE TABLE t AS SELECT '☃' AS a")
    name = source.database
    told(source, f"ALTER DATABASE {name} SET standard_conforming_strings = off", f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")  # fmt: skip
    take_backup(storage, source, clients[15])
    report = rehearsed(storage, Place("sandbox", client=clients[15]))
    assert report.verdict is Verdict.PROVEN, report.cause
    own = [s.values["parameter"] for s in read_globals(source, clients[15]).statements if s.of_database and s.kind == "setting"]  # fmt: skip
    assert own == ["standard_conforming_strings", "client_encoding"]


_COMPUTED = """
CREATE FUNCTION dayof(timestamptz) RETURNS date IMMUTABLE LANGUAGE sql AS 'SELECT $1::date';
CREATE FUNCTION styled(interval) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1::text';
CREATE TABLE ev (at timestamptz, day date GENERATED ALWAYS AS (dayof(at)) STORED, i interval,
  style text GENERATED ALWAYS AS (styled(i)) STORED, said text, b bytea, CHECK (at::date = '2026-01-11'), CHECK (said::date > '1900-01-01'),
  CHECK (i::text = 'P1D'), CHECK (b::text <> '\\x61'));
CREATE UNIQUE INDEX ON ev (dayof(at));
INSERT INTO ev (at, i, said, b) VALUES ('2026-01-10 23:30+00', '1 day', '31/12/2020', 'a');
CREATE MATERIALIZED VIEW m AS SELECT at::date AS day, '03/02/2020'::text::date AS march, to_tsvector('die häuser') AS words FROM ev;
"""
_OF_THE_SOURCE = {"timezone": "Europe/Berlin", "datestyle": "ISO, DMY", "intervalstyle": "iso_8601", "bytea_output": "escape",
                  "default_text_search_config": "pg_catalog.german"}  # fmt: skip


def with_settings(new_database: NewDatabase, major: int, script: str, **settings: str) -> Server:
    """A database with some session settings, and a script that runs under them."""
    source = new_database(major)
    with source.connect(own_names=True) as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER DATABASE {{}} SET {name} = {{value}}", source.database, value=value)
    with source.connect(own_names=True) as connection:
        connection.execute(script.replace("{", "{{").replace("}", "}}"))
    return source


@pytest.mark.parametrize("major", [15, 18])
def test_values_are_computed_as_on_the_source(
    major: int, new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A row's checks, generated columns, indexes and materialized views are computed with the source's settings."""
    source = with_settings(new_database, major, _COMPUTED, **_OF_THE_SOURCE)
    take_backup(storage, source, clients[major])
    for place in (Place("sandbox", client=clients[major]), Place("database", server=source)):
        report = rehearsed(storage, place)
        assert (report.verdict, report.cause) == (Verdict.PROVEN, "")
    copy = source.on(f"{source.database}_copy")
    done = flow_run(restore, to=copy, backup="latest")
    assert done.state == "Completed", done.error
    try:
        query = "SET timezone = UTC; SET datestyle = iso; SELECT e.day, style, m.* FROM ev e, m"
        assert psql(clients[major], copy, query) == psql(clients[major], source, query)
    finally:
        told(source.on("postgres"), f"DROP DATABASE {copy.database}")


_AMOUNTS_IN_CODE = """
CREATE TABLE p (v numeric, CHECK (v::money < '$ 12,50'::money)); INSERT INTO p VALUES (3);
CREATE VIEW vv AS SELECT '$ 2,50'::money::numeric AS a;
CREATE FUNCTION f(m money DEFAULT '$ 3,50') RETURNS numeric LANGUAGE sql AS 'SELECT $1::numeric';
"""


def test_amounts_that_no_column_holds(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """A constant in a view, a check or a default can be money too."""
    source = with_settings(new_database, 15, _AMOUNTS_IN_CODE, lc_monetary="es_CO.utf8")
    take_backup(storage, source, clients[15])
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict is Verdict.PROVEN
    copy = source.on(f"{source.database}_copy")
    done = flow_run(restore, to=copy, backup="latest")
    assert done.state == "Completed", done.error
    try:
        assert psql(clients[15], copy, "SELECT a, f() FROM vv") == "2.50|3.50\n"
    finally:
        told(source.on("postgres"), f"DROP DATABASE {copy.database}")


_UNITS = "CREATE EXTENSION unit; CREATE TABLE u (v unit); INSERT INTO u VALUES ('5 m/s^2'), ('90 min'), ('5000 B')"


def test_settings_of_an_extension_print_the_copy_as_well(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """Extensions have their own settings that affect how they print values."""
    source = with_settings(new_database, 15, _UNITS, **{"unit.output_superscript": "on", "unit.byte_output_iec": "on"})
    take_backup(storage, source, clients[15])
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict is Verdict.PROVEN
    copy = source.on(f"{source.database}_copy")
    done = flow_run(restore, to=copy, backup="latest")
    assert done.state == "Completed", done.error
    told(source.on("postgres"), f"DROP DATABASE {copy.database}")


def test_settings_of_an_extension_in_the_servers_own_file(clients: Clients, storage: ObjectStore) -> None:
    """Extension settings in postgresql.conf are carried over too."""
    with running_server(clients[15], port=free_ports(1)[0], settings={"unit.output_superscript": "on"}) as source:
        told(source, _UNITS)
        assert take_backup(storage, source, clients[15]).source_settings["unit.output_superscript"] == "on"
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict is Verdict.PROVEN


def test_settings_of_an_extension_and_a_pooler(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """A drill whose server refuses session settings says so, without a verdict on the backup."""
    source = with_settings(new_database, 15, _UNITS, **{"unit.output_superscript": "on"})
    take_backup(storage, source, clients[15])
    port = free_ports(1)[0]
    with pooler(source, port, "session"):
        report = rehearsed(storage, Place("database", server=at(source, port)))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "unit.output_superscript, and a pooler accepts no session settings" in report.cause


def test_an_abbreviation_of_a_time_zone(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore, flow_run: FlowRun
) -> None:
    """IST means the source's time zone in a generated column and a check."""
    script = """
    CREATE FUNCTION moment(t text) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS 'SELECT t::timestamptz';
    CREATE TABLE g (t text CHECK (t::timestamptz < '2024-01-01 08:00+00'), at timestamptz GENERATED ALWAYS AS (moment(t)) STORED);
    INSERT INTO g VALUES ('2024-01-01 12:00 IST')"""
    source = with_settings(new_database, 15, script, timezone_abbreviations="India")
    take_backup(storage, source, clients[15])
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict is Verdict.PROVEN
    copy = source.on(f"{source.database}_copy")
    done = flow_run(restore, to=copy, backup="latest")
    assert done.state == "Completed", done.error
    try:
        query = "SET timezone = UTC; SELECT at FROM g"
        assert psql(clients[15], copy, query) == psql(clients[15], source, query)
    finally:
        told(source.on("postgres"), f"DROP DATABASE {copy.database}")


@pytest.mark.parametrize(("check", "named"), [
    ("t = coalesce(current_setting('platform.region', true), '')", "the setting platform.region"),
    ("t = region()", "the setting platform.region"),
    ("d = current_database()", "current_database"),
])  # fmt: skip
def test_a_check_that_asks_its_place(
    check: str, named: str, new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """The copy has another name and not every setting of the source: that says nothing about the backup."""
    script = f"""
    CREATE FUNCTION region() RETURNS text LANGUAGE sql AS $$ SELECT coalesce(current_setting('platform.region', true), '') $$;
    CREATE TABLE c (t text, d text, CHECK ({check})); INSERT INTO c VALUES ('eu', current_database())"""
    source = with_settings(new_database, 15, script, **{"platform.region": "eu"})
    take_backup(storage, source, clients[15])
    report = rehearsed(storage, Place("sandbox", client=clients[15]))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert named in report.cause


def test_another_check_is_the_backups_own(new_database: NewDatabase, clients: Clients, storage: ObjectStore) -> None:
    """A setting that no check reads doesn't excuse a row that violates one."""
    script = """
    CREATE TABLE c (a int); INSERT INTO c VALUES (-1); ALTER TABLE c ADD CONSTRAINT positive CHECK (a > 0) NOT VALID;
    UPDATE pg_constraint SET convalidated = true WHERE conname = 'positive'"""
    source = with_settings(new_database, 15, script, **{"platform.region": "eu"})
    take_backup(storage, source, clients[15])
    assert rehearsed(storage, Place("sandbox", client=clients[15])).verdict is Verdict.FAILED


def test_no_value_of_the_users_own_settings_is_stored(
    new_database: NewDatabase, clients: Clients, storage: ObjectStore
) -> None:
    """A key in a setting is in no dump, so it is in no manifest either; only the setting's name is."""
    source = with_settings(
        new_database, 15, "CREATE TABLE t (a int)", **{"app.jwt_secret": "s3cr3t-key", "work_mem": "5MB"}
    )
    manifest = take_backup(storage, source, clients[15])
    assert b"s3cr3t-key" not in manifest.encode()
    assert manifest.settings_left_out == ("app.jwt_secret",)
