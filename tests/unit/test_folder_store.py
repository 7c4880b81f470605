"""A folder keeps what a bucket promises: whole files only, nothing outside of it, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from blocks.disk.folder_store import FolderStore
from blocks.errors import (
    BackupDamaged,
    FolderDenied,
    FolderFailed,
    FolderFull,
    FolderMissing,
    ObjectMissing,
    StorageError,
)
from blocks.stores import folders_beside, overlap, storage_at, whereabouts

NOW = datetime.now(UTC)
KEY = "shop/backup_20260101_000000.sql.gz"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A folder of its own."""
    return FolderStore(tmp_path, "shop")


def visible(store: FolderStore) -> list[str]:
    return [found.key for found in store.list_objects()]


def hidden(store: FolderStore) -> list[str]:
    return sorted(path.name for path in (store.root / store.folder / ".pg-roundtrip").iterdir())


def test_nobody_else_reads_a_file(store: FolderStore) -> None:
    """Folders are for their owner alone, and so are files."""
    store.put(store.key("evidence/one.json"), b"{}")
    upload = store.begin_upload(KEY)
    paths = [store.root / "shop", *(store.root / "shop").rglob("*")]
    assert len(paths) == 5
    assert {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_dir()} == {0o700}
    assert {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_file()} == {0o600}
    store.abort_upload(KEY, upload)
    assert hidden(store) == []


def test_parts_in_any_order_become_one_object(store: FolderStore) -> None:
    """Parts arrive from several threads, as bytes or as files; the object has them in their order, and its mark."""
    upload = store.begin_upload(KEY)
    tags = {n: store.put_part(KEY, upload, n, body) for n, body in ((3, b"ccc"), (2, BytesIO(b"bb")), (1, b"a"))}
    assert visible(store) == []
    assert store.uploads_of(KEY) == {upload}
    store.complete_upload(KEY, upload, [tags[n] for n in (1, 2, 3)])
    assert b"".join(store.open_range(KEY)) == b"abbccc"
    assert b"".join(store.open_range(KEY, 2, 3)) == b"bcc"
    found = store.stat(KEY)
    assert found
    assert (found.size_bytes, found.ours) == (6, True)
    assert found.version == next(store.list_objects()).version != ""
    assert store.uploads_of(KEY) == set()


def test_a_lost_part_makes_no_object(store: FolderStore) -> None:
    """An upload of which a part is missing isn't completed."""
    upload = store.begin_upload(KEY)
    tags = [store.put_part(KEY, upload, 1, b"a"), store.put_part(KEY, upload, 3, b"c")]
    with pytest.raises(StorageError, match="parts are missing"):
        store.complete_upload(KEY, upload, tags)
    store.abort_upload(KEY, upload)
    assert (visible(store), hidden(store)) == ([], [])


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_an_object_is_never_replaced_by_an_upload(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    """Also on a file system without hard links, an upload or a new document takes no name that is taken."""
    if not links:
        monkeypatch.setattr(os, "link", _refuse(errno.EPERM))
    assert store.put_new(store.key("a.json"), b"first")
    assert not store.put_new(store.key("a.json"), b"second")
    assert store.get(store.key("a.json")) == b"first"
    upload = store.begin_upload(KEY)
    tag = store.put_part(KEY, upload, 1, b"second")
    store.put(KEY, b"first")
    with pytest.raises(StorageError, match="another backup took this name"):
        store.complete_upload(KEY, upload, [tag])
    assert store.get(KEY) == b"first"


def test_the_mark_is_of_one_object(store: FolderStore) -> None:
    """A file that another tool puts in the place of ours doesn't count as ours."""
    store.put(KEY, b"ours", "application/gzip")
    assert store.stat(KEY) == next(store.list_objects()).__class__(**vars(store.stat(KEY)) | {"ours": True})
    (store.root / KEY).write_bytes(b"another's")
    found = store.stat(KEY)
    assert found
    assert not found.ours
    store.remove(KEY)
    assert store.stat(KEY) is None
    assert hidden(store) == []


@pytest.mark.parametrize("key", [
    "../outside", "shop/../../outside", "/etc/passwd", "shop//x", "shop/.", "", "shop/\0", "shop/.pg-roundtrip/x",
    "shop/" + "x" * 256, "shop/\udcff",
])  # fmt: skip
def test_no_name_leaves_the_folder(store: FolderStore, key: str) -> None:
    """A name that isn't one of a file in the folder is refused, for reading and for writing."""
    for use in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.remove(key),
                lambda: store.begin_upload(key), lambda: list(store.open_range(key))):  # fmt: skip
        with pytest.raises(StorageError, match="no file can have this name"):
            use()
    assert list(store.root.parent.glob("outside")) == []


