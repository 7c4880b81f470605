"""A bucket with its credentials, or a folder on a disk, as a Prefect block."""

from __future__ import annotations

from typing import Any, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator, model_validator

from blocks.aws import AwsClientParameters, AwsCredentials, S3Bucket
from blocks.config.values import folder_path
from blocks.disk.folder_store import FolderStore
from blocks.s3.client import AWS, ObjectStore
from blocks.s3.providers import ProviderKey
from blocks.s3.session import client_of, client_of_sdk
from blocks.s3.terms import Credentials, LockMode, Pruner, ServerSideEncryption, Terms
from blocks.stores import Storage, is_folder

_NONE = SecretStr("")


class BackupStorage(Block):
    """A bucket, or a folder in one, on any S3-compatible storage; or a folder on a disk."""

    _block_type_name = "Backup Storage"
    _block_type_slug = "pg-roundtrip-storage"
    _description = "The bucket or folder where pg-roundtrip keeps backups."

    bucket: S3Bucket | None = Field(
        default=None,
        title="S3 Bucket",
        description="The bucket and its credentials, which hold the endpoint URL, region and keys. Its folder is the backup prefix.",
    )

    path: str | None = Field(
        default=None,
        title="Folder on a disk",
        description="Instead of a bucket: the whole path of an existing folder on the machine where the plan runs.",
    )

    prefix: str = Field(default="", title="Folder in it", description="The backup prefix in a folder on a disk.")

    provider_key: ProviderKey | None = Field(
        default=None,
        title="Provider",
        description="The storage provider; recognised by the endpoint URL when empty. Set it when the endpoint is your own domain.",
    )

    lock_days: int | None = Field(
        default=None, ge=1, le=36500, title="Lock (days)",
        description="Lock each object for this many days; the bucket must have Object Lock. No lock of ours when empty.",
    )  # fmt: skip
    lock_mode: LockMode = Field(
        default="governance", title="Lock mode", description="Nobody can end a lock in the mode compliance."
    )
    encryption: ServerSideEncryption | None = Field(
        default=None, title="Encryption by the storage", description="As the bucket is set up, when empty."
    )
    kms_key_id: str | None = Field(
        default=None, title="KMS key", description="The key for aws:kms; the account's own for S3 when empty."
    )
    prune: Pruner = Field(
        default="here",
        title="Removes old backups",
        description="With elsewhere, only lifecycle rules of the bucket do.",
    )

    _check_path = field_validator("path")(lambda given: given and folder_path(given))

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.bucket is None) == (self.path is None):
            raise ValueError("a bucket or a folder")
        return self

    @classmethod
    def at(  # noqa: PLR0913  (by name only)
        cls, *, endpoint: str, prefix: str, bucket: str = "", key_id: str = "", secret: SecretStr = _NONE,
        region: str | None = None, provider: ProviderKey | None = None, credentials: Credentials = "keys",
        terms: Terms | None = None,
    ) -> BackupStorage:  # fmt: skip
        """Create the block from the specification's settings; without keys, those that are found where it is used."""
        if is_folder(endpoint):
            return cls(path=str(FolderStore.at(endpoint).root), prefix=prefix)
        keyless = credentials == "sdk" and not key_id
        found = AwsCredentials(
            aws_access_key_id=None if keyless else key_id,
            aws_secret_access_key=None if keyless else secret,
            region_name=region,
            aws_client_parameters=AwsClientParameters(endpoint_url=endpoint),
        )
        held = S3Bucket(bucket_name=bucket, credentials=found, bucket_folder=prefix)
        asked = terms or Terms()
        return cls(
            bucket=held, provider_key=provider, lock_days=asked.lock_days, lock_mode=asked.lock_mode,
            encryption=asked.encryption, kms_key_id=asked.kms_key_id, prune="here" if asked.removes else "elsewhere",
        )  # fmt: skip

    @property
    def terms(self) -> Terms:
        """Under which terms objects are written and removed."""
        return Terms(
            self.lock_days, self.lock_mode, self.encryption, self.kms_key_id, removes=self.prune == "here"
        )  # fmt: skip

    def described(self) -> dict[str, str | SecretStr]:
        """Return the variables that describe this storage; keys only if it has nothing but keys."""
        if self.bucket is None:
            return {"S3_ENDPOINT": self.store.endpoint, "BACKUP_PREFIX": self.prefix}
        held, credentials = self.bucket, self.bucket.credentials
        keys = _keys_of(credentials) if isinstance(credentials, AwsCredentials) else None
        said: dict[str, str | SecretStr | None] = {
            "S3_ENDPOINT": str(credentials.aws_client_parameters.endpoint_url or AWS),
            "S3_BUCKET": held.bucket_name,
            "S3_ACCESS_KEY_ID": keys[0] if keys else None,
            "S3_SECRET_ACCESS_KEY": keys[1] if keys else None,
            "S3_REGION": credentials.region_name,
            "S3_PROVIDER": self.provider_key,
            "BACKUP_PREFIX": held.bucket_folder,
            "S3_CREDENTIALS": "sdk" if _is_keyless(credentials) else None,
            **self._described_terms(),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _described_terms(self) -> dict[str, str | None]:
        return {
            "S3_OBJECT_LOCK_DAYS": str(self.lock_days) if self.lock_days else None,
            "S3_OBJECT_LOCK_MODE": self.lock_mode if self.lock_mode != "governance" else None,
            "S3_SSE": self.encryption,
            "S3_SSE_KMS_KEY_ID": self.kms_key_id,
            "PRUNE": self.prune if self.prune != "here" else None,
        }

    @property
    def store(self) -> Storage:
        """The storage this block describes: a bucket's credentials get client options that the Prefect form lacks."""
        if self.bucket is None:
            return FolderStore.at(self.path or "", self.prefix)
        bucket, credentials = self.bucket, self.bucket.credentials
        given = credentials.aws_client_parameters

        keys = _keys_of(credentials) if isinstance(credentials, AwsCredentials) else None

        def connect(config: dict[str, Any], signed_for: str) -> Any:
            if keys or _is_keyless(credentials):
                others = given.model_copy(update={"config": None}).get_params_override()
                return (
                    client_of(*keys, signed_for, config, **others)
                    if keys
                    else client_of_sdk(signed_for, config, **others)
                )
            parameters = given.model_copy(update={"config": config})
            changed = {"aws_client_parameters": parameters, "region_name": signed_for}
            return credentials.model_copy(update=changed).get_s3_client()

        return ObjectStore.by(
            connect, endpoint=str(given.endpoint_url or AWS), bucket=bucket.bucket_name, folder=bucket.bucket_folder,
            region=credentials.region_name, provider=self.provider_key, config=given.config,
            secret=keys[1] if keys else None, terms=self.terms,
        )  # fmt: skip


def _keys_of(credentials: AwsCredentials) -> tuple[str, SecretStr, SecretStr | None] | None:
    """Return the keys of credentials that consist of nothing else."""
    key_id, secret, token = (
        credentials.aws_access_key_id,
        credentials.aws_secret_access_key,
        credentials.aws_session_token,
    )
    if not key_id or not secret or credentials.profile_name or credentials.assume_role_arn:
        return None
    return key_id, secret, SecretStr(token) if token else None


def _is_keyless(credentials: object) -> bool:
    """Whether these credentials name no keys, profile or role: then the SDK looks for some."""
    if not isinstance(credentials, AwsCredentials):
        return False
    named = (credentials.aws_access_key_id, credentials.aws_secret_access_key, credentials.profile_name)
    return not any((*named, credentials.assume_role_arn))
