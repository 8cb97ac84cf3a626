"""The shop's requests: what was asked, how long it took, and whether it failed although HTTP says 200."""

from typing import Final, TypeVar

from toban.core.ports import Clock, Recorder
from toban.core.samples import MetricFamily
from toban.ingest.label_values import (
    ANONYMOUS,
    NONE,
    exception,
    first_integer,
    first_text,
    method,
    operation,
    safe_label,
    texts,
)
from toban.ingest.metric_families import PROBES, UNJOINED
from toban.ingest.otlp_model import SERVER, Span, Value
from toban.ingest.trace_buffer import CROWD, BufferedTrace, Operation, RequestError, ServedRequest, TraceBuffer
from toban.instruments.business_metrics import BusinessMetrics
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.error_classes import UNKNOWN as NO_CODE
from toban.instruments.error_classes import error_code, responsible_party
from toban.instruments.metric_families import ERROR_RESULTS, GRAPHQL_ERRORS
from toban.instruments.performance_metrics import PerformanceMonitor

T = TypeVar("T")

TOBAN: Final = "toban/"
"""How the User-Agent of toban's own requests begins."""

RESOLVE: Final = "graphql.resolve "
STEPS: Final = {"graphql.parse": "GRAPHQL_PARSE_FAILED", "graphql.validate": "GRAPHQL_VALIDATION_FAILED"}
"""The code of a query that was refused, by the step that refused it."""


