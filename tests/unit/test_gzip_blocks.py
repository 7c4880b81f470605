"""Concatenated members are one ordinary gzip file, and damage to it is always detected."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib

from blocks.errors import BackupDamaged, EmptyBackup
from flows.demo.sample import _Maker
from tasks.engine.stream.gzip_members import BLOCK_BYTES, compressor, decompress

LEVELS = range(1, 10)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Return the data in chunks of one size."""
    return (data[at : at + size] for at in range(0, len(data), size))


def members(plain: bytes, level: int = 6, block: int = BLOCK_BYTES) -> bytes:
    """Return a backup's contents: every block compressed separately."""
    return b"".join(map(compressor(level), pieces(plain, block)))


@pytest.fixture(scope="module")
def prose() -> bytes:
    """Four megabytes of realistic rows: prose, JSON, numbers and times."""
    maker = _Maker(20)
    tables = (maker.articles(), maker.events(), maker.orders(), maker.order_items(), maker.products())
    rows = itertools.chain.from_iterable(zip(*tables, strict=False))
    return "".join("\t".join(map(str, row)) + "\n" for row in rows).encode()[: 4 * BLOCK_BYTES]


@pytest.mark.parametrize("level", LEVELS)
def test_every_reader_reads_it(level: int, prose: bytes) -> None:
    """At every level Python, the gzip program and our own reader get the original data back."""
    stored = members(prose + b"the end", level)
    assert gzip.decompress(stored) == prose + b"the end"
    gunzip = subprocess.run(["gunzip", "-c"], input=stored, capture_output=True, check=True)
    assert gunzip.stdout == prose + b"the end"
    assert b"".join(decompress(pieces(stored, 100_003))) == prose + b"the end"


@pytest.mark.parametrize("level", LEVELS)
def test_blocks_of_any_size(level: int) -> None:
    """No block is too small, too uniform or too random to compress."""
    for block in (b"", b"x", b"\0" * BLOCK_BYTES, zlib.compress(b"random?") * 1000):
        assert gzip.decompress(compressor(level)(block)) == block


def test_a_member_is_read_alone(prose: bytes) -> None:
    """Every member can be read without those before it."""
    first, second = (compressor(6)(block) for block in (prose[:BLOCK_BYTES], prose[BLOCK_BYTES : 2 * BLOCK_BYTES]))
    stored = first + second
    assert b"".join(decompress([stored[len(first) :]])) == prose[BLOCK_BYTES : 2 * BLOCK_BYTES]


def test_the_usual_level_is_as_small_as_gzip(prose: bytes) -> None:
    """At level 6, split into members, a dump is no larger than with `gzip -6`."""
    usual = subprocess.run(["gzip", "-6", "-c"], input=prose, capture_output=True, check=True).stdout
    assert len(members(prose, 6)) <= len(usual) * 1.01


def test_higher_levels_are_not_larger(prose: bytes) -> None:
    """A higher level never compresses less."""
    sizes = [len(members(prose, level)) for level in LEVELS]
    assert all(after <= before * 1.005 for before, after in itertools.pairwise(sizes)), sizes
    assert sizes[-1] < sizes[5] < sizes[0]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.integers(1, 40), st.integers(1, 9))
def test_any_members_in_any_pieces(blocks: list[bytes], size: int, level: int) -> None:
    """Members of any size, in chunks of any size, decompress to the original data."""
    stored = b"".join(map(compressor(level), blocks))
    assert b"".join(decompress(pieces(stored, size))) == b"".join(blocks)


@pytest.mark.parametrize("size", [1, 17, 65536, 1 << 24])
def test_one_large_member(size: int, prose: bytes) -> None:
    """A file that `gzip` made as one member can be read too."""
    plain = prose[: 300_000 if size < 1000 else None]
    assert b"".join(decompress(pieces(gzip.compress(plain), size))) == plain


