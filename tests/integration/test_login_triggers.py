"""A login trigger changes no copy, and is active again after a restore."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Ended, NewDatabase
from tests.integration.objects import asked, new_role, role_of, told

AUDIT = """
CREATE TABLE logins (at timestamptz DEFAULT now(), who text);
CREATE FUNCTION note_login() RETURNS event_trigger LANGUAGE plpgsql AS
  $f$ BEGIN INSERT INTO public.logins (who) VALUES (session_user); END $f$;
CREATE EVENT TRIGGER note_login ON login EXECUTE FUNCTION note_login();
ALTER EVENT TRIGGER note_login ENABLE ALWAYS;
"""


@pytest.mark.parametrize("place", ["sandbox", "database"])
def test_logins_of_a_drill_write_no_rows(
    new_database: NewDatabase, command_line: Callable[..., Ended], place: str
) -> None:
    """A drill's sessions don't fire login triggers: the added rows would make a good backup FAILED."""
    source = new_database(17, AUDIT)
    assert command_line("backup", server=source).status == 0
    assert command_line("drill", server=source, VERIFY_TARGET=place).status == 0


def test_triggers_fire_again_after_a_restore(new_database: NewDatabase, command_line: Callable[..., Ended]) -> None:
    """The setting that silenced them is removed when the restored database gets its name."""
    source, target = new_database(17, AUDIT), new_database(17)
    assert command_line("backup", server=source).status == 0
    assert command_line("restore", "latest", "--to", target.url.get_secret_value(), server=source).status == 0
    before, after = (asked(target, "SELECT count(*) FROM logins")[0][0] for _ in range(2))
    assert after == before + 1


AUDITED_BY_NAME = """
CREATE TABLE audit (who text); GRANT ALL ON audit TO PUBLIC;
CREATE FUNCTION note_login() RETURNS event_trigger LANGUAGE plpgsql AS
  $f$ BEGIN INSERT INTO public.audit VALUES (upper(session_user::text)); END $f$;
CREATE EVENT TRIGGER note_login ON login EXECUTE FUNCTION note_login();
CREATE SCHEMA evil AUTHORIZATION {owner};
"""


def test_no_login_of_ours_finds_what_an_owner_made(
    new_database: NewDatabase, command_line: Callable[..., Ended]
) -> None:
    """Login triggers use the session's search_path: our sessions, pg_dump and psql never start with the database's."""
    source = new_database(17)
    owner = new_role(source)
    name = role_of(owner)
    told(source, AUDITED_BY_NAME.format(owner=name), f"ALTER DATABASE {source.database} OWNER TO {name}")
    told(
        owner,
        f"CREATE FUNCTION evil.upper(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN ALTER ROLE {name} SUPERUSER; RETURN $1; EXCEPTION WHEN OTHERS THEN RETURN $1; END'",
        f"ALTER DATABASE {source.database} SET search_path = evil, pg_catalog",
    )
    assert command_line("check", server=source).status == 0
    assert command_line("backup", server=source).status == 0
    assert (
        command_line("restore", "latest", "--replace", "--to", source.url.get_secret_value(), server=source).status == 0
    )
    assert asked(source.on("postgres"), "SELECT rolsuper FROM pg_roles WHERE rolname = %s", name) == [(False,)]
