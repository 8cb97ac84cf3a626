"""Edge-triggered logging of missing parts of a collection."""

import structlog

from toban.core.failure_log import FailureLog

log = structlog.get_logger("toban.collect")


class LogOnce:
    """Logs once when a part of a collector's data is missing, and once when it is back."""

    def __init__(self, collector: str) -> None:
        self._collector = collector
        self._failures: dict[str, FailureLog] = {}

    def update(self, part: str, error: str = "") -> None:
        """Record why a part is missing, or that it is not."""
        if part not in self._failures:
            self._failures[part] = FailureLog(log, "partial data", "recovered", collector=self._collector, part=part)
        if error:
            self._failures[part].failed(error)
        else:
            self._failures[part].succeeded()
