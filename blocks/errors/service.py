"""Errors that keep the long-running service from starting."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class ServiceError(PgRoundtripError):
    """Base class for errors that keep the long-running service from starting."""

    message = "The Prefect server did not start"
    code = "PGR-SERVICE-FAILED"
    cause = "service"
    hint = "its own messages are in the log above"


class PortTaken(ServiceError):
    """The service cannot listen on a configured port."""

    message = "Cannot listen on the port"
    code = "PGR-PORT-TAKEN"
    hint = "set PORT or METRICS_PORT to a free port"


class PrefectUnreachable(ServiceError):
    """The Prefect server that PREFECT_API_URL names does not answer."""

    message = "Cannot reach the Prefect server"
    code = "PGR-PREFECT-UNREACHABLE"
    hint = "check PREFECT_API_URL, and PREFECT_API_AUTH_STRING or PREFECT_API_KEY for one with a login"


class PlainFlows(ServiceError):
    """The flows were imported before Prefect, so they are plain functions, and Prefect can't deploy these."""

    message = "The flows are plain functions, which Prefect cannot deploy"
    code = "PGR-PLAIN-FLOWS"
    hint = "import prefect before the flows, or set PREFECT_API_URL before Python starts"


class PrefectDatabaseUnusable(ServiceError):
    """The database in PREFECT_HOME cannot be migrated to this version."""

    message = "Prefect's database cannot be used"
    code = "PGR-PREFECT-DATABASE"
    hint = (
        "set PREFECT_HOME to an empty folder: backups and verdicts are in the bucket, only the history of runs is lost"
    )


class RunKilled(PgRoundtripError):
    """The process of a run that the service started ended without saying how the run went."""

    message = "The run's process was killed"
    code = "PGR-RUN-KILLED"
    cause = "killed"
    hint = "allow it more memory, or find out who ended it: the system's log names processes that ran out of memory"
