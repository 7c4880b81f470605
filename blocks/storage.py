"""Keep a bucket with its credentials as a Prefect block."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.aws import AwsClientParameters, AwsCredentials, S3Bucket
from blocks.s3.client import AWS, ObjectStore
from blocks.s3.providers import ProviderKey


class BackupStorage(Block):
    """A bucket, or a folder in one, on any S3-compatible storage."""

    _block_type_name = "Backup Storage"
    _block_type_slug = "pg-roundtrip-storage"
    _description = "The bucket and the folder in it that pg-roundtrip keeps backups in."

    bucket: S3Bucket = Field(
        title="S3 Bucket",
        description="The bucket with its credentials: give these the endpoint URL, region and keys. Its folder is the backups' prefix.",
    )

    provider_key: ProviderKey | None = Field(
        default=None,
        title="Provider",
        description="Whose storage it is; recognised by the endpoint URL when empty. Name it when the endpoint is a domain of your own.",
    )

    @classmethod
    def at(
        cls, *, endpoint: str, bucket: str, prefix: str, key_id: str, secret: SecretStr,
        region: str | None = None, provider: ProviderKey | None = None,
    ) -> BackupStorage:  # fmt: skip
        """Describe a storage by the specification's settings."""
        credentials = AwsCredentials(
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            region_name=region,
            aws_client_parameters=AwsClientParameters(endpoint_url=endpoint),
        )
        held = S3Bucket(bucket_name=bucket, credentials=credentials, bucket_folder=prefix)
        return cls(bucket=held, provider_key=provider)

    @property
    def store(self) -> ObjectStore:
        """What the block describes: a client by its credentials, with what the form of the Prefect UI does not ask for."""
        credentials = self.bucket.credentials
        given = credentials.aws_client_parameters

        def connect(config: dict[str, Any], signed_for: str) -> Any:
            parameters = given.model_copy(update={"config": config})
            changed = {"aws_client_parameters": parameters, "region_name": signed_for}
            return credentials.model_copy(update=changed).get_s3_client()

        return ObjectStore.by(
            connect, endpoint=str(given.endpoint_url or AWS), bucket=self.bucket.bucket_name,
            folder=self.bucket.bucket_folder, region=credentials.region_name, provider=self.provider_key, config=given.config,
        )  # fmt: skip
