"""A database counts as restored only if it is what a restore makes: one with the same rows, or without tables, may be another."""

from __future__ import annotations

import pytest

from tasks.engine.drill.already import agrees
from tasks.engine.drill.rewording import Reading
from tasks.engine.dump.summary import DumpSummary
from tasks.engine.repository.manifest import SequenceRecord
from tests.unit.test_round_trip import FUNCTION, INDEX, TABLE, manifest_of, scanned

ROWS = "COPY public.t (a) FROM stdin;\n1\n2\n\\."
VIEW = "CREATE VIEW public.v AS\n SELECT 2 AS b;"
SEQUENCE = "CREATE SEQUENCE public.s;"
AT = "SELECT pg_catalog.setval('public.s', {}, true);"


def there_already(stored: DumpSummary, there: DumpSummary) -> tuple[bool, bool]:
    """Whether it agrees with a backup that holds `stored`, and whether that had to be read for it."""
    readings: list[DumpSummary] = []
    stands = [SequenceRecord(name=n, value=v, called=c) for n, (v, c) in stored.sequences.items()]
    known = {"tables": tuple(stored.tables.values()), "sequences": tuple(stands)}
    manifest = manifest_of(stored).model_copy(update=known)

    def read() -> DumpSummary:
        readings.append(stored)
        return stored

    return agrees(manifest, there, read, lambda _: Reading(there)), bool(readings)


@pytest.mark.parametrize(
    "statements", [(), (FUNCTION.format(1), VIEW), (TABLE, ROWS, INDEX), (SEQUENCE, AT.format(3), TABLE, ROWS)]
)
def test_what_a_restore_made(statements: tuple[str, ...]) -> None:
    """The same by the same version is known by its digests alone; by another, once the backup is read."""
    assert there_already(scanned("16.4", *statements), scanned("16.4", *statements)) == (True, False)
    worded = [text.replace("SELECT 2 AS b", "SELECT (2) AS b") for text in statements]
    assert there_already(scanned("16.4", *statements), scanned("17.2", *worded)) == (True, worded != [*statements])


@pytest.mark.parametrize("version", ["16.4", "17.2"])
@pytest.mark.parametrize(
    ("backup", "database"),
    [
        ((FUNCTION.format(1), VIEW), (VIEW.replace(".v", ".unrelated"),)),
        ((FUNCTION.format(1),), ()),
        ((), (VIEW,)),
        ((TABLE, ROWS, INDEX, VIEW), (TABLE, ROWS)),
        ((TABLE, ROWS), (TABLE, ROWS, INDEX)),
        ((TABLE, ROWS, SEQUENCE, AT.format(3)), (TABLE, ROWS, SEQUENCE, AT.format(4))),
    ],
)
def test_what_no_restore_made(version: str, backup: tuple[str, ...], database: tuple[str, ...]) -> None:
    """What is missing, added, or at another value makes it another database, even with the same rows."""
    assert there_already(scanned("16.4", *backup), scanned(version, *database)) == (False, True)


def test_other_rows() -> None:
    """They are enough: the backup is not read."""
    assert there_already(scanned("16.4", TABLE, ROWS), scanned("16.4", TABLE, ROWS.replace("2", "3"))) == (False, False)
