"""A dump reaches the storage whole and in order, or leaves nothing there."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from blocks.errors import BackupError, DumpFailed, StorageUnreachable
from tasks.engine.dump.scanner import DumpScanner
from tasks.engine.stream import pipeline
from tasks.engine.stream.gzip_members import BLOCK_BYTES, decompress
from tasks.engine.stream.pipeline import scan_dump, stream_dump
from tests.unit.sql import copy, dump, scan

WORKERS = pipeline.compressors()
# What can be in flight at once: the queue, the member being written and the one waiting for a place.
UNDER_WAY = 2 * WORKERS + 2 + 2


@dataclass
class FakeSource:
    """A program's output through a real pipe, and its exit status."""

    output: int
    error: Exception | None = None
    checked: int = 0

    def check_end(self) -> None:
        self.checked += 1
        if self.error:
            raise self.error


@dataclass
class FakeSink:
    """An in-memory storage that can fail or block at a write, and records what was requested of it."""

    fail_at: int | None = None
    fail_on_complete: bool = False
    wait: Callable[[], object] = lambda: None
    writes: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes) -> None:
        self.wait()
        if len(self.writes) == self.fail_at:
            raise StorageUnreachable("at a write")
        self.writes.append(data)

    def complete(self) -> None:
        self.asked.append("complete")
        if self.fail_on_complete:
            raise StorageUnreachable("at the end")

    def abort(self) -> None:
        self.asked.append("abort")


@contextmanager
def source_of(data: bytes, error: Exception | None = None) -> Iterator[FakeSource]:
    """Write the data into a pipe from a separate thread, in odd chunks, as long as it is read."""
    reading, writing = os.pipe()

    def write() -> None:
        view, sizes = memoryview(data), random.Random(5)
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            try:
                while view:
                    view = view[pipe.write(view[: sizes.randint(1, 300_000)]) :]
            except BrokenPipeError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield FakeSource(reading, error)
    finally:
        os.close(reading)
        writer.join()


