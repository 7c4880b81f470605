"""Stages pass on what they are given, in order, and lose nothing of what they buffer."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.stream.stages import Count, Sha256, Stage, rest, through


class Blocks:
    """A stage that emits blocks of one size, as a cipher does, and reverses each."""

    def __init__(self, size: int) -> None:
        self._size, self._held = size, b""

    def write(self, data: bytes) -> bytes:
        self._held += data
        whole = len(self._held) // self._size * self._size
        out, self._held = self._held[:whole], self._held[whole:]
        return b"".join(out[at : at + self._size][::-1] for at in range(0, whole, self._size))

    def finish(self) -> bytes:
        out, self._held = self._held[::-1], b""
        return out


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_what_went_in_comes_out(pieces: list[bytes], size: int) -> None:
    """Data survives a stage and its inverse, with counting and hashing on both sides, however it is chunked."""
    before, between, after = Count(), Sha256(), Count()
    stages: list[Stage] = [before, Blocks(size), between, Blocks(size), after]
    out = b"".join(through(stages, piece) for piece in pieces) + rest(stages)
    whole = b"".join(pieces)
    assert out == whole
    assert (before.size_bytes, after.size_bytes) == (len(whole), len(whole))
    turned = Blocks(size)
    assert between.digest == hashlib.sha256(turned.write(whole) + turned.finish()).digest()


def test_a_hash_that_looks_ahead() -> None:
    """Looking ahead gives the digest as if more data had followed, without changing the hash."""
    stage = Sha256()
    stage.write(b"a")
    assert stage.digest_with(b"b") == hashlib.sha256(b"ab").digest()
    assert stage.hexdigest == hashlib.sha256(b"a").hexdigest()
