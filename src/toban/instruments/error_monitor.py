"""
Reports errors to Sentry through its own SDK, without secrets: `ErrorMonitor` of the original design.

It needs `toban[sentry]`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from toban.core.redaction import redact
from toban.core.untyped_json import as_mapping

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

Level = Literal["fatal", "critical", "error", "warning", "info", "debug"]

PRODUCTION_SAMPLE_RATE: Final = 0.1
"""The share of requests in production that are traced; elsewhere all are."""

KEPT: Final = frozenset(
    {
        "event_id",
        "timestamp",
        "start_timestamp",
        "platform",
        "level",
        "sdk",
        "modules",
        "type",
        "environment",
        "release",
    }
)
"""Fields of an event that the SDK itself writes."""


class ErrorMonitor:
    """Reports exceptions and messages; before ``init``, and without a DSN, nothing is sent."""

    @staticmethod
    def init(dsn: str | None = None, environment: str | None = None, **options: Any) -> bool:
        """
        Start reporting; tell whether it reports anything.

        ``SENTRY_DSN`` and ``NODE_ENV`` of the environment are the defaults; ``options`` are those of the SDK.
        """
        import sentry_sdk
        from sentry_sdk.integrations.logging import LoggingIntegration

        dsn = dsn or os.environ.get("SENTRY_DSN")
        environment = environment or os.environ.get("NODE_ENV") or "development"
        settings: dict[str, Any] = {
            "dsn": dsn,
            "environment": environment,
            "traces_sample_rate": PRODUCTION_SAMPLE_RATE if environment == "production" else 1.0,
            "server_name": os.environ.get("FLY_MACHINE_ID"),
            "send_default_pii": False,
            # Variables and source lines hold passwords under any name.
            "include_local_variables": False,
            # The SDK would add headers to every request, also to those that are no part of the shop.
            "trace_propagation_targets": [],
            # What is logged as an error is often the error of another system.
            "integrations": [LoggingIntegration(event_level=None)],
            "before_send": redact_event,
            "before_send_transaction": redact_event,
        }
        sentry_sdk.init(**{**settings, **options})
        return bool(dsn)

    @staticmethod
    def capture_exception(error: BaseException, context: Mapping[str, Any] | None = None) -> None:
        """Report an exception; ``context`` is shown with it as `additional`."""
        import sentry_sdk

        with sentry_sdk.new_scope() as scope:
            if context:
                scope.set_context("additional", dict(context))
            scope.capture_exception(error)

    @staticmethod
    def capture_message(message: str, level: Level = "info") -> None:
        """Report a message."""
        import sentry_sdk

        sentry_sdk.capture_message(message, level)

    @staticmethod
    def capture_graphql_error(message: str, operation: str, path: Sequence[str | int]) -> None:
        """Report a failed GraphQL request, with its operation and the path of the error."""
        import sentry_sdk

        with sentry_sdk.new_scope() as scope:
            scope.set_context("additional", {"operation": operation, "path": ".".join(map(str, path))})
            scope.fingerprint = ["graphql", operation, message]
            scope.set_tag("graphql.operation", operation)
            scope.capture_message(f"GraphQL Error: {message}", "error")

    @staticmethod
    def flush(seconds: float = 2.0) -> None:
        """Wait until what was captured is sent."""
        import sentry_sdk

        sentry_sdk.flush(seconds)


def redact_event(event: "Event", hint: "Hint") -> "Event":
    """Return an event without secrets, at every depth: by the names of its fields, and in its texts."""
    for name, value in list(event.items()):
        if name not in KEPT:
            event[name] = _redacted(value)  # type: ignore[literal-required]  # the SDK's type lists its fields
    return event


def _redacted(value: object) -> object:
    """Redact each stack frame and breadcrumb by itself: a limit of characters is for one, not for all."""
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    if not isinstance(value, Mapping):
        return redact(value)
    fields = {name: inner for name, inner in value.items() if name not in NESTED}
    return as_mapping(redact(fields)) | {name: _redacted(value[name]) for name in NESTED & value.keys()}


NESTED: Final = frozenset({"values", "stacktrace", "frames"})
"""Fields that hold lists of any length."""
