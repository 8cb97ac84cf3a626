"""Counts and times the shop's requests."""

from datetime import timedelta
from typing import Final

from toban.core.log_line import LogLevel, LogLine
from toban.core.ports import Clock, LineSink, Recorder
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.metric_families import API_LATENCY, API_REQUESTS, API_SECONDS, GRAPHQL_LATENCY, GRAPHQL_SECONDS

SLOW: Final = timedelta(seconds=2)
"""Slower requests are logged."""


class PerformanceMonitor:
    """Counts and times requests; logs slow ones."""

    def __init__(self, recorder: Recorder, limits: CardinalityLimits, lines: LineSink, clock: Clock) -> None:
        self._recorder = recorder
        self._limits = limits
        self._lines = lines
        self._clock = clock

    def track_graphql_query(
        self, operation: str, seconds: float, *, service: str = "", trace_id: str = "", **facts: object
    ) -> None:
        """Count one GraphQL operation; service, trace and ``facts`` (the endpoint) are logged if it was slow."""
        name = self._limits.limited("operation", operation)
        self._recorder.observe(GRAPHQL_SECONDS, seconds, operation=name)
        self._recorder.observe(GRAPHQL_LATENCY, seconds, operation=name)
        if seconds > SLOW.total_seconds():
            fields = {"operation": operation, "duration": round(seconds * 1000), **facts}
            line = LogLine(
                self._clock.now(),
                LogLevel.WARN,
                f"Slow query detected: {operation} took {seconds * 1000:.0f}ms",
                "PerformanceMonitor",
                service,
                category="performance",
                trace_id=trace_id,
                facts=fields,
            )
            self._lines.write([line])

    def track_api_endpoint(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count one request by its route, method and HTTP status."""
        labels = {
            "endpoint": self._limits.limited("endpoint", endpoint),
            "method": self._limits.limited("method", method),
            "status": self._limits.limited("status", str(status)),
        }
        self._recorder.observe(API_SECONDS, seconds, **labels)
        self._recorder.add(API_REQUESTS, 1, **labels)
        self._recorder.observe(API_LATENCY, seconds, endpoint=labels["endpoint"], method=labels["method"])
