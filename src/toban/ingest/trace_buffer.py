"""What is known of the newest traces, in bounded memory: spans of one request come in any order, in several bodies."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from toban.core.ports import Clock

MOST: Final = 5_000
"""Traces that are remembered; the one that was quiet for longest makes room."""

PATIENCE: Final = 60.0
"""Seconds after which a trace that was quiet is let go."""

CROWD: Final = 50
"""Things of one sort that are remembered of one trace: some traces never end."""

SLACK: Final = 2_000_000
"""Nanoseconds by which a part may reach out of its request: JavaScript tells a start in whole milliseconds."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A GraphQL operation, and when it ran."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RequestError:
    """A part of a request that failed, and when."""

    code: str
    start: int
    end: int


@dataclass(slots=True)
class ServedRequest:
    """A request that was answered; ``settled`` once nothing that comes late can add an error to it."""

    id: bytes
    start: int
    end: int
    endpoint: str = ""
    operation: str = ""
    has_reported_operation: bool = False
    """Whether it said its operation itself: the operation's own span then adds nothing."""
    probe: bool = False
    settled: bool = False

    def holds(self, part: Operation | RequestError) -> bool:
        """Tell whether something happened while this request was answered."""
        return self.start - SLACK <= part.start and part.end <= self.end + SLACK


@dataclass(slots=True)
class BufferedTrace:
    """What is known of one trace in one process: what waits for its request, and what requests may yet get."""

    touched: float
    operations: list[Operation] = field(default_factory=list)
    errors: list[RequestError] = field(default_factory=list)
    requests: list[ServedRequest] = field(default_factory=list)
    roots: set[bytes] = field(default_factory=set)
    """The spans of the operation's own fields."""
    suspects: dict[bytes, RequestError] = field(default_factory=dict)
    """What failed, by the span it was a part of: it counts if that is one of the roots."""

    def knows(self, id: bytes) -> bool:
        """Tell whether a request has come already."""
        return any(request.id == id for request in self.requests)

    def operation_of(self, request: ServedRequest) -> Operation | None:
        """
        Take the operation that a request ran.

        Where several requests of one trace overlap it is the one that ended last before the request did: an answer is
        sent at once.
        """
        found = max((one for one in self.operations if request.holds(one)), key=lambda one: one.end, default=None)
        if found:
            self.operations.remove(found)
        return found

    def errors_of(self, request: ServedRequest) -> list[RequestError]:
        """Take what went wrong in a request."""
        found = [trouble for trouble in self.errors if request.holds(trouble)]
        if found:
            self.errors = [trouble for trouble in self.errors if trouble not in found]
        return found

    def is_reported(self, operation: Operation) -> bool:
        """Tell whether the request that ran an operation has said so itself."""
        return any(request.has_reported_operation and request.holds(operation) for request in self.requests)

    def request_of(self, part: Operation | RequestError) -> ServedRequest | None:
        """Return the request that something which came late belongs to."""
        candidates = [
            request
            for request in self.requests
            if request.holds(part) and not (isinstance(part, Operation) and request.operation)
        ]
        return min(candidates, key=lambda request: request.end, default=None)


class TraceBuffer:
    """Remembers traces, by process and id, as long as they are talked about."""

    def __init__(self, clock: Clock, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._traces: dict[tuple[str, bytes], BufferedTrace] = {}

    def __len__(self) -> int:
        return len(self._traces)

    def trace(self, process: str, id: bytes) -> BufferedTrace:
        """Return what is known of a trace; it becomes the one that was talked about last."""
        key = process, id
        trace = self._traces.pop(key, None) or BufferedTrace(0)
        trace.touched = self._clock.monotonic()
        self._traces[key] = trace
        return trace

    def evict(self) -> Iterator[BufferedTrace]:
        """Let go of traces that were quiet for long, and of those that are too many; what they held is returned."""
        earliest = self._clock.monotonic() - PATIENCE
        while self._traces:
            key, trace = next(iter(self._traces.items()))
            if trace.touched > earliest and len(self._traces) <= self._most:
                return
            del self._traces[key]
            yield trace
