"""From spans to numbers: which part of which process sent a span decides who reads it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
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
UNREAD: Final = frozenset(
    OPENTELEMETRY + name
    for name in ("express", "nestjs-core", "net", "dns", "fs", "knex", "router", "connect", "undici")
)
"""Parts whose spans tell nothing that others don't."""

SLICE: Final = 64
"""Things that are looked at before others may have a turn."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who sends: a service, one process of it, and what it is to the shop."""

    service: str
    instance: str
    role: ReporterRole
    environment: str = ""


class SpanMetrics:
    """Counts what spans tell."""

    def __init__(
        self, meters: MetricRegistry, budgets: CardinalityLimits, services: Services, lines: LineSink, clock: Clock
    ) -> None:
        self._meters = meters
        self._budgets = budgets
        self._services = services
        self._clock = clock
        performance = PerformanceMonitor(meters, budgets, lines, clock)
        business = BusinessMetrics(meters, budgets)
        self.requests = RequestSpans(performance, business, meters, budgets, clock)
        self._parts = BackendSpans(meters, budgets)

    def reporter_of(self, resource: Mapping[str, Value]) -> Reporter:
        """Tell who sends."""
        service = safe_label(first_text(resource, "service.name")) or "unknown_service"
        host = f"{first_text(resource, 'host.name')}:{first_integer(resource, 'process.pid') or ''}".strip(":")
        instance = safe_label(first_text(resource, "service.instance.id") or host) or service
        environment = first_text(
            resource, "service.environment", "deployment.environment.name", "deployment.environment"
        )
        return Reporter(service, instance, role(service, self._services), safe_label(environment))

    def record_alive(self, process: Reporter) -> None:
        """Note that a service is alive."""
        if self._budgets.admits("service", process.service):
            self._meters.set(RECEIVED, self._clock.now().timestamp(), service=process.service)

    def spans(self, groups: Iterable[ScopeGroup[Span]]) -> Iterator[Outcome]:
        """Count spans, a slice at a time."""
        for group in groups:
            process = self.reporter_of(group.resource)
            self.record_alive(process)
            self._meters.add(SPANS, len(group.items), role=process.role.value)
            handle = self._handler(process, group.scope)
            if handle is None:
                yield Outcome({ACCEPTED: len(group.items)})
                continue
            for start in range(0, len(group.items), SLICE):
                yield _handled(handle, group, start)

    def _handler(self, process: Reporter, scope: str) -> Handler | None:
        """Return who reads a part's spans."""
        if scope in UNREAD or process.role is ReporterRole.OTHER:
            return None
        if process.role is ReporterRole.STOREFRONT:
            return self._storefront
        server = process.role is ReporterRole.SERVER
        part = scope.removeprefix(OPENTELEMETRY)
        if part == "pg":
            return self._parts.query
        if part in {"ioredis", "redis", "redis-4"}:
            return self._parts.command
        if scope == "@vendure/core":
            return partial(self._service, process.instance) if server else self._parts.method
        if not server:
            return None
        return partial(
            self.requests.record_operation if part == "graphql" else self.requests.record_request, process.instance
        )

    def _service(self, process: str, span: Span) -> None:
        self._parts.method(span)
        if span.failed:
            self.requests.record_failed_method(process, span)

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
    """Tell what a service is to the shop, by its name."""
    for found, names in (
        (ReporterRole.SERVER, services.server),
        (ReporterRole.WORKER, services.worker),
        (ReporterRole.STOREFRONT, services.storefront),
    ):
        if service in names:
            return found
    return ReporterRole.OTHER


def _handled(handle: Handler, group: ScopeGroup[Span], start: int) -> Outcome:
    broken, read, items = 0, group.read, group.items[start : start + SLICE]
    for raw in items:
        try:
            handle(read(raw))
        except MalformedError:
            broken += 1
    return Outcome({ACCEPTED: len(items) - broken, MALFORMED: broken})