class RequestSpans:
    """
    Counts what the shop's servers were asked.

    A request is its SERVER span. With the enrichment the span says everything; without, its operation and what failed
    in it are spans of their own, which come earlier, later or never. Nothing waits for a trace to be complete.
    """

    def __init__(
        self,
        performance: PerformanceMonitor,
        business: BusinessMetrics,
        recorder: Recorder,
        budgets: CardinalityLimits,
        clock: Clock,
    ) -> None:
        self._performance = performance
        self._business = business
        self._recorder = recorder
        self._budgets = budgets
        self._traces = TraceBuffer(clock)

    def record_request(self, process: str, span: Span) -> None:
        """
        Count a request, by its SERVER span.

        1. What is no customer's is counted apart. 2. Its operation is what it says, else what came before. 3. It failed
        if it says so, else if a field of its own did.
        """
        if span.kind != SERVER:
            return
        trace = self._traces.trace(process, span.trace)
        if trace.knows(span.id):
            return  # sent again
        attributes = span.attributes()
        request = ServedRequest(span.id, span.start, span.end, endpoint=endpoint(attributes))
        request.has_reported_operation = "graphql.operation.type" in attributes
        _crowd(trace.requests, request)
        told = first_text(attributes, "graphql.operation.name")
        ran, troubles = trace.operation_of(request), trace.errors_of(request)
        if kind := probe_kind(attributes):
            request.probe = request.settled = True
            self._recorder.add(PROBES, 1, kind=kind)
            return
        self._performance.track_api_endpoint(
            request.endpoint,
            method(first_text(attributes, "http.request.method", "http.method")),
            first_integer(attributes, "http.response.status_code", "http.status_code"),
            span.seconds,
        )
        if told or ran or request.has_reported_operation:
            self._ran(request, operation(told) if told or not ran else ran.name, span.trace)
        self._judge(request, attributes, troubles)
        for code in dict.fromkeys(texts(attributes, "vendure.error_result.codes")):
            self._count(ERROR_RESULTS, request.operation, error_code(code))
        for happening in span.events():
            if happening.name == "vendure.product_view" and (product := happening.attributes.get("product.id")):
                self._business.track_product_view(safe_label(str(product)))

    def record_operation(self, process: str, span: Span) -> None:
        """Take in a span of GraphQL: an operation, one of its own fields, or a query that was refused."""
        name = span.name
        if name.startswith(RESOLVE):
            if "." not in name[len(RESOLVE) :]:
                self._field(self._traces.trace(process, span.trace), span)
        elif name in STEPS:
            if span.failed or exception(span.events()):
                self._trouble(self._traces.trace(process, span.trace), RequestError(STEPS[name], span.start, span.end))
        elif "graphql.operation.type" in (attributes := span.attributes()):
            self._operation(process, span, operation(attributes.get("graphql.operation.name")))

    def record_failed_method(self, process: str, span: Span) -> None:
        """Take in a service's method that failed: that counts if a field of the operation called it."""
        trace, parent = self._traces.trace(process, span.trace), span.parent
        trouble = RequestError(_code(span), span.start, span.end)
        if parent in trace.roots:
            self._trouble(trace, trouble)
        elif len(trace.suspects) < CROWD:
            trace.suspects[parent] = trouble

    def expire(self) -> None:
        """Let go of what nobody speaks of any more: an error counts all the same, an operation has no length."""
        for trace in self._traces.evict():
            if trace.errors:
                ran = next((one.name for one in trace.operations), ANONYMOUS)
                self._failed(ran, trace.errors)
            if trace.operations:
                self._recorder.add(UNJOINED, len(trace.operations))

    def _operation(self, process: str, span: Span, name: str) -> None:
        trace, ran = self._traces.trace(process, span.trace), Operation(name, span.start, span.end)
        if trace.is_reported(ran):
            return
        request = trace.request_of(ran)
        if request is None:
            oldest = _crowd(trace.operations, ran)
            if oldest:
                self._recorder.add(UNJOINED)
        elif not request.probe:
            self._ran(request, name, span.trace)

    def _ran(self, request: ServedRequest, name: str, trace: bytes) -> None:
        request.operation = name
        seconds = (request.end - request.start) / 1e9
        self._performance.track_graphql_query(name, seconds, endpoint=request.endpoint, traceId=trace.hex())

    def _field(self, trace: BufferedTrace, span: Span) -> None:
        if len(trace.roots) < CROWD:
            trace.roots.add(span.id)
        found = trace.suspects.pop(span.id, None)
        if span.failed:
            found = RequestError(_code(span), span.start, span.end)
        if found:
            self._trouble(trace, found)

    def _trouble(self, trace: BufferedTrace, trouble: RequestError) -> None:
        request = trace.request_of(trouble)
        if request is None:
            if oldest := _crowd(trace.errors, trouble):
                self._failed(ANONYMOUS, [oldest])
        elif not request.settled:
            request.settled = True
            self._failed(request.operation, [trouble])

    def _judge(self, request: ServedRequest, attributes: dict[str, Value], troubles: list[RequestError]) -> None:
        codes = texts(attributes, "graphql.error.codes")
        enriched = bool(codes) or request.has_reported_operation
        if codes or (troubles and not enriched):
            told = [RequestError(error_code(code), request.start, request.end) for code in codes]
            # Vendure gives no code to what it did not expect; what failed below may have one.
            self._failed(
                request.operation, [*told[:1], *troubles] if told and told[0].code == NO_CODE else told or troubles
            )
        request.settled = enriched or bool(troubles)

    def _failed(self, ran: str, troubles: list[RequestError]) -> None:
        code = next((trouble.code for trouble in troubles if trouble.code != NO_CODE), NO_CODE)
        self._count(GRAPHQL_ERRORS, ran, code, fault=responsible_party(code))

    def _count(self, family: MetricFamily, ran: str, code: str, **more: str) -> None:
        fit = self._budgets.limited
        self._recorder.add(family, 1, operation=fit("operation", ran or ANONYMOUS), code=fit("code", code), **more)


def endpoint(attributes: dict[str, Value]) -> str:
    """Return the route that took a request. Its path is no name: anybody can ask for any."""
    return safe_label(first_text(attributes, "http.route")) or NONE


def probe_kind(attributes: dict[str, Value]) -> str:
    """Tell which sort of probe a request is, if it is one."""
    if first_text(attributes, "user_agent.original", "http.user_agent").startswith(TOBAN):
        return "toban"
    route = first_text(attributes, "http.route") or first_text(attributes, "url.path", "http.target")
    return "health" if route == "/health" or route.startswith(("/health/", "/health?")) else ""


def _code(span: Span) -> str:
    met = exception(span.events())
    return error_code(met[0]) if met else NO_CODE


def _crowd(things: list[T], one: T) -> T | None:
    """Add one; when there are too many the oldest makes room and is returned."""
    things.append(one)
    return things.pop(0) if len(things) > CROWD else None
