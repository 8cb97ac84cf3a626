"""Isolates plugins and rule groups: an exception in one fails only its own run."""

from types import TracebackType
from typing import Self

import structlog

from toban.core.errors import TobanError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter

FAILURES = counter("toban_plugin_failures_total", "Runs of a plugin or a rule group that failed.")


class PluginIsolation:
    """
    A context manager around each run of one plugin or rule group: it logs and counts what the run raises.

    Expected errors are one line, others have their traceback; the same error in run after run is logged once, and so
    is the recovery. ``error`` is the error of the last run in words for people, or empty. Cancellation passes.
    """

    def __init__(self, package: str, name: str, meters: MetricRegistry) -> None:
        self.package = package
        self.name = name
        self.error = ""
        self.failures = 0
        self._meters = meters
        self._log = structlog.get_logger(f"toban.{package}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self._record_success()
            return False
        if not isinstance(error, Exception):
            return False
        self._record_failure(error)
        return True

    def _record_failure(self, error: Exception) -> None:
        expected = isinstance(error, TobanError)
        message = str(error) if expected else f"{type(error).__name__}: {error}"
        self._meters.add(FAILURES, package=self.package, name=self.name)
        self.failures += 1
        if message != self.error:
            if expected:
                self._log.warning("run failed", name=self.name, error=message)
            else:
                self._log.error("run failed unexpectedly", name=self.name, error=message, exc_info=error)
        self.error = message

    def _record_success(self) -> None:
        if self.error:
            self._log.info("run recovered", name=self.name, failures=self.failures)
        self.error, self.failures = "", 0
