"""The levels of loggers, by their names and numbers."""

from collections.abc import Mapping
from typing import Final

from toban.core.log_line import LogLevel

LEVELS: Final[Mapping[str, LogLevel]] = {
    **dict.fromkeys(("trace", "finest", "finer", "fine", "debug", "silly"), LogLevel.DEBUG),
    **dict.fromkeys(("verbose", "http"), LogLevel.VERBOSE),
    **dict.fromkeys(("info", "information", "notice", "log"), LogLevel.INFO),
    **dict.fromkeys(("warn", "warning"), LogLevel.WARN),
    **dict.fromkeys(
        ("error", "err", "severe", "fatal", "critical", "crit", "alert", "emerg", "emergency", "panic"), LogLevel.ERROR
    ),
}
"""Level names of loggers, in lower case."""

PINO: Final = ((50, LogLevel.ERROR), (40, LogLevel.WARN), (30, LogLevel.INFO))
"""Pino and Bunyan write their levels as numbers; lower ones are debug."""


def known_level(value: object) -> LogLevel | None:
    """Return the level of a name in any case, or of Pino's number; None if it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return next((level for number, level in PINO if value >= number), LogLevel.DEBUG)
    return LEVELS.get(value.strip().lower()) if isinstance(value, str) else None
