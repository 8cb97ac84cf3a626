"""What stands behind the shop, as its own spans tell it: statements, Redis' commands, service methods, events."""

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
)  # fmt: skip  # words, not lines
"""How statements of SQL begin; anything else is counted under `other`."""

QUERY: Final = "pg.query"
CONNECTS: Final = frozenset({"pg.connect", "pg-pool.connect"})
KNOWN: Final = 1_000
"""Names whose series are remembered; a name over its budget is looked up each time."""

GAVE_UP: Final = frozenset({"MaxRetriesPerRequestError", "ConnectionTimeoutError"})
"""What clients of Redis call it when they can't reach it."""


class BackendSpans:
    """Counts spans of which there are many: each name is looked up once."""

    def __init__(self, meters: MetricRegistry, budgets: CardinalityLimits) -> None:
        self._meters = meters
        self._budgets = budgets
        self._queries: dict[str, Histogram] = {}
        self._commands: dict[str, ScalarMetric] = {}
        self._methods: dict[str, Histogram] = {}
        self._attempts: dict[bytes, None] = {}

    def query(self, span: Span) -> None:
        """Count a statement of PostgreSQL, or an attempt to connect."""
        name = span.name
        cell = self._queries.get(name)
        if cell is None and name.startswith(QUERY):
            first = name.partition(":")[2].partition(" ")[0].upper()
            cell = self._meters.histogram(QUERY_SECONDS, operation=first if first in STATEMENTS else OTHER)
            if len(self._queries) < KNOWN and len(name) <= VALUE_LENGTH:
                self._queries[name] = cell
        if cell is not None:
            cell.observe((span.end - span.start) / 1e9)
        if span.failed:
            self._unreachable(span)

    def command(self, span: Span) -> None:
        """Count a command of Redis."""
        name = span.name
        cell = self._commands.get(name)
        if cell is None:
            first = safe_label(name.partition(" ")[0].lower().removeprefix("redis-"))
            fitting = self._budgets.limited("command", first)
            cell = self._meters.scalar(REDIS_COMMANDS, command=fitting)
            if fitting != OTHER and len(self._commands) < KNOWN:
                self._commands[name] = cell
        if not (span.failed and name == "connect"):
            cell.add()
        if span.failed and (name == "connect" or _lost(span)):
            self._meters.add(CONNECTION_ERRORS, 1, system="redis")

    def method(self, span: Span) -> None:
        """Count a method of one of Vendure's services, and the event that it published."""
        name = span.name
        cell = self._methods.get(name)
        if cell is None:
            fitting = self._budgets.limited("service_method", safe_label(name))
            cell = self._meters.histogram(SERVICE_SECONDS, service_method=fitting)
            if fitting != OTHER and len(self._methods) < KNOWN:
                self._methods[name] = cell
        cell.observe((span.end - span.start) / 1e9)
        if name == "EventBus.publish" and (event := first_text(span.attributes(), "event")):
            self._meters.add(EVENTS, 1, event=self._budgets.limited("event", safe_label(event)))

    def _unreachable(self, span: Span) -> None:
        """
        Count an attempt to reach PostgreSQL once: the pool's span holds the connection's, and either may come first.

        A pool that is exhausted has no connection's span within it.
        """
        if span.name in CONNECTS:
            attempt = span.parent if span.name == "pg.connect" else span.id
            if attempt in self._attempts:
                del self._attempts[attempt]
                return
            if attempt:
                self._attempts[attempt] = None
            if len(self._attempts) > KNOWN:
                del self._attempts[next(iter(self._attempts))]
        elif not _lost(span):
            return
        self._meters.add(CONNECTION_ERRORS, 1, system="postgresql")


def _lost(span: Span) -> bool:
    met = exception(span.events())
    return met is not None and (met[0] in CONNECTION_CODES or met[0] in GAVE_UP or "Connection is closed" in met[1])
