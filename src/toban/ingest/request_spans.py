"""Request metrics from spans: operation, duration, and errors even of requests with status 200."""

from dataclasses import replace
from typing import Final, TypeVar

from toban.core.log_line import GRAPHQL_ERROR, LogLevel, LogLine
from toban.core.ports import Clock, LineSink, Recorder
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
from toban.ingest.otlp_model import SERVER, Reporter, Span, Value
from toban.ingest.trace_buffer import MAX_PER_TRACE, BufferedTrace, Operation, RequestError, ServedRequest, TraceBuffer
from toban.instruments.business_metrics import BusinessMetrics
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.error_classes import UNKNOWN as NO_CODE
from toban.instruments.error_classes import error_code, responsible_party
from toban.instruments.metric_families import ERROR_RESULTS, GRAPHQL_ERRORS
from toban.instruments.performance_metrics import PerformanceMonitor

T = TypeVar("T")

TOBAN_USER_AGENT: Final = "toban/"
"""Prefix of the User-Agent of toban's own requests."""

RESOLVE_SPAN: Final = "graphql.resolve "
REJECTED_QUERY_CODES: Final = {"graphql.parse": "GRAPHQL_PARSE_FAILED", "graphql.validate": "GRAPHQL_VALIDATION_FAILED"}
"""The error code of a rejected query, by the span of the step that rejected it."""


