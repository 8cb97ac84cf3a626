"""Derives metrics from spans: role and instrumentation scope decide which handler counts a span."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, LineSink
from toban.ingest.backend_spans import BackendSpans
from toban.ingest.label_values import first_integer, first_text, method, safe_label
from toban.ingest.metric_families import RECEIVED, SPANS, STOREFRONT_REQUESTS, STOREFRONT_SECONDS
from toban.ingest.otlp_model import (
    ACCEPTED,
    MALFORMED,
    SERVER,
    MalformedError,
    Outcome,
    Reporter,
    ReporterRole,
    ScopeGroup,
    Span,
    Value,
)
from toban.ingest.request_spans import RequestSpans, endpoint, probe_kind
from toban.instruments.business_metrics import BusinessMetrics
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.performance_metrics import PerformanceMonitor
from toban.shop.settings import Services

Handler = Callable[[Span], None]

OPENTELEMETRY: Final = "@opentelemetry/instrumentation-"
IGNORED_SCOPES: Final = frozenset(
    OPENTELEMETRY + name
    for name in ("express", "nestjs-core", "net", "dns", "fs", "knex", "router", "connect", "undici")
)
"""Instrumentation scopes whose spans add nothing to those of others."""

BATCH: Final = 64
"""Items that are recorded without a pause for other tasks."""


class SpanMetrics:
    """Counts spans."""

    def __init__(
        self, meters: MetricRegistry, budgets: CardinalityLimits, services: Services, lines: LineSink, clock: Clock
    ) -> None:
        self._meters = meters
        self._budgets = budgets
        self._services = services
        self._clock = clock
        performance = PerformanceMonitor(meters, budgets, lines, clock)
        business = BusinessMetrics(meters, budgets)
        self.requests = RequestSpans(
            performance, business, meters, budgets, lines if services.graphql_errors else None, clock
        )
        self._backend = BackendSpans(meters, budgets)

    def reporter_of(self, resource: Mapping[str, Value]) -> Reporter:
        """Return the process of a resource."""
        service = safe_label(first_text(resource, "service.name")) or "unknown_service"
        host = f"{first_text(resource, 'host.name')}:{first_integer(resource, 'process.pid') or ''}".strip(":")
        instance = safe_label(first_text(resource, "service.instance.id") or host) or service
        environment = first_text(
            resource, "service.environment", "deployment.environment.name", "deployment.environment"
        )
        return Reporter(service, instance, role(service, self._services), safe_label(environment))

    def record_alive(self, reporter: Reporter) -> None:
        """Record the time of a service's last telemetry."""
        if self._budgets.admits("service", reporter.service):
            self._meters.set(RECEIVED, self._clock.now().timestamp(), service=reporter.service)

    def spans(self, groups: Iterable[ScopeGroup[Span]]) -> Iterator[Outcome]:
        """Count spans, some at a time, and yield their outcome."""
        for group in groups:
            reporter = self.reporter_of(group.resource)
            self.record_alive(reporter)
            self._meters.add(SPANS, len(group.items), role=reporter.role.value)
            handle = self._handler(reporter, group.scope)
            if handle is None:
                yield Outcome({ACCEPTED: len(group.items)})
                continue
            for start in range(0, len(group.items), BATCH):
                yield _handle(handle, group, start)

    def _handler(self, reporter: Reporter, scope: str) -> Handler | None:
        """Return the handler of a scope's spans, or None when they are not counted."""
        if scope in IGNORED_SCOPES or reporter.role is ReporterRole.OTHER:
            return None
        if reporter.role is ReporterRole.STOREFRONT:
            return self._storefront
        server = reporter.role is ReporterRole.SERVER
        library = scope.removeprefix(OPENTELEMETRY)
        if library == "pg":
            return self._backend.query
        if library in {"ioredis", "redis", "redis-4"}:
            return self._backend.command
        if scope == "@vendure/core":
            return partial(self._service, reporter) if server else self._backend.method
        if not server:
            return None
        return partial(
            self.requests.record_operation if library == "graphql" else self.requests.record_request, reporter
        )

    def _service(self, reporter: Reporter, span: Span) -> None:
        self._backend.method(span)
        if span.failed:
            self.requests.record_failed_method(reporter, span)

    def _storefront(self, span: Span) -> None:
        if span.kind != SERVER:
            return
        attributes = span.attributes()
        if probe_kind(attributes):
            return
        fit = self._budgets.limited
        labels = {
            "endpoint": fit("endpoint", endpoint(attributes)),
            "method": fit("method", method(first_text(attributes, "http.request.method", "http.method"))),
            "status": fit("status", str(first_integer(attributes, "http.response.status_code", "http.status_code"))),
        }
        self._meters.observe(STOREFRONT_SECONDS, span.seconds, **labels)
        self._meters.add(STOREFRONT_REQUESTS, 1, **labels)


def role(service: str, services: Services) -> ReporterRole:
    """Return the role of a service by its name."""
    for found, names in (
        (ReporterRole.SERVER, services.server),
        (ReporterRole.WORKER, services.worker),
        (ReporterRole.STOREFRONT, services.storefront),
    ):
        if service in names:
            return found
    return ReporterRole.OTHER


def _handle(handle: Handler, group: ScopeGroup[Span], start: int) -> Outcome:
    malformed, read, items = 0, group.read, group.items[start : start + BATCH]
    for raw in items:
        try:
            handle(read(raw))
        except MalformedError:
            malformed += 1
    return Outcome({ACCEPTED: len(items) - malformed, MALFORMED: malformed})
