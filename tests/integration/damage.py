"""Ways in which a backup of LIBRARY can be bad."""

from __future__ import annotations

from collections.abc import Callable

from blocks.s3.client import ObjectStore
from tests.integration.objects import NAME, manifest_of, object_of, put_manifest, put_object, rewrite, without_manifest

Damage = Callable[[ObjectStore], None]


def flipped_bit(storage: ObjectStore, name: str = NAME) -> None:
    data = bytearray(object_of(storage, name))
    data[len(data) // 2] ^= 0x10
    put_object(storage, bytes(data), name)


def truncated(storage: ObjectStore) -> None:
    put_object(storage, object_of(storage)[:-2000])


def truncated_foreign(storage: ObjectStore) -> None:
    truncated(storage)
    without_manifest(storage)


def within_rows(dump: bytes) -> bytes:
    start = dump.index(b"COPY public.books")
    return dump[: dump.index(b"\n", start + 4000) + 1]


def cut_in_rows(storage: ObjectStore) -> None:
    rewrite(storage, within_rows, forge=True)


def cut_in_rows_foreign(storage: ObjectStore) -> None:
    rewrite(storage, within_rows, forge=False)
    without_manifest(storage)


def cut_between_tables(storage: ObjectStore) -> None:
    rewrite(storage, lambda dump: dump[: dump.index(b"COPY public.books")], forge=True)


def wrong_checksum(storage: ObjectStore) -> None:
    put_manifest(storage, manifest_of(storage).model_copy(update={"sha256": "0" * 64}))


def manifest_of_another(storage: ObjectStore) -> None:
    put_manifest(storage, manifest_of(storage).model_copy(update={"name": "backup_20240101_000000"}), beside=NAME)


def manifest_unreadable(storage: ObjectStore) -> None:
    storage.put(storage.key(NAME + ".manifest.json"), b'{"format": 1')


def emptied(storage: ObjectStore) -> None:
    put_object(storage, b"")


def not_gzip(storage: ObjectStore) -> None:
    put_object(storage, b"<html>an error page</html>")


WHOLESALE: list[Damage] = [
    flipped_bit, truncated, truncated_foreign, cut_in_rows, cut_in_rows_foreign, cut_between_tables, wrong_checksum,
    manifest_of_another, manifest_unreadable, emptied, not_gzip,
]  # fmt: skip
