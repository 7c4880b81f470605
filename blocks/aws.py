"""Import what we need of prefect_aws, and not its ECS worker, which brings a web framework and a second AWS client along.

That is 13 MB and a second of every run, in containers that have little of both.
"""

from __future__ import annotations

import sys
from types import ModuleType

_WORKERS = "prefect_aws.workers"


def _import_without_workers() -> None:
    """Let the package find a stand-in while it is imported; who imports the workers later gets the real ones."""
    stand_in = ModuleType(_WORKERS)
    stand_in.__dict__["ECSWorker"] = None
    sys.modules[_WORKERS] = stand_in
    try:
        import prefect_aws  # noqa: F401, PLC0415
    finally:
        del sys.modules[_WORKERS]


if "prefect_aws" not in sys.modules:
    _import_without_workers()

from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket  # noqa: E402  (only now)

__all__ = ["AwsClientParameters", "AwsCredentials", "S3Bucket"]
