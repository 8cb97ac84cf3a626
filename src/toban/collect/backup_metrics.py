"""Metrics of the age of backups, by whichever collector reads them."""

from typing import Final

from toban.core.samples import gauge

NEWEST: Final = gauge(
    "backup_newest_timestamp_seconds",
    "Time of the newest backup, in seconds since the epoch; 0 if there is none.",
    "seconds",
)
LIMIT: Final = gauge("backup_age_limit_seconds", "The highest allowed age of the newest backup.", "seconds")