class RequestSpans:
    """
    Counts requests of the shop's servers.

    A request is its SERVER span. With toban's enrichment that span has everything; without, the operation and errors
    are spans of their own, received earlier, later or never. No metric waits for a complete trace.
    """

    def __init__(
        self,
        performance: PerformanceMonitor,
        business: BusinessMetrics,
        recorder: Recorder,
        budgets: CardinalityLimits,
        lines: LineSink | None,
        clock: Clock,
    ) -> None:
        """``lines`` gets a line for each failed request, if there is one."""
        self._performance = performance
        self._business = business
        self._recorder = recorder
        self._budgets = budgets
        self._lines = lines
        self._clock = clock
        self._traces = TraceBuffer(clock)

    def record_request(self, reporter: Reporter, span: Span) -> None:
        """
        Count a request by its SERVER span.

        1. Health probes and toban's own requests are counted separately.
        2. The operation is the span's own, else that of an operation span received before.
        3. The request failed if the span has error codes, else if a root field did.
        """
        if span.kind != SERVER:
            return
        trace = self._traces.trace(reporter, span.trace)
        if trace.has_request(span.id):
            return  # a duplicate
        attributes = span.attributes()
        request = ServedRequest(span.id, span.start, span.end, endpoint=endpoint(attributes))
        request.has_reported_operation = "graphql.operation.type" in attributes
        _append_bounded(trace.requests, request)
        name = first_text(attributes, "graphql.operation.name")
        buffered, errors = trace.take_operation(request), trace.take_errors(request)
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
        if name or buffered or request.has_reported_operation:
            self._record_operation(request, operation(name) if name or not buffered else buffered.name, trace)
        self._record_errors(trace, request, attributes, errors)
        for code in dict.fromkeys(texts(attributes, "vendure.error_result.codes")):
            self._count(ERROR_RESULTS, request.operation, error_code(code))
        for event in span.events():
            if event.name == "vendure.product_view" and (product := event.attributes.get("product.id")):
                self._business.track_product_view(safe_label(str(product)))

    def record_operation(self, reporter: Reporter, span: Span) -> None:
        """Record a GraphQL span: an operation, a root field, or a rejected query."""
        name = span.name
        if name.startswith(RESOLVE_SPAN):
            if "." not in name[len(RESOLVE_SPAN) :]:
                self._record_field(self._traces.trace(reporter, span.trace), span)
        elif name in REJECTED_QUERY_CODES:
            if span.failed or exception(span.events()):
                self._record_error(
                    self._traces.trace(reporter, span.trace),
                    RequestError(REJECTED_QUERY_CODES[name], span.start, span.end),
                )
        elif "graphql.operation.type" in (attributes := span.attributes()):
            self._join_operation(reporter, span, operation(attributes.get("graphql.operation.name")))

    def record_failed_method(self, reporter: Reporter, span: Span) -> None:
        """Record a failed service method: it is an error of the request if a root field called it."""
        trace, parent = self._traces.trace(reporter, span.trace), span.parent
        error = _failure(span)
        if parent in trace.root_fields:
            self._record_error(trace, error)
        elif len(trace.method_errors) < MAX_PER_TRACE:
            trace.method_errors[parent] = error

    def expire(self) -> None:
        """Evict old traces: their errors are counted without a request, their operations as unjoined."""
        for trace in self._traces.evict():
            if trace.errors:
                name = next((one.name for one in trace.operations), ANONYMOUS)
                self._count_error(trace, name, trace.errors)
            if trace.operations:
                self._recorder.add(UNJOINED, len(trace.operations))

    def _join_operation(self, reporter: Reporter, span: Span, name: str) -> None:
        trace, buffered = self._traces.trace(reporter, span.trace), Operation(name, span.start, span.end)
        if trace.is_reported(buffered):
            return
        request = trace.request_of(buffered)
        if request is None:
            oldest = _append_bounded(trace.operations, buffered)
            if oldest:
                self._recorder.add(UNJOINED)
        elif not request.probe:
            self._record_operation(request, name, trace)

    def _record_operation(self, request: ServedRequest, name: str, trace: BufferedTrace) -> None:
        request.operation = name
        seconds = (request.end - request.start) / 1e9
        self._performance.track_graphql_query(
            name, seconds, service=trace.service, trace_id=trace.id.hex(), endpoint=request.endpoint
        )

    def _record_field(self, trace: BufferedTrace, span: Span) -> None:
        if len(trace.root_fields) < MAX_PER_TRACE:
            trace.root_fields.add(span.id)
        error = trace.method_errors.pop(span.id, None)
        if span.failed:
            error = replace(_failure(span), path=span.name[len(RESOLVE_SPAN) :])
        if error:
            self._record_error(trace, error)

    def _record_error(self, trace: BufferedTrace, error: RequestError) -> None:
        request = trace.request_of(error)
        if request is None:
            if oldest := _append_bounded(trace.errors, error):
                self._count_error(trace, ANONYMOUS, [oldest])
        elif not request.settled:
            request.settled = True
            self._count_error(trace, request.operation, [error])

    def _record_errors(
        self,
        trace: BufferedTrace,
        request: ServedRequest,
        attributes: dict[str, Value],
        buffered: list[RequestError],
    ) -> None:
        codes = texts(attributes, "graphql.error.codes")
        enriched = bool(codes) or request.has_reported_operation
        if codes or (buffered and not enriched):
            errors = [RequestError(error_code(code), request.start, request.end) for code in codes]
            # Vendure gives no code to unexpected errors; the error of a method may have one.
            if errors and errors[0].code == NO_CODE:
                errors = [errors[0], *buffered]
            self._count_error(trace, request.operation, errors or buffered)
        request.settled = enriched or bool(buffered)

    def _count_error(self, trace: BufferedTrace, operation: str, errors: list[RequestError]) -> None:
        """Count a failed request, and write a line about it: once for a request, whatever has failed in it."""
        code = next((error.code for error in errors if error.code != NO_CODE), NO_CODE)
        fault = responsible_party(code)
        self._count(GRAPHQL_ERRORS, operation, code, fault=fault)
        if not self._lines:
            return
        message = next((error.message for error in errors if error.message), code)
        path = next((error.path for error in errors if error.path), "")
        facts = {"operation": operation, "path": path, "code": code, "fault": fault}
        line = LogLine(
            self._clock.now(),
            LogLevel.WARN if fault == "client" else LogLevel.ERROR,
            f"{GRAPHQL_ERROR}{message}",
            "GraphQLError",
            trace.service,
            facts={name: value for name, value in facts.items() if value},
            trace_id=trace.id.hex(),
        )
        self._lines.write([line])

    def _count(self, family: MetricFamily, operation: str, code: str, **labels: str) -> None:
        fit = self._budgets.limited
        self._recorder.add(
            family, 1, operation=fit("operation", operation or ANONYMOUS), code=fit("code", code), **labels
        )


def endpoint(attributes: dict[str, Value]) -> str:
    """Return the route of a request. A path is not used: clients can request any."""
    return safe_label(first_text(attributes, "http.route")) or NONE


def probe_kind(attributes: dict[str, Value]) -> str:
    """Return the kind of a probe request (health or toban), or an empty text."""
    if first_text(attributes, "user_agent.original", "http.user_agent").startswith(TOBAN_USER_AGENT):
        return "toban"
    route = first_text(attributes, "http.route") or first_text(attributes, "url.path", "http.target")
    return "health" if route == "/health" or route.startswith(("/health/", "/health?")) else ""


def _failure(span: Span) -> RequestError:
    """Return what failed, according to a span."""
    error = exception(span.events())
    code, message = (error_code(error[0]), error[1]) if error else (NO_CODE, "")
    return RequestError(code, span.start, span.end, message)


def _append_bounded(items: list[T], item: T) -> T | None:
    """Append an item; when there are too many, remove and return the oldest."""
    items.append(item)
    return items.pop(0) if len(items) > MAX_PER_TRACE else None
