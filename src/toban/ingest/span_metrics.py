"""From spans to numbers: which part of which process sent a span decides who reads it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from toban.core.metric_registry import Meters
from toban.core.ports import Clock, LineSink
from toban.ingest.backend_spans import Parts
from toban.ingest.label_values import method, number, text, word
from toban.ingest.metric_families import RECEIVED, SPANS, STOREFRONT_REQUESTS, STOREFRONT_SECONDS
from toban.ingest.otlp_model import ACCEPTED, MALFORMED, SERVER, Group, MalformedError, Outcome, Role, Span, Value
from toban.ingest.request_spans import Requests, endpoint, probe
from toban.instruments.business_metrics import BusinessMetrics
from toban.instruments.cardinality import Budgets
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
class Process:
    """Who sends: a service, one process of it, and what it is to the shop."""

    service: str
    instance: str
    role: Role
    environment: str = ""


class Deriving:
    """Counts what spans tell."""

    def __init__(self, meters: Meters, budgets: Budgets, services: Services, lines: LineSink, clock: Clock) -> None:
        self._meters = meters
        self._budgets = budgets
        self._services = services
        self._clock = clock
        performance = PerformanceMonitor(meters, budgets, lines, clock)
        business = BusinessMetrics(meters, budgets)
        self.requests = Requests(performance, business, meters, budgets, clock)
        self._parts = Parts(meters, budgets)

    def process(self, resource: Mapping[str, Value]) -> Process:
        """Tell who sends."""
        service = word(text(resource, "service.name")) or "unknown_service"
        host = f"{text(resource, 'host.name')}:{number(resource, 'process.pid') or ''}".strip(":")
        instance = word(text(resource, "service.instance.id") or host) or service
        environment = text(resource, "service.environment", "deployment.environment.name", "deployment.environment")
        return Process(service, instance, role(service, self._services), word(environment))

    def heard(self, process: Process) -> None:
        """Note that a service is alive."""
        if self._budgets.admits("service", process.service):
            self._meters.set(RECEIVED, self._clock.now().timestamp(), service=process.service)

    def spans(self, groups: Iterable[Group[Span]]) -> Iterator[Outcome]:
        """Count spans, a slice at a time."""
        for group in groups:
            process = self.process(group.resource)
            self.heard(process)
            self._meters.add(SPANS, len(group.items), role=process.role.value)
            handle = self._handler(process, group.scope)
            if handle is None:
                yield Outcome({ACCEPTED: len(group.items)})
                continue
            for start in range(0, len(group.items), SLICE):
                yield _handled(handle, group, start)

    def _handler(self, process: Process, scope: str) -> Handler | None:
        """Return who reads a part's spans."""
        if scope in UNREAD or process.role is Role.OTHER:
            return None
        if process.role is Role.STOREFRONT:
            return self._storefront
        server = process.role is Role.SERVER
        part = scope.removeprefix(OPENTELEMETRY)
        if part == "pg":
            return self._parts.query
        if part in {"ioredis", "redis", "redis-4"}:
            return self._parts.command
        if scope == "@vendure/core":
            return partial(self._service, process.instance) if server else self._parts.method
        if not server:
            return None
        return partial(self.requests.asked if part == "graphql" else self.requests.answered, process.instance)

    def _service(self, process: str, span: Span) -> None:
        self._parts.method(span)
        if span.failed:
            self.requests.suspect(process, span)

    def _storefront(self, span: Span) -> None:
        if span.kind != SERVER:
            return
        attributes = span.attributes()
        if probe(attributes):
            return
        fit = self._budgets.fit
        labels = {
            "endpoint": fit("endpoint", endpoint(attributes)),
            "method": fit("method", method(text(attributes, "http.request.method", "http.method"))),
            "status": fit("status", str(number(attributes, "http.response.status_code", "http.status_code"))),
        }
        self._meters.observe(STOREFRONT_SECONDS, span.seconds, **labels)
        self._meters.add(STOREFRONT_REQUESTS, 1, **labels)


def role(service: str, services: Services) -> Role:
    """Tell what a service is to the shop, by its name."""
    for found, names in (
        (Role.SERVER, services.server),
        (Role.WORKER, services.worker),
        (Role.STOREFRONT, services.storefront),
    ):
        if service in names:
            return found
    return Role.OTHER


def _handled(handle: Handler, group: Group[Span], start: int) -> Outcome:
    broken, read, items = 0, group.read, group.items[start : start + SLICE]
    for raw in items:
        try:
            handle(read(raw))
        except MalformedError:
            broken += 1
    return Outcome({ACCEPTED: len(items) - broken, MALFORMED: broken})
