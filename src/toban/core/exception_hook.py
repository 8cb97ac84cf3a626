"""Hands exceptions that are logged to whoever reports them elsewhere."""

import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

Report = Callable[[BaseException, str], None]

_reports: list[Report] = []


@contextmanager
def exceptions_reported_to(report: Report) -> Iterator[None]:
    """Call a function, as long as the block lasts, with each exception that is logged, and its log event."""
    _reports.append(report)
    try:
        yield
    finally:
        _reports.remove(report)


def report_exception(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Report the exception of a log event, if it has one: a processor of structlog."""
    given = event.get("exc_info")
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else sys.exc_info()[1]
    if given and error:
        for report in _reports:
            report(error, str(event.get("event", "")))
    return event
