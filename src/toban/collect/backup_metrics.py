"""How old backups are, whoever tells it."""

from typing import Final

from toban.core.samples import gauge

NEWEST: Final = gauge(
    "backup_newest_timestamp_seconds", "When the newest backup was made, since the epoch; 0 for never.", "seconds"
)
LIMIT: Final = gauge("backup_age_limit_seconds", "How old the newest backup may be.", "seconds")
