"""Uploads of large objects in parts; nothing is visible until they are complete."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from os.path import commonprefix
from typing import Any

from blocks.errors import REQUEST, UPLOAD, NameTaken, ObjectMissing, StorageError
from blocks.s3.errors import AlreadyThere, translated
from blocks.s3.marks import is_of_this_process, marked
from blocks.s3.providers import Provider
from blocks.s3.terms import Terms


class Uploads:
    """What an object store can do with uploads: `ObjectStore` has the client, and the folder."""

    bucket: str
    provider: Provider
    terms: Terms
    client: Any

    @property
    def conditional(self) -> bool:
        """Whether the storage honours If-None-Match."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """`bucket/prefix` for display."""
        raise NotImplementedError

    def key(self, name: str) -> str:
        """Return the key of one of our objects."""
        raise NotImplementedError

    def begin_upload(self, key: str) -> str:
        """Start a multipart upload; nothing is visible until it is completed."""
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            answer = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=key, ContentType="application/gzip", Metadata=marked(),
                **self.terms.kept(datetime.now(UTC)),
            )  # fmt: skip
            return str(answer["UploadId"])

    def put_part(self, key: str, upload_id: str, number: int, body: Any) -> str:
        """Upload one part (numbers start at 1) and return its ETag."""
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            answer = self.client.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body,
                **self.digest(body),
            )  # fmt: skip
            return str(answer["ETag"])

    def complete_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Combine the parts into one object, which becomes visible only now; raises NameTaken if another is there.

        Whether another is there is only sure where the storage honours If-None-Match.
        """
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        once = {"IfNoneMatch": "*"} if self.conditional else {}
        try:
            with translated(UPLOAD, f"{self.bucket}/{key}"):
                self.client.complete_multipart_upload(
                    Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **once
                )
        except AlreadyThere as refused:
            # The first attempt may have succeeded, and its response been lost.
            if not (refused.attempts and self._is_from_here(key)):
                raise NameTaken.at(f"{self.bucket}/{key}") from None

    def _is_from_here(self, key: str) -> bool:
        """Whether an object was written by this process."""
        try:
            with translated(UPLOAD, f"{self.bucket}/{key}"):
                return is_of_this_process(self.client.head_object(Bucket=self.bucket, Key=key).get("Metadata", {}))
        except StorageError:
            return False

    def replace_upload(self, key: str, upload_id: str, tags: Iterable[str]) -> None:
        """Combine the parts into one object, which takes the place of the one that is there."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        with translated(UPLOAD, f"{self.bucket}/{key}"):
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )

    def copy_part(self, key: str, upload_id: str, number: int, bounds: tuple[int, int], etag: str) -> str:
        """Let the storage copy a part of the object that is to be replaced; empty if it refuses."""
        try:
            with translated(UPLOAD, f"{self.bucket}/{key}"):
                answer = self.client.upload_part_copy(
                    Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number,
                    CopySource={"Bucket": self.bucket, "Key": key}, CopySourceIfMatch=etag,
                    CopySourceRange=f"bytes={bounds[0]}-{bounds[1] - 1}",
                )  # fmt: skip
                return str(answer["CopyPartResult"]["ETag"])
        except (KeyError, StorageError):
            return ""

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort an upload and free its parts; it is not an error if it is already gone."""
        try:
            with translated(UPLOAD, f"{self.bucket}/{key}"):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except ObjectMissing:
            return

    def uploads_of(self, *keys: str) -> set[str]:
        """Return the ids of the incomplete uploads of one object, or of some whose names begin alike."""
        prefix = commonprefix(keys)  # noqa: RUF071  (of keys, not of paths)
        with translated(UPLOAD, f"{self.bucket}/{prefix}"):
            pages = self.client.get_paginator("list_multipart_uploads")
            listed = pages.paginate(Bucket=self.bucket, Prefix=prefix)
            found = [upload for page in listed for upload in page.get("Uploads", ())]
        return {str(upload["UploadId"]) for upload in found if upload["Key"] in keys}

    def idle_uploads(self, key: str, older_than: timedelta, now: datetime) -> list[str]:
        """Return the ids of the incomplete uploads of one object that nothing was added to for so long."""
        since = now - older_than
        with translated(REQUEST, f"{self.bucket}/{key}"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=key)
            found = [upload for page in pages for upload in page.get("Uploads", ()) if upload["Key"] == key]
            begun = [str(upload["UploadId"]) for upload in found if upload["Initiated"] < since]
            return [upload_id for upload_id in begun if not self._grew(key, upload_id, since)]

    def _grew(self, key: str, upload_id: str, since: datetime) -> bool:
        pages = self.client.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload_id)
        return any(part["LastModified"] >= since for page in pages for part in page.get("Parts", ()))

    def list_uploads(self, older_than: timedelta, now: datetime) -> list[tuple[str, str]]:
        """Find incomplete uploads in our folder that started long enough ago, as (key, upload id)."""
        found = []
        with translated(REQUEST, self.address):
            pages = self.client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.key("")):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < now - older_than:
                        found.append((str(upload["Key"]), str(upload["UploadId"])))  # noqa: PERF401  (two loops deep)
        return found

    def digest(self, body: Any) -> dict[str, str]:
        """Return the Content-MD5 of an upload if it is needed; the SDK does not add it by itself."""
        if not self.provider.content_md5 and self.terms.lock_days is None:
            return {}
        if isinstance(body, bytes):
            found = hashlib.md5(body, usedforsecurity=False)
        else:
            found = hashlib.file_digest(body, lambda: hashlib.md5(usedforsecurity=False))
            body.seek(0)
        return {"ContentMD5": b64encode(found.digest()).decode()}
