"""Find the folders beside ours that hold backups, at the cost of one request for each, whatever else is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

from blocks.errors import REQUEST
from blocks.s3.client import ObjectStore
from blocks.s3.errors import translated

MOST_FOLDERS = 200
_AT_ONCE = 16


def folders_beside(store: ObjectStore, beginning: str, *, inside: bool = False) -> list[ObjectStore]:
    """Return the folders beside ours, or those in it, that hold an object whose name begins so; raises StorageError.

    Only the first MOST_FOLDERS are looked at.
    """
    ours = store.folder.strip("/")
    parent = ours if inside else ours.rpartition("/")[0]
    pages = store.client.get_paginator("list_objects_v2")
    with translated(REQUEST, store.address):
        found = pages.paginate(Bucket=store.bucket, Prefix=f"{parent}/" if parent else "", Delimiter="/")
        names = [name for name in islice(_names(found), MOST_FOLDERS) if name != ours]
    others = [_at(store, name) for name in names]
    with ThreadPoolExecutor(_AT_ONCE, "folders") as pool:
        holding = pool.map(lambda other: _holds(other, beginning), others)
        return [other for other, holds in zip(others, holding, strict=True) if holds]


def _names(pages: Iterable[Any]) -> Iterator[str]:
    for page in pages:
        names = (str(found["Prefix"]).removesuffix("/") for found in page.get("CommonPrefixes", ()))
        # A name that we would write in another way is no folder of ours.
        yield from (name for name in names if name and name == name.strip("/"))


def _at(store: ObjectStore, folder: str) -> ObjectStore:
    """Return another folder of the same bucket, through the same client."""
    other = replace(store, folder=folder)
    other.client = store.client
    return other


def _holds(store: ObjectStore, beginning: str) -> bool:
    with translated(REQUEST, store.address):
        answer = store.client.list_objects_v2(Bucket=store.bucket, Prefix=store.key(beginning), MaxKeys=1)
    return bool(answer.get("Contents"))
