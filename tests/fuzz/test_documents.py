"""A manifest or report comes back as it was written; anything else in its place is refused or does no harm."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.errors import BackupDamaged
from tasks.engine.repository.manifest import (
    Check,
    DrillReport,
    Manifest,
    PartRecord,
    SequenceRecord,
    TableRecord,
    Verdict,
    read_manifest,
    read_report,
)
from tests.fuzz import fuzzed
from tests.unit.test_catalog import FIRST, NOW, manifest, report

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
COUNTS = st.integers(0, 2**63 - 1)
DIGESTS = st.from_regex("[0-9a-f]{32}", fullmatch=True)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(9998, 1, 1), timezones=ZONES)  # noqa: DTZ001
SECONDS = st.floats(0, 1e12)
TABLES = st.builds(
    TableRecord, name=TEXTS, columns=st.lists(TEXTS, max_size=3).map(tuple), rows=COUNTS, digest=DIGESTS, raw_bytes=COUNTS,
    member_offset=COUNTS, skip_bytes=COUNTS,
)  # fmt: skip
MANIFESTS = st.builds(
    manifest, **dict.fromkeys(("tool", "tool_version", "plan", "database", "server_version", "client_version", "encoding", "collation", "character_type", "locale_provider", "locale", "collation_version", "compression"), TEXTS),
    **dict.fromkeys(("raw_bytes", "object_bytes", "schema_statements", "large_objects"), COUNTS),
    **dict.fromkeys(("schema_digest", "large_object_digest"), DIGESTS), started_at=MOMENTS, ended_at=MOMENTS,
    sha256=st.from_regex("[0-9a-f]{64}", fullmatch=True), schema_rules=st.integers(1, 99),
    schema_parts=st.dictionaries(TEXTS, st.builds(PartRecord, statements=COUNTS, digest=DIGESTS), max_size=3),
    tables=st.lists(TABLES, max_size=4).map(tuple),
    sequences=st.lists(st.builds(SequenceRecord, name=TEXTS, value=st.integers(-(2**63), 2**63 - 1), called=st.booleans()), max_size=3).map(tuple),
    extensions=st.dictionaries(TEXTS, TEXTS, max_size=3), roles=st.lists(TEXTS, max_size=3).map(tuple),
)  # fmt: skip
CHECKS = st.builds(
    Check,
    name=TEXTS,
    result=st.sampled_from(["passed", "failed", "warning", "not possible"]),
    evidence=TEXTS,
    seconds=SECONDS,
)
REPORTS = st.builds(
    DrillReport, **dict.fromkeys(("tool_version", "backup", "cause", "place", "target_version"), TEXTS), verdict=st.sampled_from(Verdict),
    checks=st.lists(CHECKS, max_size=4).map(tuple), started_at=MOMENTS, **dict.fromkeys(("tables", "rows", "raw_bytes"), COUNTS),
    **dict.fromkeys(("age_seconds", "restore_seconds", "compare_seconds", "seconds"), SECONDS),
)  # fmt: skip

# As JSON text, because Python objects can't express everything that can be stored.
DEEP = "[" * 5000 + "]" * 5000
VALUES = st.sampled_from([
    "null", "true", "0", "-1", "1.5", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 30, "9" * 4299, "9" * 5000, "1e4000", '""', '"x"', '"NaN"',
    '"1"', "[]", "{}", "[[]]", '{"a": 1}', DEEP, '"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\u001b[31m"', '"' + "x" * 100_000 + '"', '"2026-01-01"',
    '"2026-01-01T00:00:00"', '"9999-12-31T23:59:59-14:00"', '"0001-01-01T00:00:00+14:00"', '"-1"', "1e18", '"PROVEN"', '"' + "f" * 32 + '"', "",
]) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
).map(json.dumps)  # fmt: skip
MARK = "the place of another value"


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return every place in a document."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(deeper for key, value in inside for deeper in places(value, (*path, key)))]


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return the document with another value in a place."""
    if not path:
        return value
    changed: Any = dict(document) if isinstance(document, dict) else list(document)
    changed[path[0]] = replaced(document[path[0]], path[1:], value)
    return changed


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A document with a value, a key or some of its bytes exchanged, duplicated or removed."""
    document = json.loads(whole)
    kind = draw(st.sampled_from(["value", "value", "value", "key", "double", "bytes", "cut"]))
    if kind == "bytes":
        at = draw(st.integers(0, len(whole)))
        return whole[:at] + draw(st.binary(max_size=6)) + whole[at + draw(st.integers(0, 30)) :]
    if kind == "cut":
        return whole[: draw(st.integers(0, len(whole)))]
    if kind == "value":
        at_place = draw(st.sampled_from(places(document)))
        text = json.dumps(replaced(document, at_place, MARK))
        return text.replace(f'"{MARK}"', draw(VALUES)).encode(errors="surrogatepass")
    name = draw(st.sampled_from(sorted(document)))
    if kind == "key":
        value = document.pop(name)
        return json.dumps({**document, draw(st.text(max_size=9)): value}).encode()
    return (json.dumps(document)[:-1] + f", {json.dumps(name)}: {draw(VALUES)}}}").encode(errors="surrogatepass")


MANIFEST = manifest(schema_parts={"indexes": PartRecord(statements=1, digest="0" * 32)}).encode()
REPORT = report(FIRST).encode()


@fuzzed
@given(MANIFESTS)
def test_any_manifest_comes_back(stored: Manifest) -> None:
    """Manifests with odd names, huge counts, and times of any zone and year survive a round trip."""
    assert read_manifest(stored.encode(), FIRST) == stored


@fuzzed
@given(REPORTS)
def test_any_report_comes_back(stored: DrillReport) -> None:
    """A report survives a round trip whatever its checks have as evidence."""
    assert read_report(stored.encode()) == stored


@fuzzed
@given(damaged(MANIFEST))
@example(MANIFEST.replace(b'"2026-11-21T02:07:13Z"', b'"2026-11-21T02:07:13"'))
@example(MANIFEST.replace(b'"rows": 3', b'"rows": ' + b"9" * 4299))
@example(MANIFEST.replace(b'"citext": "1.6"', b'"' + b"x" * 100_000 + b'": 5'))
def test_a_manifest_with_anything_in_it(data: bytes) -> None:
    """What is read can be shown, calculated with and rewritten; the rest is damage, reported in a short sentence."""
    try:
        read = read_manifest(data, FIRST)
    except BackupDamaged as error:
        assert error.check == "manifest"
        assert len(error.sentence) < 500
        assert "\x1b" not in error.sentence
        return
    assert read_manifest(read.encode(), FIRST) == read
    assert str(read.rows).isdecimal()
    assert isinstance((NOW - read.started_at) + (read.ended_at - read.started_at), timedelta)


@fuzzed
@given(damaged(REPORT))
@example(REPORT.replace(b'"seconds": 2.5', b'"seconds": NaN'))
@example(REPORT.replace(b'"2026-11-21T02:07:13Z"', b'"2026-11-21T02:07:13"'))
def test_a_report_with_anything_in_it(data: bytes) -> None:
    """What is read can be shown, calculated with and rewritten; anything else is not a report."""
    read = read_report(data)
    if read:
        assert read_report(read.encode()) == read
        assert read.summary()
        assert isinstance(NOW - read.started_at, timedelta)
        assert isinstance(int(read.seconds), int)


@pytest.mark.parametrize("whole", [MANIFEST, REPORT], ids=["manifest", "report"])
def test_a_document_that_was_cut(whole: bytes) -> None:
    """A truncated document never passes for a complete one."""
    for length in range(len(whole.rstrip())):
        assert read_report(whole[:length]) is None
        with pytest.raises(BackupDamaged):
            read_manifest(whole[:length], FIRST)


@fuzzed
@given(st.sampled_from([MANIFEST, REPORT]), st.text(max_size=9), st.data())
def test_fields_of_a_later_version(whole: bytes, name: str, data: st.DataObject) -> None:
    """As docs/format.md says: unknown fields are ignored wherever they occur, and another format is not read."""
    document = json.loads(whole)
    objects = [place for place in places(document) if isinstance(_at(document, place), dict) and _has_fields(place)]
    place = data.draw(st.sampled_from(objects))
    richer = {
        f"later {name}": data.draw(st.none() | st.integers() | st.lists(st.text(max_size=3))),
        **_at(document, place),
    }
    text = json.dumps(replaced(document, place, richer)).encode()
    other = json.dumps({**document, "format": data.draw(st.integers().filter(lambda n: n != 1))}).encode()
    if whole is MANIFEST:
        assert read_manifest(text, FIRST) == read_manifest(whole, FIRST)
        with pytest.raises(BackupDamaged, match="format"):
            read_manifest(other, FIRST)
    else:
        assert read_report(text) == read_report(whole)
        assert read_report(other) is None


def _at(document: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        document = document[key]
    return document


def _has_fields(place: tuple[Any, ...]) -> bool:
    """Return whether an object has fixed fields, rather than mapping arbitrary names."""
    return not place or place[-1] not in ("extensions", "schema_parts", "source_settings")
