"""Isolates plugins and rule groups: an exception in one fails only its own run."""

from types import TracebackType
from typing import Self

import structlog

from toban.core.errors import TobanError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter

FAILURES = counter(
    "toban_plugin_failures_total", "Runs of a plugin or a rule group that failed.", labels=("package", "name")
)


class PluginIsolation:
    """
    A context manager around each run of one plugin or rule group: it logs and counts what the run raises.

    Expected errors are one line, others have their traceback; the same error in run after run is logged once, and so
    is the recovery. Cancellation passes.
    """

    def __init__(self, package: str, name: str, meters: MetricRegistry) -> None:
        self.package = package
        self.name = name
        self._meters = meters
        log = structlog.get_logger(f"toban.{package}")
        self._failure = FailureLog(log, "run failed", "run recovered", name=name)

    @property
    def error(self) -> str:
        """The error of the last run; empty when it succeeded."""
        return self._failure.error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self._failure.succeeded()
            return False
        if not isinstance(error, Exception):
            return False
        self._record_failure(error)
        return True

    def _record_failure(self, error: Exception) -> None:
        expected = isinstance(error, TobanError)
        message = str(error) if expected else f"{type(error).__name__}: {error}"
        self._meters.add(FAILURES, package=self.package, name=self.name)
        self._failure.failed(message, None if expected else error)