def noise(size: int, seed: int = 1) -> bytes:
    """Rows that don't compress, so that every member has a different size."""
    rows = random.Random(seed).randbytes(size // 2).hex()
    return b"".join(b"%d\t%s\n" % (n, rows[at : at + 1000].encode()) for n, at in enumerate(range(0, len(rows), 1000)))


@pytest.fixture(scope="module")
def large() -> bytes:
    """A dump of about twenty blocks with tables that begin in many of them."""
    tables = [copy(f"public.t{n}", [noise(n * 150_000, n)]) for n in range(16)]
    return dump(*tables[::2], b"SELECT 1;\n", *tables[1::2])


@pytest.mark.parametrize("level", [1, 6, 9])
def test_what_went_in_comes_out(large: bytes, level: int) -> None:
    """The object is the dump in gzip, in order, with the reported size, checksum and summary."""
    sink = FakeSink()
    with source_of(large) as source:
        result = stream_dump(source, sink, level)
    assert gzip.decompress(sink.data) == large
    assert sink.asked == ["complete"]
    assert source.checked == 1
    assert (result.object_bytes, result.sha256) == (len(sink.data), hashlib.sha256(sink.data).hexdigest())
    assert result.summary == scan(large)
    assert result.summary.problem == ""


def test_members_keep_their_order(large: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that takes longer to compress than those after it still comes first."""
    held, others = threading.Event(), []

    def slow_first(block: bytes) -> bytes:
        if block == large[:BLOCK_BYTES]:
            assert held.wait(60)
        else:
            others.append(block)
            if len(others) >= WORKERS:
                held.set()
        return gzip.compress(block, 1)

    monkeypatch.setattr(pipeline, "compressor", lambda _: slow_first)
    sink = FakeSink()
    with source_of(large) as source:
        stream_dump(source, sink, 1)
    assert gzip.decompress(sink.data) == large


def test_a_host_with_many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for blocks does not grow with the host's cores, of which a container may use few."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(192)))
    assert pipeline.compressors() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert pipeline.compressors() == 2


def test_members_have_one_block_each(large: bytes) -> None:
    """However the pipe delivers it, every member but the last holds exactly 1 MiB of SQL."""
    sink = FakeSink()
    with source_of(large) as source:
        stream_dump(source, sink, 1)
    sizes = [len(gzip.decompress(member)) for member in sink.writes]
    assert set(sizes[:-1]) == {BLOCK_BYTES}
    assert 0 < sizes[-1] <= BLOCK_BYTES


def test_a_table_is_found_by_its_offsets(large: bytes) -> None:
    """From a table's member, after the bytes to skip, its COPY statement and all of its rows can be read."""
    sink = FakeSink()
    with source_of(large) as source:
        result = stream_dump(source, sink, 1)
    assert len(result.summary.tables) == 16
    assert len({result.locate(table.start)[0] for table in result.summary.tables.values()}) > 8
    for name, table in result.summary.tables.items():
        offset, skip = result.locate(table.start)
        plain = b"".join(decompress([sink.data[offset:]]))
        wanted = plain[skip : skip + table.raw_bytes]
        assert wanted.startswith(f"COPY {name} (a, b) FROM stdin;\n".encode())
        assert wanted.endswith(b"\n\\.\n")
        alone = scan(dump(wanted)).tables[name]
        assert (alone.rows, alone.digest) == (table.rows, table.digest)


@pytest.mark.parametrize("before", range(-40, 3, 3))
def test_a_copy_statement_across_two_members(before: int) -> None:
    """A table whose COPY statement spans two members is indexed where the statement begins."""
    head = dump().index(b"--\n-- PostgreSQL database dump complete")
    filling = b"-- " + b"x" * (BLOCK_BYTES - head - 4 + before) + b"\n"
    text = dump(filling, copy("public.t", [b"1\t2\n"]))
    sink = FakeSink()
    with source_of(text) as source:
        result = stream_dump(source, sink, 1)
    start = result.summary.tables["public.t"].start
    assert start == BLOCK_BYTES + before
    offset, skipped = result.locate(start)
    assert b"".join(decompress([sink.data[offset:]]))[skipped:].startswith(b"COPY public.t ")


def test_a_source_that_fails_at_its_end(large: bytes) -> None:
    """A dump that dies after all of its output leaves no object: only its exit code tells."""
    sink = FakeSink()
    with source_of(large, DumpFailed("it died")) as source, pytest.raises(DumpFailed, match="it died"):
        stream_dump(source, sink, 1)
    assert sink.asked == ["abort"]


@pytest.mark.parametrize("size", [0, 10, BLOCK_BYTES, 5 * BLOCK_BYTES + 1])
def test_a_source_that_fails_after_any_output(large: bytes, size: int) -> None:
    """A dump that dies midway leaves no object, and the error is its own."""
    sink = FakeSink()
    with source_of(large[:size], DumpFailed("it died")) as source, pytest.raises(DumpFailed):
        stream_dump(source, sink, 1)
    assert sink.asked == ["abort"]


@pytest.mark.parametrize("write", [0, 1, 7])
@pytest.mark.timeout(60)
def test_a_storage_that_fails_midway(large: bytes, write: int) -> None:
    """A failed write ends the dump at once, with the storage's error, and nothing hangs."""
    sink = FakeSink(fail_at=write)
    with source_of(large * 20) as source, pytest.raises(StorageUnreachable, match="at a write"):
        stream_dump(source, sink, 1)
    assert sink.asked == ["abort"]
    assert len(sink.writes) == write
    assert source.checked == 0


@pytest.mark.timeout(60)
def test_a_storage_that_fails_at_the_last_write(large: bytes) -> None:
    """An error that comes after everything has been read is not lost."""
    members = -(-len(large) // BLOCK_BYTES)
    sink = FakeSink(fail_at=members - 1)
    with source_of(large) as source, pytest.raises(StorageUnreachable, match="at a write"):
        stream_dump(source, sink, 1)
    assert sink.asked == ["abort"]


def test_a_storage_that_fails_to_complete() -> None:
    """When the object can't be made visible, its upload is aborted."""
    sink = FakeSink(fail_on_complete=True)
    with source_of(dump()) as source, pytest.raises(StorageUnreachable, match="at the end"):
        stream_dump(source, sink, 1)
    assert sink.asked == ["complete", "abort"]


@pytest.mark.parametrize("broken", ["compressor", "DumpScanner.feed", "DumpScanner.finish"])
@pytest.mark.timeout(60)
def test_any_stage_that_fails(large: bytes, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the scanner or the compression is raised unchanged, and leaves nothing behind."""

    def fail(*_: object) -> bytes:
        raise ZeroDivisionError(broken)

    monkeypatch.setattr(f"tasks.engine.stream.pipeline.{broken}", (lambda _: fail) if broken == "compressor" else fail)
    sink = FakeSink()
    with source_of(large) as source, pytest.raises(ZeroDivisionError, match=broken):
        stream_dump(source, sink, 1)
    assert sink.asked == ["abort"]


@pytest.mark.timeout(60)
def test_a_slow_storage_holds_the_dump_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the storage is blocked, only as much as fits the queue is read: memory doesn't grow with the database."""
    read, may_write, full = 0, threading.Event(), threading.Event()
    real = pipeline._read_block

    def counted(descriptor: int) -> bytes:
        nonlocal read
        block = real(descriptor)
        read += 1
        if read >= UNDER_WAY:
            full.set()
        return block

    monkeypatch.setattr(pipeline, "_read_block", counted)
    text = dump(b"-- " + b"x" * (4 * UNDER_WAY * BLOCK_BYTES) + b"\n")
    sink = FakeSink(wait=lambda: may_write.wait(60))
    most = []

    def let_go() -> None:
        full.wait(60)
        # A reader that didn't stop would have read on by now.
        may_write.wait(0.3)
        most.append(read)
        may_write.set()

    waker = threading.Thread(target=let_go)
    waker.start()
    with source_of(text) as source:
        stream_dump(source, sink, 1)
    waker.join()
    assert most[0] <= UNDER_WAY
    assert read > 4 * UNDER_WAY


@pytest.mark.parametrize(("text", "reason"), [
    (dump(copy("public.t", [b"1\t2\n"]))[:-60], "the dump is incomplete"), (b"", "pg_dump wrote nothing"), (dump(b"\\! date\n"), "a psql command"),
])  # fmt: skip
def test_a_dump_that_could_not_be_restored_is_not_kept(text: bytes, reason: str) -> None:
    """Although pg_dump exited with 0, a dump without its end or with a psql command leaves no object."""
    sink = FakeSink()
    with source_of(text) as source, pytest.raises(BackupError, match=reason):
        stream_dump(source, sink, 1)
    assert sink.asked == ["abort"]


def test_progress_is_told(large: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long dumps report progress; the numbers only grow."""
    monkeypatch.setattr(pipeline, "_PROGRESS_EVERY_S", 0)
    told: list[tuple[int, int]] = []
    with source_of(large) as source:
        result = stream_dump(source, FakeSink(), 1, lambda raw, stored: told.append((raw, stored)))
    assert [raw for raw, _ in told] == sorted({raw for raw, _ in told})
    assert told[-1][0] == len(large)
    assert all(before[1] <= after[1] for before, after in itertools.pairwise(told))
    assert told[-1][1] <= result.object_bytes


def test_scanning_alone(large: bytes) -> None:
    """Scanning without storing gives the same summary, and a dead dump is an error here too."""
    with source_of(large) as source:
        assert scan_dump(source, DumpScanner()) == scan(large)
    with source_of(large, DumpFailed("it died")) as source, pytest.raises(DumpFailed):
        scan_dump(source, DumpScanner())


def test_no_thread_is_left_behind(large: bytes) -> None:
    """After success and after failure, every thread has ended."""
    before = threading.active_count()
    for sink in (FakeSink(), FakeSink(fail_at=2), FakeSink(fail_on_complete=True)):
        with source_of(large) as source:
            try:
                stream_dump(source, sink, 1)
            except StorageUnreachable:
                assert sink.asked[-1] == "abort"
        assert threading.active_count() == before
