"""The types of flow parameters: rules that the forms in the Prefect UI and `prefect deployment run` enforce.

The flows themselves do not validate again (`validate_parameters=False`): invalid values from the command line get our
own error messages.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from blocks.config.values import BLOCK_NAME
from tasks.engine.repository.names import LATEST, LATEST_SET

_NAME = r"backup_[0-9]{8}_[0-9]{6}(\.sql\.gz(\.age)?)?"

# A name, and perhaps the folder of one of a server's databases.
_PLAN = BLOCK_NAME.removesuffix("$") + r"(/[a-z0-9._-]+)?$"

PlanName = Annotated[str, Field(pattern=_PLAN, max_length=300, examples=["default"])]
PlanNames = Annotated[tuple[PlanName, ...], Field(max_length=10_000)]
ServerName = Annotated[str, Field(pattern=BLOCK_NAME, max_length=100, examples=["default"])]
_SET = rf"{LATEST_SET}|set_[0-9]{{8}}_[0-9]{{6}}"
BackupName = Annotated[
    str,
    Field(pattern=f"^({LATEST}|{_NAME}|{_SET})$", examples=[LATEST, "backup_20261121_020713", "set_20261121_020712"]),
]
# Empty instead of null, because a form shows two fields for a nullable parameter.
BackupOrEmpty = Annotated[str, Field(pattern=f"^({LATEST}|{_NAME})?$", examples=["", LATEST, "backup_20261121_020713"])]
# Whether a restore brings roles and settings along: not at all, too, or only them; or only shows the plan for it.
GlobalsMode = Literal["none", "too", "only", "too (plan)", "only (plan)"]
