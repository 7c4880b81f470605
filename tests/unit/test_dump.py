"""pg_dump's messages tell whether retrying can help."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import DatabaseUnreachable, DumpFailed, NoSpaceLeft, PgRoundtripError
from tasks.engine.dump.pg_dump import DumpSource

QUERY = "pg_dump: error: query failed: ERROR:  "
SAID = {
    'relation "public.t" does not exist': (DumpFailed, True),
    "cache lookup failed for index 16411": (DumpFailed, True),
    "could not open relation with OID 16411": (DumpFailed, True),
    "deadlock detected": (DumpFailed, True),
    "canceling statement due to conflict with recovery": (DumpFailed, True),
    "canceling statement due to statement timeout": (DumpFailed, True),
    "permission denied for table closed": (DumpFailed, False),
    "server closed the connection unexpectedly": (DatabaseUnreachable, True),
    "could not receive data from server: Connection timed out": (DatabaseUnreachable, True),
    "could not send data to server: No route to host": (DatabaseUnreachable, True),
    "SSL error: unexpected eof while reading": (DatabaseUnreachable, True),
    "SSL connection has been closed unexpectedly": (DatabaseUnreachable, True),
    "no connection to the server": (DatabaseUnreachable, True),
    "could not write to file: No space left on device": (NoSpaceLeft, False),
}


class Failed:
    """A pg_dump that has exited."""

    timed_out = False

    def __init__(self, said: str) -> None:
        self._said = said

    def wait(self) -> int:
        return 1

    def error_summary(self) -> str:
        return self._said


@pytest.mark.parametrize("said", SAID)
def test_what_may_help(said: str) -> None:
    """Concurrent changes to the database are over at the next attempt; a missing privilege isn't."""
    expected, transient = SAID[said]
    child: Any = Failed(QUERY + said)
    with pytest.raises(PgRoundtripError) as raised:
        DumpSource(child).check_end()
    assert (type(raised.value), raised.value.transient) == (expected, transient)
    assert said in raised.value.context
    assert raised.value.hint
