"""What a flow may be asked for: the rules that the forms in the Prefect UI and `prefect deployment run` hold people to.

The flows themselves do not check them again (`validate_parameters=False`): whatever reaches them by the command line is
answered there, in our own words.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.engine.repository.names import LATEST

# As Prefect takes the names of blocks, which plans and servers are.
BLOCK_NAME = "^[a-z0-9]+(-[a-z0-9]+)*$"
_NAME = r"backup_[0-9]{8}_[0-9]{6}(\.sql\.gz)?"

PlanName = Annotated[str, Field(pattern=BLOCK_NAME, max_length=100, examples=["default"])]
ServerName = Annotated[str, Field(pattern=BLOCK_NAME, max_length=100, examples=["default"])]
BackupName = Annotated[str, Field(pattern=f"^({LATEST}|{_NAME})$", examples=[LATEST, "backup_20261121_020713"])]
# Empty, because a form makes two fields of what may be null.
BackupOrEmpty = Annotated[str, Field(pattern=f"^({LATEST}|{_NAME})?$", examples=["", LATEST, "backup_20261121_020713"])]
