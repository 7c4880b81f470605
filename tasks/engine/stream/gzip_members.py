"""Compress in parallel into ordinary gzip: each block becomes a separate member, and members are concatenated.

RFC 1952 section 2.2 defines a gzip file as a series of members; `gunzip` and every library read them as one stream.
Independent members can be compressed on all cores at once, and read from the middle.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator

import deflate
from isal import isal_zlib
from isal.igzip_lib import IsalError

from blocks.errors import BackupDamaged, EmptyBackup
from tasks.engine.repository.checks import GZIP

BLOCK_BYTES = 1 << 20
_GZIP_WINDOW = 31  # zlib's wbits for: largest window, gzip header and trailer

# COMPRESSION_LEVEL → (library, its level). ISA-L keeps up with pg_dump; libdeflate at 6 compresses as well as
# `gzip -6`, twice as fast per core, and at 9 better than any gzip.
_LEVELS = {1: ("isal", 1), 2: ("isal", 3), 3: ("deflate", 1), 4: ("deflate", 3), 5: ("deflate", 5),
           6: ("deflate", 6), 7: ("deflate", 7), 8: ("deflate", 8), 9: ("deflate", 10)}  # fmt: skip


def compressor(level: int) -> Callable[[bytes], bytes]:
    """Return a function that makes a gzip member of a block, at COMPRESSION_LEVEL 1 to 9; it releases the GIL."""
    library, own_level = _LEVELS[level]
    if library == "isal":
        return lambda block: isal_zlib.compress(block, own_level, wbits=_GZIP_WINDOW)
    return lambda block: bytes(deflate.gzip_compress(block, own_level))


def decompress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a stream of gzip bytes of one member or many.

    Raises EmptyBackup when there are no bytes at all, and BackupDamaged when they are not gzip, when a
    checksum is wrong, or when the stream ends inside a member.
    """
    member = None
    seen = False
    try:
        for chunk in chunks:
            seen = seen or bool(chunk)
            rest, more = chunk, bool(chunk)
            while more:
                member = member or isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
                # A megabyte of zeros compresses to a thousand bytes: without a limit, one chunk could fill the memory.
                plain = member.decompress(rest, BLOCK_BYTES)
                if plain:
                    yield plain
                rest = member.unused_data if member.eof else member.unconsumed_tail
                more = bool(rest) or (not member.eof and len(plain) == BLOCK_BYTES)
                member = None if member.eof else member
    except (IsalError, zlib.error) as error:  # type: ignore[misc]  # wrong in its stub
        raise BackupDamaged(f"the gzip stream is damaged: {error}", check=GZIP) from None
    if not seen:
        raise EmptyBackup("the object is empty")
    if member is not None:
        raise BackupDamaged("the gzip stream is cut off", check=GZIP)
