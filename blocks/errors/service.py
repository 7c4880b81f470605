"""What keeps the long-running service from starting."""

from __future__ import annotations

from blocks.errors.base import PgRoundtripError


class ServiceError(PgRoundtripError):
    """Anything that keeps the long-running service from starting."""

    message = "The Prefect server did not start"
    code = "PGR-SERVICE-FAILED"
    cause = "service"
    hint = "its own words are in the log above"


class PortTaken(ServiceError):
    """The service cannot listen where it is told to."""

    message = "Cannot listen on the port"
    code = "PGR-PORT-TAKEN"
    hint = "set PORT or METRICS_PORT to a port that nobody else uses"


class PrefectUnreachable(ServiceError):
    """The Prefect server that PREFECT_API_URL names does not answer."""

    message = "Cannot reach the Prefect server"
    code = "PGR-PREFECT-UNREACHABLE"
    hint = "check PREFECT_API_URL, and PREFECT_API_AUTH_STRING or PREFECT_API_KEY for one with a login"


class PrefectDatabaseUnusable(ServiceError):
    """The database in PREFECT_HOME cannot be brought to this version."""

    message = "Prefect's database cannot be used"
    code = "PGR-PREFECT-DATABASE"
    hint = "give PREFECT_HOME an empty folder: backups and verdicts are in the bucket, only the history of runs is lost"
