"""The settings of `pg-roundtrip serve`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, SecretStr

from blocks.config.says import Says
from blocks.config.values import FLOWS, FlowNames, Port, UserName


class ServiceSettings(BaseModel):
    """For `pg-roundtrip serve`, the container's command."""

    serve_flows: Annotated[FlowNames, Says(
        "The flows to serve. Separate containers for backups and for drills don't need each other's credentials.", "restore-drill"
    )] = ",".join(FLOWS)  # fmt: skip
    port: Annotated[Port, Says(
        "The port of the status page and the Prefect UI and API (with a login) and of `/health` (without one). The compose file publishes it on this machine.", "3000"
    )] = 8080  # fmt: skip
    ui_username: Annotated[UserName, Says("The user name for the login, without a colon.", "ops")] = "admin"
    ui_password: Annotated[SecretStr | None, Says(
        "The password for the login. If unset, one is generated at each start and logged once.", "correct-horse"
    )] = None  # fmt: skip
    status_public: Annotated[bool, Says(
        "Whether the [status page](status.md), `/status`, needs no login. It shows names of databases and folders, sizes and verdicts.", "true"
    )] = False  # fmt: skip
    metrics_enabled: Annotated[bool, Says(
        "Whether to serve `/metrics` for Prometheus, without a login, on `PORT`, and on `METRICS_PORT`, which serves nothing else.", "true"
    )] = False  # fmt: skip
    metrics_port: Annotated[Port, Says("The separate port for metrics.", "9091")] = 9090
