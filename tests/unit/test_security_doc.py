"""The policies in SECURITY.md allow what the code requests of a storage, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "SECURITY.md").read_text()
# What each request needs (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html).
NEEDS = {
    "put_object": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "upload_part_copy": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "delete_object": "s3:DeleteObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "list_parts": "s3:ListMultipartUploadParts",
}
READING = {"s3:ListBucket", "s3:GetObject"}


def policies(document: str) -> list[dict[str, Any]]:
    """Return every policy in the document."""
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", document, re.DOTALL | re.MULTILINE)]


def actions(policy: dict[str, Any], resource: str = "") -> set[str]:
    """Return what a policy allows on resources with this ending."""
    return {a for s in policy["Statement"] if s["Resource"].endswith(resource) for a in s["Action"]}


def test_the_policies_allow_what_is_asked_for() -> None:
    """A new kind of request to a storage must be added here and to the policies."""
    source = "".join(path.read_text() for path in (ROOT / "blocks" / "s3").glob("*.py"))
    asked = set(re.findall(r'self\.client\.(?:get_paginator\(")?(\w+)', source))
    assert asked == NEEDS.keys()
    everything, writer, reader = policies(DOCUMENT)
    assert actions(everything) == set(NEEDS.values())
    assert actions(everything) - actions(writer) == {"s3:DeleteObject"}
    assert actions(reader) == {*READING, "s3:PutObject"}
    assert actions(reader, ".drill_*.json") == actions(reader, "/evidence/*") == {"s3:PutObject"}


def test_rights_on_objects_are_on_objects() -> None:
    """Bucket actions are allowed on the bucket, and the others only in the backups' folder."""
    for policy in policies(DOCUMENT):
        assert {a for a in actions(policy) if "Bucket" in a} == actions(policy, ":my-postgres-backups")
        folder = "arn:aws:s3:::my-postgres-backups/postgres-backups/"
        assert all(s["Resource"].startswith(folder) for s in policy["Statement"] if "/" in s["Resource"])


def test_the_providers_page_says_the_same() -> None:
    """The Amazon policy on the providers page allows the same as ours for a single container."""
    (there,) = policies((ROOT / "docs" / "providers.md").read_text())
    assert actions(there) == actions(policies(DOCUMENT)[0])


def test_no_policy_can_destroy_what_is_locked() -> None:
    """None of ours deletes versions, or ends locks: whoever steals its keys can't either."""
    locks = policies((ROOT / "docs" / "locks.md").read_text().replace('{"Rules"', '{"Statement": [], "Rules"'))
    assert sum(bool(policy["Statement"]) for policy in locks) == 2
    for policy in (*policies(DOCUMENT), *locks):
        assert not {"s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:*", "*"} & actions(policy)


def test_what_is_said_to_show_a_promise_is_there() -> None:
    """Every test that the document names exists."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert len(named) > 8
    assert {name for name in named if f"def {name}(" not in tests} == set()