def test_no_link_leaves_the_folder(store: FolderStore, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A link is neither listed nor followed; the root itself may be one."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(b"secret")
    store.put(store.key("a"), b"a")
    (store.root / "shop" / "link").symlink_to(outside / "secret")
    (store.root / "shop" / "folder").symlink_to(outside)
    os.mkfifo(store.root / "shop" / "pipe")
    assert visible(store) == ["shop/a"]
    for key in ("shop/link", "shop/folder/secret", "shop/pipe"):
        with pytest.raises(StorageError):
            store.get(key)
    with pytest.raises(StorageError, match="a link leads out"):
        store.put("shop/folder/new", b"")
    with pytest.raises(StorageError, match="a link leads out"):
        list(FolderStore(store.root, "shop/folder").list_objects())
    root = outside / "root"
    root.symlink_to(store.root)
    assert FolderStore(root, "shop").get("shop/a") == b"a"


def test_the_order_of_a_listing(store: FolderStore) -> None:
    """A folder is listed in the order of a bucket, in which a subfolder's name ends with a slash; odd names are left out."""
    for name in ("a.b", "a/c", "a-b", "ab", "a/b/c"):
        store.put(store.key(name), b"")
    os.close(os.open(os.fsencode(store.root / "shop") + b"/\xff", os.O_CREAT))
    assert visible(store) == sorted(visible(store)) == [f"shop/{n}" for n in ("a-b", "a.b", "a/b/c", "a/c", "ab")]
    assert [found.key for found in store.list_objects(beginning="a/")] == ["shop/a/b/c", "shop/a/c"]
    assert [found.key for found in store.list_objects(beginning="a/b")] == ["shop/a/b/c"]


def test_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    """A missing root is never created and never an empty folder or a missing file; a missing folder in it is empty."""
    assert list(FolderStore(tmp_path, "none").list_objects()) == []
    assert FolderStore(tmp_path, "none").stat("none/x") is None
    gone = FolderStore(tmp_path / "gone", "shop")
    for use in (lambda: list(gone.list_objects()), lambda: gone.stat(KEY), lambda: gone.put(KEY, b""), lambda: gone.get(KEY),
                lambda: gone.remove(KEY), lambda: gone.begin_upload(KEY), lambda: gone.uploads_of(KEY)):  # fmt: skip
        with pytest.raises(FolderMissing, match="gone"):
            use()
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(("code", "expected"), [
    (errno.ENOSPC, FolderFull), (errno.EDQUOT, FolderFull), (errno.EROFS, FolderDenied), (errno.EACCES, FolderDenied),
    (errno.EIO, FolderFailed), (errno.ESTALE, FolderFailed), (errno.ETIMEDOUT, FolderFailed),
])  # fmt: skip
def test_what_a_disk_says(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[StorageError]
) -> None:
    """Each trouble of a disk is an error of ours that says what to do, and leaves nothing behind."""
    upload = store.begin_upload(KEY)
    tag = store.put_part(KEY, upload, 1, b"first")
    monkeypatch.setattr(os, "fsync", _refuse(code))
    with pytest.raises(expected) as raised:
        store.put(store.key("a.json"), b"{}")
    assert raised.value.hint
    with pytest.raises(expected):
        store.complete_upload(KEY, upload, [tag])
    store.abort_upload(KEY, upload)
    assert visible(store) == []
    assert [name for name in hidden(store) if not name.endswith(".made")] == []


def test_a_part_that_did_not_fit_is_taken_back(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that was cut off by a full disk can be sent again."""
    upload, write = store.begin_upload(KEY), os.write
    tags = [store.put_part(KEY, upload, 1, b"first")]

    def full(target: int, data: memoryview) -> int:
        if len(data) < 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(target, data[:3])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(FolderFull):
            store.put_part(KEY, upload, 2, b"second")
    tags.append(store.put_part(KEY, upload, 2, b"second"))
    store.complete_upload(KEY, upload, tags)
    assert store.get(KEY) == b"firstsecond"


def test_what_killed_runs_left_is_removed(store: FolderStore) -> None:
    """A sweep finds uploads that stopped growing, and removes what else a killed run left; what is new stays."""
    old = store.begin_upload(KEY)
    store.put_part(KEY, old, 2, b"early")
    folder = store.root / "shop" / ".pg-roundtrip"
    (folder / "a.json.0123.put").write_bytes(b"half")
    long_ago = (NOW - timedelta(days=2)).timestamp()
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    new = store.begin_upload("shop/backup_20260101_000001.sql.gz")
    assert FolderStore(store.root, "shop").list_uploads(timedelta(days=1), NOW) == [(KEY, old)]
    store.abort_upload(KEY, old)
    assert [name.split(".")[-2] for name in hidden(store)] == [new]
    assert FolderStore(store.root, "other").list_uploads(timedelta(days=1), NOW) == []


def test_an_upload_of_another_process(store: FolderStore) -> None:
    """An upload that this process didn't begin can't be continued, but can be aborted."""
    upload, other = store.begin_upload(KEY), FolderStore(store.root, "shop")
    with pytest.raises(ObjectMissing):
        other.put_part(KEY, upload, 1, b"")
    other.abort_upload(KEY, upload)
    other.abort_upload(KEY, "../../../../etc/passwd")
    with pytest.raises(StorageError):
        store.put_part(KEY, upload, 1, b"")


def test_documents_are_bounded(store: FolderStore) -> None:
    """A document that is larger than it may be isn't read."""
    store.put(store.key("a"), b"0123456789")
    assert store.get(store.key("a"), 10) == b"0123456789"
    with pytest.raises(BackupDamaged):
        store.get(store.key("a"), 9)


def test_addresses(tmp_path: Path) -> None:
    """An address is a bucket's or a folder's, and says where that is."""
    odd = tmp_path / "my backups"
    odd.mkdir()
    folder = storage_at(endpoint=f"file://{str(odd).replace(' ', '%20')}", prefix="shop")
    assert isinstance(folder, FolderStore)
    assert (folder.root, folder.address) == (odd, f"{odd}/shop")
    assert whereabouts(folder) == f"{folder.endpoint}/shop"
    bucket = storage_at(endpoint="https://s3.example.com", bucket="b", prefix="shop", key_id="k")
    assert whereabouts(bucket) == "https://s3.example.com b/shop"
    (tmp_path / "link").symlink_to(odd)
    assert overlap(folder, FolderStore(tmp_path / "link", "shop"))
    assert not overlap(folder, FolderStore(odd, "other"))
    assert overlap(folder, folder.within("inner"))
    assert overlap(folder.within("inner"), folder)
    assert not overlap(folder, FolderStore(odd, "shop2"))
    assert not overlap(folder, bucket)
    assert overlap(bucket, storage_at(endpoint="https://S3.example.com/", bucket="b", prefix="shop", key_id="other"))


def test_folders_beside(store: FolderStore) -> None:
    """The folders beside ours, and those in it, are found if they hold a backup."""
    for key in (KEY, "other/backup_1", "third/x", "shop/inner/backup_1"):
        store.put(key, b"")
    assert [found.folder for found in folders_beside(store, "backup_")] == ["other"]
    assert [found.folder for found in folders_beside(store, "backup_", inside=True)] == ["shop/inner"]


def _refuse(code: int) -> object:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse
