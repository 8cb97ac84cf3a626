"""Buffers the newest traces in bounded memory: the spans of a request arrive in any order, in several bodies."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from toban.core.ports import Clock
from toban.ingest.otlp_model import Reporter

MAX_TRACES: Final = 5_000
"""Traces that are buffered; the least recently used one is evicted."""

EVICT_SECONDS: Final = 60.0
"""Seconds without a span after which a trace is evicted."""

MAX_PER_TRACE: Final = 50
"""Operations, errors or requests that are buffered of one trace: some traces never end."""

SLACK: Final = 2_000_000
"""Nanoseconds by which a part may exceed its request: JavaScript rounds starts to milliseconds."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A GraphQL operation, and when it ran."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RequestError:
    """A part of a request that failed, and when; the message and the field are known of some."""

    code: str
    start: int
    end: int
    message: str = ""
    path: str = ""


@dataclass(slots=True)
class ServedRequest:
    """A served request; ``settled`` when spans received later can't add an error to it."""

    id: bytes
    start: int
    end: int
    endpoint: str = ""
    operation: str = ""
    has_reported_operation: bool = False
    """Whether its own span has the operation: the operation's span then adds nothing."""
    probe: bool = False
    settled: bool = False

    def contains(self, part: Operation | RequestError) -> bool:
        """Return whether something happened during this request."""
        return self.start - SLACK <= part.start and part.end <= self.end + SLACK


@dataclass(slots=True)
class BufferedTrace:
    """One trace in one process: operations and errors without a request yet, and requests that may get some."""

    used_at: float
    id: bytes
    service: str
    operations: list[Operation] = field(default_factory=list)
    errors: list[RequestError] = field(default_factory=list)
    requests: list[ServedRequest] = field(default_factory=list)
    root_fields: set[bytes] = field(default_factory=set)
    """The span ids of the operation's root fields."""
    method_errors: dict[bytes, RequestError] = field(default_factory=dict)
    """Failed methods by their parent span: errors of the request if that is a root field."""

    def has_request(self, id: bytes) -> bool:
        """Return whether a request was received already."""
        return any(request.id == id for request in self.requests)

    def take_operation(self, request: ServedRequest) -> Operation | None:
        """
        Remove and return the operation of a request, if there is one.

        When several requests of a trace overlap, it is the one that ended last before the request did: a response is
        sent at once.
        """
        operation = max(
            (one for one in self.operations if request.contains(one)), key=lambda one: one.end, default=None
        )
        if operation:
            self.operations.remove(operation)
        return operation

    def take_errors(self, request: ServedRequest) -> list[RequestError]:
        """Remove and return the errors of a request."""
        errors = [error for error in self.errors if request.contains(error)]
        if errors:
            self.errors = [error for error in self.errors if error not in errors]
        return errors

    def is_reported(self, operation: Operation) -> bool:
        """Return whether the request of an operation has it in its own span."""
        return any(request.has_reported_operation and request.contains(operation) for request in self.requests)

    def request_of(self, part: Operation | RequestError) -> ServedRequest | None:
        """Return the request of a part that was received after it, if there is one."""
        candidates = [
            request
            for request in self.requests
            if request.contains(part) and not (isinstance(part, Operation) and request.operation)
        ]
        return min(candidates, key=lambda request: request.end, default=None)


class TraceBuffer:
    """Buffers traces by process and id, as long as spans of them are received."""

    def __init__(self, clock: Clock, max_traces: int = MAX_TRACES) -> None:
        self._clock = clock
        self._max_traces = max_traces
        self._traces: dict[tuple[str, bytes], BufferedTrace] = {}

    def __len__(self) -> int:
        return len(self._traces)

    def trace(self, reporter: Reporter, id: bytes) -> BufferedTrace:
        """Return a trace, and mark it as the most recently used."""
        key = reporter.instance, id
        trace = self._traces.pop(key, None) or BufferedTrace(0, id, reporter.service)
        trace.used_at = self._clock.monotonic()
        self._traces[key] = trace
        return trace

    def evict(self) -> Iterator[BufferedTrace]:
        """Remove and return traces that are old or too many."""
        earliest = self._clock.monotonic() - EVICT_SECONDS
        while self._traces:
            key, trace = next(iter(self._traces.items()))
            if trace.used_at > earliest and len(self._traces) <= self._max_traces:
                return
            del self._traces[key]
            yield trace
