"""Metrics of the shop's backends from its spans: SQL statements, Redis commands, service methods, events."""

from typing import Final

from toban.core.labels import VALUE_LENGTH
from toban.core.metric_registry import Histogram, MetricRegistry, ScalarMetric
from toban.ingest.label_values import exception, first_text, safe_label
from toban.ingest.metric_families import CONNECTION_ERRORS, EVENTS, QUERY_SECONDS, REDIS_COMMANDS, SERVICE_SECONDS
from toban.ingest.otlp_model import Span
from toban.instruments.cardinality import OTHER, CardinalityLimits
from toban.instruments.error_classes import CONNECTION_CODES

STATEMENTS: Final = frozenset(
    {
        "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT",
        "RELEASE", "SET", "SHOW", "LOCK", "CALL", "COPY", "CREATE", "ALTER", "DROP", "TRUNCATE", "VACUUM", "REINDEX",
        "EXPLAIN", "REFRESH", "LISTEN", "NOTIFY",
    }
)  # fmt: skip  # a table of words
"""First words of SQL statements; others are counted as `other`."""

QUERY_SPAN: Final = "pg.query"
CONNECT_SPANS: Final = frozenset({"pg.connect", "pg-pool.connect"})
CACHED_NAMES: Final = 1_000
"""Span names whose series are cached; a name beyond its cardinality limit is looked up each time."""

UNREACHABLE: Final = frozenset({"MaxRetriesPerRequestError", "ConnectionTimeoutError"})
"""Errors of Redis clients that can't reach the server."""


class BackendSpans:
    """Counts frequent spans: the series of each name is looked up once."""

    def __init__(self, meters: MetricRegistry, budgets: CardinalityLimits) -> None:
        self._meters = meters
        self._budgets = budgets
        self._queries: dict[str, Histogram] = {}
        self._commands: dict[str, ScalarMetric] = {}
        self._methods: dict[str, Histogram] = {}
        self._attempts: dict[bytes, None] = {}

    def query(self, span: Span) -> None:
        """Count a PostgreSQL statement, or an attempt to connect."""
        name = span.name
        series = self._queries.get(name)
        if series is None and name.startswith(QUERY_SPAN):
            first = name.partition(":")[2].partition(" ")[0].upper()
            series = self._meters.histogram(QUERY_SECONDS, operation=first if first in STATEMENTS else OTHER)
            if len(self._queries) < CACHED_NAMES and len(name) <= VALUE_LENGTH:
                self._queries[name] = series
        if series is not None:
            series.observe((span.end - span.start) / 1e9)
        if span.failed:
            self._record_connection_error(span)

    def command(self, span: Span) -> None:
        """Count a Redis command."""
        name = span.name
        series = self._commands.get(name)
        if series is None:
            first = safe_label(name.partition(" ")[0].lower().removeprefix("redis-"))
            label = self._budgets.limited("command", first)
            series = self._meters.scalar(REDIS_COMMANDS, command=label)
            if label != OTHER and len(self._commands) < CACHED_NAMES:
                self._commands[name] = series
        if not (span.failed and name == "connect"):
            series.add()
        if span.failed and (name == "connect" or _is_connection_lost(span)):
            self._meters.add(CONNECTION_ERRORS, 1, system="redis")

    def method(self, span: Span) -> None:
        """Count a call of a Vendure service method, and the event that it published."""
        name = span.name
        series = self._methods.get(name)
        if series is None:
            label = self._budgets.limited("service_method", safe_label(name))
            series = self._meters.histogram(SERVICE_SECONDS, service_method=label)
            if label != OTHER and len(self._methods) < CACHED_NAMES:
                self._methods[name] = series
        series.observe((span.end - span.start) / 1e9)
        if name == "EventBus.publish" and (event := first_text(span.attributes(), "event")):
            self._meters.add(EVENTS, 1, event=self._budgets.limited("event", safe_label(event)))

    def _record_connection_error(self, span: Span) -> None:
        """
        Count a failed connection to PostgreSQL once: the pool's span contains the connection's; either may come first.

        The span of an exhausted pool contains none.
        """
        if span.name in CONNECT_SPANS:
            attempt = span.parent if span.name == "pg.connect" else span.id
            if attempt in self._attempts:
                del self._attempts[attempt]
                return
            if attempt:
                self._attempts[attempt] = None
            if len(self._attempts) > CACHED_NAMES:
                del self._attempts[next(iter(self._attempts))]
        elif not _is_connection_lost(span):
            return
        self._meters.add(CONNECTION_ERRORS, 1, system="postgresql")


def _is_connection_lost(span: Span) -> bool:
    error = exception(span.events())
    if error is None:
        return False
    type_, message = error
    return type_ in CONNECTION_CODES or type_ in UNREACHABLE or "Connection is closed" in message
