"""The settings of up to three further places that get every backup, and what is missing or contradictory in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, SecretStr

from blocks.config.copying import CopyingSettings
from blocks.config.says import Rule, Says
from blocks.config.values import BucketName, Count, Folder, FolderPath, RetentionDays, StorageAddress
from blocks.errors import Problem
from blocks.s3.providers import KEYS, ProviderKey
from blocks.s3.terms import Credentials, LockMode, Pruner, ServerSideEncryption

DrilledPlace = Literal["turn", "primary", "copy", "copy2", "copy3"]
COPIES = ("copy", "copy2", "copy3")
# The fields of each copy, without its name in front. Those of its retention are the primary's with another beginning.
_KEYS = ("s3_access_key_id", "s3_secret_access_key")
_BUCKET = ("s3_endpoint", "s3_bucket", *_KEYS)
RETENTION = ("retention_days", "keep_last", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
_TERMS = ("s3_object_lock_days", "s3_object_lock_mode", "s3_sse", "s3_sse_kms_key_id", "prune")
_OF_A_BUCKET = (*_BUCKET, "s3_session_token", "s3_credentials", "s3_region", "s3_provider", *_TERMS)
FIELDS = ("path", *_OF_A_BUCKET, "prefix", *RETENTION)
_OR_A_FOLDER = "set it, or only the variable that ends in _PATH to keep that copy in a folder"
_ONE_OF_BOTH = "a copy is in a folder or in a bucket; for both, name one of them COPY2_…"
_AS_PRIMARY = "If unset, that of the first place."

Path = Annotated[FolderPath | None, Says(
    "An existing folder on a disk; nothing else is needed then. On a disk that may not be mounted, name "
    "[a folder on it](copies.md#a-folder-on-a-disk).", "/mnt/backups/copy",
)]  # fmt: skip
Endpoint = Annotated[StorageAddress | None, Says(
    "Or else the storage's address.", "https://s3.us-west-004.backblazeb2.com", missing=_OR_A_FOLDER
)]  # fmt: skip
Bucket = Annotated[BucketName | None, Says("The bucket.", "my-other-backups", missing=_OR_A_FOLDER)]
KeyId = Annotated[str | None, Says(
    "Its access key. Use another one than for the first place: whoever has one then doesn't have both.", "0042f1e5c6a70000000001",
    missing=_OR_A_FOLDER,
)]  # fmt: skip
Secret = Annotated[SecretStr | None, Says("The secret for that key.", "K004kJ3sL0pQ9xYz", missing=_OR_A_FOLDER)]
Token = Annotated[SecretStr | None, Says("The session token of temporary keys.", "IQoJb3JpZ2luX2VjE")]
Keyless = Annotated[Credentials | None, Rule("it must be keys or sdk"), Says(
    "Its `S3_CREDENTIALS`: with `sdk`, and without keys here, those that the AWS SDK finds.", "sdk"
)]  # fmt: skip
Region = Annotated[str | None, Says("The region, if the endpoint doesn't reveal it.", "us-west-004")]
ProviderName = Annotated[ProviderKey | None, Rule(f"it must be one of {', '.join(KEYS)}"), Says(
    "The provider, if the endpoint doesn't reveal it.", "backblaze"
)]  # fmt: skip
LockDays = Annotated[RetentionDays | None, Says("Its `S3_OBJECT_LOCK_DAYS`.", "30")]
Mode = Annotated[LockMode | None, Rule("it must be governance or compliance"), Says("Its `S3_OBJECT_LOCK_MODE`.", "compliance")]  # fmt: skip
Sse = Annotated[ServerSideEncryption | None, Rule("it must be AES256 or aws:kms"), Says("Its `S3_SSE`.", "AES256")]
KmsKey = Annotated[str | None, Says("Its `S3_SSE_KMS_KEY_ID`.", "arn:aws:kms:eu-west-1:444455556666:key/5678efab")]
Prunes = Annotated[Pruner | None, Rule("it must be here or elsewhere"), Says("Its `PRUNE`.", "elsewhere")]
Prefix = Annotated[
    Folder | None, Says("The folder in the bucket, or in that folder. If unset, `BACKUP_PREFIX`.", "copies/shop")
]
Days = Annotated[RetentionDays | None, Says(f"`BACKUP_RETENTION_DAYS` of this place. {_AS_PRIMARY}", "365")]
Last = Annotated[Count, Says(f"Its `BACKUP_KEEP_LAST`. {_AS_PRIMARY}", "3")]
Daily = Annotated[Count, Says(f"Its `BACKUP_KEEP_DAILY`. {_AS_PRIMARY}", "30")]
Weekly = Annotated[Count, Says(f"Its `BACKUP_KEEP_WEEKLY`. {_AS_PRIMARY}", "8")]
Monthly = Annotated[Count, Says(f"Its `BACKUP_KEEP_MONTHLY`. {_AS_PRIMARY}", "24")]
Yearly = Annotated[Count, Says(f"Its `BACKUP_KEEP_YEARLY`. {_AS_PRIMARY}", "10")]


class _Copy(BaseModel):
    """The first copy."""

    copy_path: Path = None
    copy_s3_endpoint: Endpoint = None
    copy_s3_bucket: Bucket = None
    copy_s3_access_key_id: KeyId = None
    copy_s3_secret_access_key: Secret = None
    copy_s3_session_token: Token = None
    copy_s3_credentials: Keyless = None
    copy_s3_region: Region = None
    copy_s3_provider: ProviderName = None
    copy_s3_object_lock_days: LockDays = None
    copy_s3_object_lock_mode: Mode = None
    copy_s3_sse: Sse = None
    copy_s3_sse_kms_key_id: KmsKey = None
    copy_prune: Prunes = None
    copy_prefix: Prefix = None
    copy_retention_days: Days = None
    copy_keep_last: Last = None
    copy_keep_daily: Daily = None
    copy_keep_weekly: Weekly = None
    copy_keep_monthly: Monthly = None
    copy_keep_yearly: Yearly = None


class _Copy2(BaseModel):
    """The second copy."""

    copy2_path: Path = None
    copy2_s3_endpoint: Endpoint = None
    copy2_s3_bucket: Bucket = None
    copy2_s3_access_key_id: KeyId = None
    copy2_s3_secret_access_key: Secret = None
    copy2_s3_session_token: Token = None
    copy2_s3_credentials: Keyless = None
    copy2_s3_region: Region = None
    copy2_s3_provider: ProviderName = None
    copy2_s3_object_lock_days: LockDays = None
    copy2_s3_object_lock_mode: Mode = None
    copy2_s3_sse: Sse = None
    copy2_s3_sse_kms_key_id: KmsKey = None
    copy2_prune: Prunes = None
    copy2_prefix: Prefix = None
    copy2_retention_days: Days = None
    copy2_keep_last: Last = None
    copy2_keep_daily: Daily = None
    copy2_keep_weekly: Weekly = None
    copy2_keep_monthly: Monthly = None
    copy2_keep_yearly: Yearly = None


class _Copy3(BaseModel):
    """The third copy."""

    copy3_path: Path = None
    copy3_s3_endpoint: Endpoint = None
    copy3_s3_bucket: Bucket = None
    copy3_s3_access_key_id: KeyId = None
    copy3_s3_secret_access_key: Secret = None
    copy3_s3_session_token: Token = None
    copy3_s3_credentials: Keyless = None
    copy3_s3_region: Region = None
    copy3_s3_provider: ProviderName = None
    copy3_s3_object_lock_days: LockDays = None
    copy3_s3_object_lock_mode: Mode = None
    copy3_s3_sse: Sse = None
    copy3_s3_sse_kms_key_id: KmsKey = None
    copy3_prune: Prunes = None
    copy3_prefix: Prefix = None
    copy3_retention_days: Days = None
    copy3_keep_last: Last = None
    copy3_keep_daily: Daily = None
    copy3_keep_weekly: Weekly = None
    copy3_keep_monthly: Monthly = None
    copy3_keep_yearly: Yearly = None


class CopySettings(CopyingSettings, _Copy3, _Copy2, _Copy):
    """One more place that gets every backup; COPY2_… and COPY3_… name two others in the same way."""


def values_of(settings: Any, place: str) -> dict[str, Any]:
    """Return what is set of a copy, without its name in front."""
    found = {field: getattr(settings, f"{place}_{field}", None) for field in FIELDS}
    return {field: value for field, value in found.items() if value is not None}


def missing_of_copies(settings: Any) -> Iterator[str]:
    """Yield the variables that a copy needs, if anything of it is set, and has not."""
    for place in COPIES:
        given = values_of(settings, place)
        if given and "path" not in given and not str(given.get("s3_endpoint", "")).startswith("file:"):
            needed = [f for f in _BUCKET if f not in _KEYS] if _is_keyless(given) else _BUCKET
            yield from (f"{place}_{field}".upper() for field in needed if field not in given)


def _is_keyless(given: Mapping[str, Any]) -> bool:
    return given.get("s3_credentials") == "sdk" and not given.get("s3_access_key_id")


def contradictions(settings: Any, malformed: list[str]) -> Iterator[Problem]:
    """Yield what is set but cannot be meant; a variable that is reported as invalid is not reported again."""
    for place in COPIES:
        variable, given = f"{place}_path".upper(), values_of(settings, place)
        other = next((field for field in _OF_A_BUCKET if field in given), None)
        if "path" in given and other and not any(name.startswith(place.upper()) for name in malformed):
            yield Problem(f"{variable} and {place.upper()}_{other.upper()} are both set", _ONE_OF_BOTH)
    drilled = str(getattr(settings, "verify_destination", ""))
    if drilled in COPIES and not values_of(settings, drilled):
        yield Problem(
            f"VERIFY_DESTINATION is {drilled}, but there is no such place", f"set {drilled.upper()}_PATH or {drilled.upper()}_S3_ENDPOINT"
        )  # fmt: skip
