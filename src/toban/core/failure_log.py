"""Edge-triggered logging: a failure is logged when it begins, changes and ends, however often it repeats."""

from typing import Any


class FailureLog:
    """What fails just now, if anything."""

    def __init__(self, log: Any, failed: str, recovered: str = "", **fields: object) -> None:
        """``failed`` and ``recovered`` are the log events, ``fields`` go with both; an empty one is not logged."""
        self._log = log
        self._failed = failed
        self._recovered = recovered
        self._fields = fields
        self.error = ""
        """The error of the last run; empty when it succeeded."""
        self.failures = 0
        """How many runs have failed since the last success."""

    def failed(self, error: str, bug: Exception | None = None) -> None:
        """Record a failed run; a ``bug`` is logged with its traceback."""
        self.failures += 1
        if error != self.error:
            self.error = error
            if bug:
                self._log.error(self._failed, **self._fields, error=error, exc_info=bug)
            else:
                self._log.warning(self._failed, **self._fields, error=error)

    def succeeded(self) -> None:
        """Record a successful run."""
        if self.error and self._recovered:
            self._log.info(self._recovered, **self._fields, failures=self.failures)
        self.error, self.failures = "", 0
