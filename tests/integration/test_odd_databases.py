"""Oddities of a database don't change a drill's verdict."""

from __future__ import annotations

from collections.abc import Callable

from blocks.sql.server import Server
from tests.conftest import Ended, NewDatabase, databases_of

_SCRIPT = """
CREATE TABLE files (id int PRIMARY KEY, "Content" bytea, at timestamptz, cost float8);
INSERT INTO files SELECT n, decode(md5(n::text), 'hex'), '2026-03-29 01:30:00+00'::timestamptz + n * interval '17 min', n / 3.0
FROM generate_series(1, 200) n;
"""


def test_settings_of_the_database_do_not_read_as_corruption(
    new_database: NewDatabase, command_line: Callable[..., Ended], server_of: Callable[[int], Server]
) -> None:
    """A scratch database lacks the source's settings; the rows still compare equal."""
    server = new_database(16, _SCRIPT)
    name = server.database
    with server_of(16).connect() as connection:
        for setting, value in {
            "bytea_output": "escape", "timezone": "Asia/Kathmandu", "datestyle": "German, DMY", "quote_all_identifiers": "on",
            "extra_float_digits": "-10", "intervalstyle": "iso_8601", "statement_timeout": "20ms",
            "idle_in_transaction_session_timeout": "1ms", "default_transaction_isolation": "repeatable read",
        }.items():  # fmt: skip
            connection.execute(f"ALTER DATABASE {{}} SET {setting} = {{value}}", name, value=value)
    assert command_line("backup", server=server).status == 0
    drilled = command_line("drill", server=server)
    assert drilled.status == 0, drilled.out + drilled.err


def test_a_restored_subscription_does_not_keep_the_scratch_database(
    new_database: NewDatabase, command_line: Callable[..., Ended]
) -> None:
    """PostgreSQL refuses to drop a database with a subscription; a drill cleans up all the same."""
    server = new_database(16, "CREATE TABLE t (a int)")
    with server.connect(own_names=True) as connection:
        connection.execute(
            "CREATE SUBSCRIPTION odd CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false, slot_name = 's')"
        )
    try:
        before = databases_of(server)
        assert command_line("backup", server=server).status == 0
        drilled = command_line("drill", server=server)
        assert drilled.status == 0, drilled.out + drilled.err
        assert "Failed to cleanup" not in drilled.err
        assert databases_of(server) == before
    finally:
        with server.connect(own_names=True) as connection:
            connection.execute("ALTER SUBSCRIPTION odd SET (slot_name = NONE)")
            connection.execute("DROP SUBSCRIPTION odd")
