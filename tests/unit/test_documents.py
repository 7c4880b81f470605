"""Manifests and reports of older versions can be read, and fields added by later versions are kept."""

from __future__ import annotations

import json

from tasks.engine.repository.manifest import Check, DrillReport, Manifest, PartRecord, read_manifest, read_report
from tests.unit.test_catalog import FIRST, manifest, report

LATER = {
    Manifest: ("collation_version", "schema_rules", "schema_parts", "locale_provider", "locale"),
    DrillReport: ("place", "target_version", "age_seconds", "tables", "rows", "raw_bytes", "compare_seconds"),
}


def without(document: Manifest | DrillReport) -> bytes:
    """Return a document as older versions wrote it, without the later fields."""
    fields = json.loads(document.encode())
    for name in LATER[type(document)]:
        del fields[name]
    for check in fields.get("checks", []):
        del check["seconds"]
    return json.dumps(fields).encode()


def test_older_documents_are_read() -> None:
    """Documents of an older version keep their information; what they lack is not made up."""
    old = read_manifest(without(manifest()), FIRST)
    assert (old.rows, old.collation_version, old.schema_rules, old.schema_parts) == (3, "", 1, {})
    kept = read_report(without(report(FIRST)))
    assert kept
    assert (kept.verdict, kept.place, kept.target_version, kept.contents_hold) == ("PROVEN", "", "", True)
    assert (kept.age_seconds, kept.tables, kept.rows, kept.raw_bytes, kept.compare_seconds) == (0, 0, 0, 0, 0)
    assert [(c.result, c.seconds) for c in kept.checks] == [("passed", 0)]


def test_what_later_versions_write_comes_back() -> None:
    """The later fields are kept unchanged too."""
    parts = {"indexes": PartRecord(statements=2, digest="a" * 32)}
    stored = manifest(collation_version="2.36", schema_rules=3, schema_parts=parts, locale_provider="i", locale="de")
    assert read_manifest(stored.encode(), FIRST) == stored
    check = Check(name="query: a", result="warning", evidence="said", seconds=0.25)
    full = report(FIRST).model_copy(update={
        "place": "sandbox", "target_version": "16.4", "age_seconds": 1.5, "tables": 2, "rows": 3, "raw_bytes": 1 << 45,
        "compare_seconds": 0.125, "checks": (check,),
    })  # fmt: skip
    assert read_report(full.encode()) == full