def test_little_input_may_hold_much() -> None:
    """A member that expands thousands of times is passed on in bounded blocks."""
    plain = b"\0" * (40 * BLOCK_BYTES)
    for stored in (gzip.compress(plain), gzip.compress(plain) * 2, gzip.compress(plain + b"tail")):
        blocks = list(decompress([stored]))
        assert max(map(len, blocks)) <= BLOCK_BYTES
        assert b"".join(blocks) == gzip.decompress(stored)


@pytest.mark.parametrize("size", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES])
@pytest.mark.parametrize("step", [1, 7, 100, 1 << 20])
def test_output_that_ends_with_a_block(size: int, step: int) -> None:
    """Nothing is left behind when a full block is passed on and the input is used up."""
    for plain in (b"\0" * size, b"ab" * (size // 2)):
        assert b"".join(decompress(pieces(gzip.compress(plain), step))) == plain


@pytest.mark.parametrize("length", [500, 1000, 3000])
def test_nothing_waits_for_the_next_chunk(length: int) -> None:
    """Everything in a chunk is passed on before the next one is requested."""
    stored = gzip.compress(b"\0" * (5 * BLOCK_BYTES))
    read = bytearray()

    def chunks() -> Iterator[bytes]:
        yield stored[:length]
        assert len(read) == len(isal_zlib.decompressobj(wbits=31).decompress(stored[:length]))
        yield stored[length:]

    for block in decompress(chunks()):
        read += block
    assert len(read) == 5 * BLOCK_BYTES


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]])
def test_nothing_is_an_empty_backup(chunks: list[bytes]) -> None:
    """An object without bytes is reported as empty, not as damaged."""
    with pytest.raises(EmptyBackup):
        list(decompress(chunks))


@pytest.mark.parametrize("block", [50, 1000])
def test_cut_at_every_byte(block: int) -> None:
    """A stream that ends inside a member is damaged; one that ends between two yields what came before."""
    plain = b"".join(b"row %d\n" % n for n in range(40))
    stored = members(plain, 6, block)
    edges = [0, *itertools.accumulate(len(compressor(6)(part)) for part in pieces(plain, block))]
    for place in range(1, len(stored)):
        if place in edges:
            assert b"".join(decompress([stored[:place]])) == plain[: edges.index(place) * block]
            continue
        with pytest.raises(BackupDamaged):
            list(decompress(pieces(stored[:place], 64)))


def test_a_flipped_bit_anywhere() -> None:
    """No bit of the data or its checksum can change unnoticed."""
    plain = b"".join(b"row %d\n" % n for n in range(40))
    stored = members(plain, 6, 100)
    first = len(compressor(6)(plain[:100]))
    for place, bit in itertools.product(range(first), range(8)):
        flipped = bytearray(stored)
        flipped[place] ^= 1 << bit
        try:
            got = b"".join(decompress([bytes(flipped)]))
        except BackupDamaged:
            continue
        # The header's flags, time and OS say nothing about the data, nor do the padding bits of its last byte.
        assert got == plain
        assert 3 <= place < 10 or place == first - 8 - 1


@pytest.mark.parametrize("rubbish", [b"x", b"\0\0", b"-- SQL", b"\x1f\x8b\x08", b"PK\x03\x04" * 20])
def test_rubbish(rubbish: bytes) -> None:
    """What isn't gzip is damage, at the beginning and after a good member."""
    for data in (rubbish, compressor(6)(b"good") + rubbish):
        with pytest.raises(BackupDamaged):
            list(decompress([data]))


def test_what_was_read_before_the_damage_is_given() -> None:
    """Damage is reported where it occurs: everything before it was good, and was passed on."""
    good = members(b"a" * 500 + b"b" * 500, 6, 500)
    read = decompress([good, b"rubbish"])
    assert [next(read), next(read)] == [b"a" * 500, b"b" * 500]
    with pytest.raises(BackupDamaged):
        next(read)
