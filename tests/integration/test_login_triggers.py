"""A trigger that fires at a login changes no copy, and is there again after a restore."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Ended, NewDatabase
from tests.integration.objects import asked

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
    """Each session of a drill would add a row to the copy, and the backup be called FAILED for it."""
    source = new_database(17, AUDIT)
    assert command_line("backup", server=source).status == 0
    assert command_line("drill", server=source, VERIFY_TARGET=place).status == 0


def test_triggers_fire_again_after_a_restore(new_database: NewDatabase, command_line: Callable[..., Ended]) -> None:
    """What kept them silent goes when the restored database gets its name."""
    source, target = new_database(17, AUDIT), new_database(17)
    assert command_line("backup", server=source).status == 0
    assert command_line("restore", "latest", "--to", target.url.get_secret_value(), server=source).status == 0
    before, after = (asked(target, "SELECT count(*) FROM logins")[0][0] for _ in range(2))
    assert after == before + 1
