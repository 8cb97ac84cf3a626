"""Logs changes, not states."""

import structlog

log = structlog.get_logger("toban.collect")


class LogOnce:
    """Logs once when a part of a collector's data is missing, and once when it is back."""

    def __init__(self, collector: str) -> None:
        self._collector = collector
        self._errors: dict[str, str] = {}

    def update(self, part: str, error: str = "") -> None:
        """Record why a part is missing, or that it is not."""
        before = self._errors.get(part, "")
        self._errors[part] = error
        if error and error != before:
            log.warning("partial data", collector=self._collector, part=part, error=error)
        elif before and not error:
            log.info("recovered", collector=self._collector, part=part)
