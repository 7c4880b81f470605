"""docs/format.md is a promise to authors of other readers: it names every field written, and its code can read one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from pydantic import BaseModel

from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.evidence.certificate import BackupSeen, Certificate, Drill, GlobalsSeen, Listed, Restore
from tasks.engine.repository.manifest import (
    Acknowledgement,
    Anomaly,
    Check,
    DrillReport,
    Manifest,
    PartRecord,
    SequenceRecord,
    TableRecord,
)
from tasks.engine.repository.outline import StoredFile
from tasks.engine.repository.sealed_manifest import SealedManifest
from tasks.engine.repository.sets import BackupSet, LeftAlone, SetMember
from tasks.engine.stream.gzip_members import BLOCK_BYTES, compressor

DOCUMENT = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
PARTS_OF_A_CERTIFICATE = {"backup": BackupSeen, "drill": Drill, "restore": Restore, "backups": Listed}
PARTS_OF_A_MANIFEST = {
    "tables": TableRecord,
    "sequences": SequenceRecord,
    "schema_parts": PartRecord,
    "anomalies": Anomaly,
}


def rows(heading: str, number: int = 1) -> dict[str, str]:
    """Return the table under a heading: the names in its first column, each with its meaning."""
    table = DOCUMENT.partition(f"\n## {heading}, format {number}\n")[2].partition("\n| field |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?`) \| (.*) \|$", table, re.MULTILINE)
    return {name: meaning for names, meaning in cells for name in re.findall(r"`(.*?)`", names)}


@pytest.mark.parametrize(
    ("heading", "document", "parts"),
    [
        ("The manifest", Manifest, PARTS_OF_A_MANIFEST),
        ("The drill report", DrillReport, {"checks": Check}),
        ("The certificate", Certificate, PARTS_OF_A_CERTIFICATE),
        ("The acknowledgement", Acknowledgement, {}),
        ("The set", BackupSet, {"members": SetMember, "left_alone": LeftAlone}),
    ],
)
def test_every_field_is_described(heading: str, document: type[BaseModel], parts: dict[str, type[BaseModel]]) -> None:
    """The document describes all fields of the documents and their nested records, and no others."""
    described = rows(heading)
    assert set(described) == set(document.model_fields)
    for name, part in parts.items():
        assert {f"`{field}`" for field in part.model_fields} <= set(re.findall("`.*?`", described[name]))


def test_the_open_part_is_described() -> None:
    """Whoever has no key reads what is in the open part of a manifest."""
    assert set(rows("The manifest of an encrypted backup", 2)) == set(SealedManifest.model_fields)
    described = rows("The manifest of an encrypted backup", 2)["companion"]
    assert {f"`{field}`" for field in StoredFile.model_fields} <= set(re.findall("`.*?`", described))


def test_roles_and_settings_in_a_certificate_are_described() -> None:
    """They are a part of a part: whether they were proven, and which file they are."""
    inside = rows("The certificate")["drill"].partition("`globals` (")[2].partition("`report` ")[0]
    assert {f"`{field}`" for field in GlobalsSeen.model_fields} <= set(re.findall("`.*?`", inside))


def chunks(data: bytes, size: int) -> Iterable[bytes]:
    """A stream that is cut at any positions."""
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 1000, 1 << 30])
def test_one_table_is_read_as_it_says(size: int) -> None:
    """The document's own code finds the rows of a table that begins in one member and ends in another."""
    block = b"COPY public.t (a) FROM stdin;\n" + b"".join(b"%d\n" % n for n in range(1000)) + b"\\.\n"
    sql = b"-- " + b"x" * (BLOCK_BYTES - 2000) + b"\n" + block + b"SELECT 1;\n" * (BLOCK_BYTES // 5)
    scanner = DumpScanner()
    scanner.feed(sql)
    table = scanner.finish().tables["public.t"]
    stored = b"".join(map(compressor(1), chunks(sql, BLOCK_BYTES)))
    code: dict[str, Callable[..., bytes]] = {}
    exec(re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[0], code)  # noqa: S102  (it is ours)
    assert table.start < BLOCK_BYTES < table.start + table.raw_bytes
    assert code["copy_block"](chunks(stored, size), table.start, table.raw_bytes) == block
