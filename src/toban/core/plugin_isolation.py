"""The one fence around kinds: what goes wrong in one costs it one turn."""

from types import TracebackType
from typing import Self

import structlog

from toban.core.errors import TobanError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter

FAILURES = counter("toban_plugin_failures_total", "Turns that a kind lost to trouble, expected or not.")


class PluginIsolation:
    """
    Stands around the turns of one kind: reports expected trouble in a line, a surprise with its traceback.

    The same trouble turn after turn is told once, and so is its end. ``error`` is what went wrong in the last turn,
    in words for people, or nothing. Cancellation passes.
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
        self, sort: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self._well()
            return False
        if not isinstance(error, Exception):
            return False
        self._failed(error)
        return True

    def _failed(self, error: Exception) -> None:
        known = isinstance(error, TobanError)
        trouble = str(error) if known else f"{type(error).__name__}: {error}"
        self._meters.add(FAILURES, floor=self.package, name=self.name)
        self.failures += 1
        if trouble != self.error:
            if known:
                self._log.warning("failed", name=self.name, error=trouble)
            else:
                self._log.error("failed unexpectedly", name=self.name, error=trouble, exc_info=error)
        self.error = trouble

    def _well(self) -> None:
        if self.error:
            self._log.info("recovered", name=self.name, turns_lost=self.failures)
        self.error, self.failures = "", 0
