"""Import what we need from prefect_aws without its ECS worker, which pulls in a web framework and a second AWS client.

The worker would cost every run 13 MB and a second, in containers that are short of both.
"""

from __future__ import annotations

import sys
from types import ModuleType

_WORKERS = "prefect_aws.workers"


def _import_without_workers() -> None:
    """Import the package with a stand-in for its workers module; a later import of the workers gets the real ones."""
    stand_in = ModuleType(_WORKERS)
    stand_in.__dict__["ECSWorker"] = None
    sys.modules[_WORKERS] = stand_in
    try:
        import prefect_aws  # noqa: F401, PLC0415
    finally:
        del sys.modules[_WORKERS]


if "prefect_aws" not in sys.modules:
    _import_without_workers()

from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket  # noqa: E402  (needs the stand-in)

__all__ = ["AwsClientParameters", "AwsCredentials", "S3Bucket"]
