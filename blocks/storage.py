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
from blocks.s3.session import client_of
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

    _check_path = field_validator("path")(lambda given: given and folder_path(given))

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.bucket is None) == (self.path is None):
            raise ValueError("a bucket or a folder")
        return self

    @classmethod
    def at(
        cls, *, endpoint: str, prefix: str, bucket: str = "", key_id: str = "", secret: SecretStr = _NONE,
        region: str | None = None, provider: ProviderKey | None = None,
    ) -> BackupStorage:  # fmt: skip
        """Create the block from the specification's settings."""
        if is_folder(endpoint):
            return cls(path=str(FolderStore.at(endpoint).root), prefix=prefix)
        credentials = AwsCredentials(
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            region_name=region,
            aws_client_parameters=AwsClientParameters(endpoint_url=endpoint),
        )
        held = S3Bucket(bucket_name=bucket, credentials=credentials, bucket_folder=prefix)
        return cls(bucket=held, provider_key=provider)

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
        }
        return {name: value for name, value in said.items() if value is not None}

    @property
    def store(self) -> Storage:
        """The storage this block describes: a bucket's credentials get client options that the Prefect form lacks."""
        if self.bucket is None:
            return FolderStore.at(self.path or "", self.prefix)
        bucket, credentials = self.bucket, self.bucket.credentials
        given = credentials.aws_client_parameters

        keys = _keys_of(credentials) if isinstance(credentials, AwsCredentials) else None

        def connect(config: dict[str, Any], signed_for: str) -> Any:
            if keys:
                others = given.model_copy(update={"config": None}).get_params_override()
                return client_of(*keys, signed_for, config, **others)
            parameters = given.model_copy(update={"config": config})
            changed = {"aws_client_parameters": parameters, "region_name": signed_for}
            return credentials.model_copy(update=changed).get_s3_client()

        return ObjectStore.by(
            connect, endpoint=str(given.endpoint_url or AWS), bucket=bucket.bucket_name, folder=bucket.bucket_folder,
            region=credentials.region_name, provider=self.provider_key, config=given.config,
            secret=keys[1] if keys else None,
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
