"""
Reports errors to Sentry through its own SDK, without secrets: `ErrorMonitor` of the original design.

It needs `toban[sentry]`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from toban.core.errors import SettingsError
from toban.core.log_line import GRAPHQL_ERROR
from toban.instruments.sentry_sdk_options import check_dsn, load_sdk, options, redacting

Level = Literal["fatal", "critical", "error", "warning", "info", "debug"]

PRODUCTION_SAMPLE_RATE: Final = 0.1
"""The share of requests in production that are traced; elsewhere all are."""

MODULE: Final = "sentry_sdk"


class ErrorMonitor:
    """Reports exceptions and messages; before ``init``, and without a DSN, nothing is sent."""

    @staticmethod
    def init(dsn: str | None = None, environment: str | None = None, **more: Any) -> bool:
        """
        Start reporting; tell whether it reports anything.

        ``SENTRY_DSN`` and ``NODE_ENV`` of the environment are the defaults; ``more`` are options of the SDK. What its
        `before_send` returns is redacted too. Raises ``SettingsError`` for an invalid DSN, and without the SDK.
        """
        dsn = dsn or os.environ.get("SENTRY_DSN") or ""
        if not dsn:
            return False
        try:
            check_dsn(dsn)
        except ValueError as error:
            raise SettingsError(f"SENTRY_DSN: {error}") from error
        sdk = load_sdk()
        environment = environment or os.environ.get("NODE_ENV") or "development"
        for callback in ("before_send", "before_send_transaction"):
            more[callback] = redacting(more.get(callback))
        settings: dict[str, Any] = {
            **options(dsn, environment),
            "traces_sample_rate": PRODUCTION_SAMPLE_RATE if environment == "production" else 1.0,
            "server_name": os.environ.get("FLY_MACHINE_ID"),
            # What is logged as an error is often the error of another system.
            "integrations": [sdk.integrations.logging.LoggingIntegration(event_level=None)],
        }
        sdk.init(**{**settings, **more})
        return True

    @staticmethod
    def capture_exception(error: BaseException, context: Mapping[str, Any] | None = None) -> None:
        """Report an exception; ``context`` is shown with it as `additional`."""
        if sdk := sys.modules.get(MODULE):
            with sdk.new_scope() as scope:
                if context:
                    scope.set_context("additional", dict(context))
                scope.capture_exception(error)

    @staticmethod
    def capture_message(message: str, level: Level = "info") -> None:
        """Report a message."""
        if sdk := sys.modules.get(MODULE):
            sdk.capture_message(message, level)

    @staticmethod
    def capture_graphql_error(message: str, operation: str, path: Sequence[str | int]) -> None:
        """Report a failed GraphQL request, with its operation and the path of the error."""
        if sdk := sys.modules.get(MODULE):
            with sdk.new_scope() as scope:
                scope.set_context("additional", {"operation": operation, "path": ".".join(map(str, path))})
                scope.fingerprint = ["graphql", operation, message]
                scope.set_tag("graphql.operation", operation)
                scope.capture_message(f"{GRAPHQL_ERROR}{message}", "error")

    @staticmethod
    def flush(seconds: float = 2.0) -> None:
        """Wait until what was captured is sent."""
        if sdk := sys.modules.get(MODULE):
            sdk.flush(seconds)
