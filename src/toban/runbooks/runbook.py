"""Runbooks as they are written: when they apply, what is done, and the guard around it."""

from enum import StrEnum
from typing import Final

TEXT: Final = "text"


class Mode(StrEnum):
    """Whether a runbook acts by itself."""

    AUTO = "auto"
    """It acts, within its brakes."""
    ASK = "ask"
    """Somebody must approve what it would do."""
    DRY = "dry"
    """It only says what it would do."""
