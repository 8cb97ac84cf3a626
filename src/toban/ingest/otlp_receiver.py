"""The service behind toban's OTLP endpoints."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import ModuleType
from typing import Final

import structlog

from toban.core.errors import StateError, StoreError
from toban.core.failure_log import FailureLog
from toban.core.log_line import OTLP
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus, LineSink, PaymentDeclines
from toban.ingest import otlp_json
from toban.ingest.metric_families import BODIES, BYTES, ITEMS, REJECTED, REPAIRED
from toban.ingest.otlp_logs import DeclinedPayment, LogRecordReader, ReceivedLines
from toban.ingest.otlp_metrics import OtlpMetrics
from toban.ingest.otlp_model import (
    ACCEPTED,
    COLLISION,
    LIMIT,
    MALFORMED,
    NEGATIVE,
    TEMPORALITY,
    UNSUPPORTED,
    DecodeError,
    OtlpSignal,
    Outcome,
)
from toban.ingest.otlp_response import INVALID, UNAVAILABLE, Encoding, OtlpResponse, error_response, success_response
from toban.ingest.span_metrics import SpanMetrics
from toban.instruments.cardinality import CardinalityLimits
from toban.shop.settings import Services

log = structlog.get_logger("toban.ingest")

DUPLICATE_SECONDS: Final = 300.0
"""Seconds within which an identical body is a retry of its exporter: it is counted once."""

MAX_DIGESTS: Final = 2_000
"""Bodies that are recognised as duplicates."""

SLICE_SECONDS: Final = 0.005
"""Seconds of work without a pause for other tasks."""

MAX_LINES: Final = 2_000
"""Lines of one body that are in memory at once."""

RETRY_AFTER: Final = "5"
"""Seconds after which an exporter may send again what could not be stored."""

EXPIRE_INTERVAL: Final = timedelta(seconds=10)

REASONS: Final = {
    MALFORMED: "are malformed",
    UNSUPPORTED: "are of an unsupported type (exponential histograms, summaries)",
    TEMPORALITY: "have no aggregationTemporality (cumulative or delta)",
    NEGATIVE: "are negative deltas of a counter",
    COLLISION: "have the name or the labels of another series",
    LIMIT: "exceed the limit of series, processes or labels",
}


class OtlpReceiver:
    """
    Receives what the shop's processes push, and records it.

    One body is decoded at a time, so that only one is in memory as objects; other tasks run every few milliseconds.
    """

    name = "ingest"

    def __init__(
        self,
        pushed: MetricRegistry,
        services: Services,
        lines: LineSink,
        clock: Clock,
        meters: MetricRegistry,
        declines: PaymentDeclines | None = None,
    ) -> None:
        self._meters = meters
        self._clock = clock
        self._declines = declines
        self._pending_declines: deque[DeclinedPayment] = deque(maxlen=1_000)
        span_metrics = SpanMetrics(pushed, CardinalityLimits(meters), services, lines, clock)
        self._span_metrics = span_metrics
        self._metrics = OtlpMetrics(pushed, span_metrics, clock)
        self._logs = LogRecordReader(span_metrics, clock)
        self._lines = lines
        self._decoding = asyncio.Lock()
        self._digests: dict[bytes, float] = {}
        # Not ended by a success: requests of other exporters succeed in between.
        self._failure = FailureLog(log, "request rejected")

    def overloaded(
        self, signal: OtlpSignal, encoding: Encoding, reason: str, headers: Mapping[str, str]
    ) -> OtlpResponse:
        """Return a response that there is no memory at the moment, and count it."""
        self._count(signal, "overloaded")
        return error_response(503, encoding, UNAVAILABLE, reason, **headers)

    async def accept(self, signal: OtlpSignal, encoding: Encoding, body: bytes) -> OtlpResponse:
        """Record the content of a body, and return the response."""
        async with self._decoding:
            digest = hashlib.blake2b(body, digest_size=16, key=signal.encode()).digest()
            if body and self._is_duplicate(digest):
                self._count(signal, "duplicate")
                return success_response(signal, encoding)
            try:
                rejected = await self._record(signal, encoding, body)
            except StoreError as error:
                self._count(signal, "unavailable")
                return error_response(503, encoding, UNAVAILABLE, str(error), **{"retry-after": RETRY_AFTER})
            except DecodeError as error:
                self._count(signal, "rejected")
                self._failure.failed(f"{signal.value}: {error}")
                return error_response(400, encoding, INVALID, str(error))
            self._digests[digest] = self._clock.monotonic()
        self._count(signal, "accepted")
        self._meters.add(BYTES, len(body), signal=signal.value)
        if self._pending_declines:
            await self._record_declines()
        return success_response(signal, encoding, rejected.total(), _reasons(rejected))

    async def run(self) -> None:
        """Expire old state until cancelled."""
        await run_periodically(self.name, EXPIRE_INTERVAL, self._expire, clock=self._clock, meters=self._meters)

    def health(self) -> HealthStatus:
        """Return how many requests were accepted lately."""
        return HealthStatus(True, f"{len(self._digests)} requests accepted lately")

    async def _record(self, signal: OtlpSignal, encoding: Encoding, body: bytes) -> Outcome:
        """Record a body; return how many items were rejected, by reason."""
        rejected, received = Outcome(), ReceivedLines()
        began = self._clock.monotonic()
        for outcome in self._steps(signal, _decoder(encoding), body, received):
            for result, count in (outcome or {}).items():
                if result == ACCEPTED:
                    self._meters.add(ITEMS, count, signal=signal.value)
                elif count:
                    self._meters.add(REJECTED, count, signal=signal.value, reason=result)
                    rejected[result] += count
            if len(received.lines) >= MAX_LINES:
                await self._lines.append(list(received.lines), OTLP)
                received.lines.clear()
            if self._clock.monotonic() - began > SLICE_SECONDS:
                await asyncio.sleep(0)
                began = self._clock.monotonic()
        await self._lines.append(received.lines, OTLP)
        self._pending_declines.extend(received.declined)
        return rejected

    def _steps(
        self, signal: OtlpSignal, decoder: ModuleType, body: bytes, received: ReceivedLines
    ) -> Iterator[Outcome | None]:
        """Decode and record a body in steps; each yields the outcome of its items, if there were any."""
        message, repaired = yield from decoder.decode(signal, body)
        if repaired:
            self._meters.add(REPAIRED, repaired, signal=signal.value)
        if signal is OtlpSignal.TRACES:
            yield from self._span_metrics.spans(decoder.spans(message))
        elif signal is OtlpSignal.METRICS:
            yield from self._metrics.metrics(decoder.metrics(message))
        else:
            yield from self._logs.records(decoder.records(message), received)

    def _is_duplicate(self, digest: bytes) -> bool:
        earliest = self._clock.monotonic() - DUPLICATE_SECONDS
        while self._digests and (len(self._digests) > MAX_DIGESTS or next(iter(self._digests.values())) <= earliest):
            del self._digests[next(iter(self._digests))]
        return digest in self._digests

    async def _expire(self) -> None:
        self._span_metrics.requests.expire()
        self._metrics.expire()
        await self._record_declines()

    async def _record_declines(self) -> None:
        """Record declined payments; they wait here while state is unavailable."""
        while self._declines and self._pending_declines:
            one = self._pending_declines.popleft()
            try:
                await self._declines.record(one.order, one.method, one.error, one.at)
            except StateError:
                self._pending_declines.appendleft(one)
                return  # state reports it; the next run retries

    def _count(self, signal: OtlpSignal, outcome: str) -> None:
        self._meters.add(BODIES, 1, signal=signal.value, outcome=outcome)


def _decoder(encoding: Encoding) -> ModuleType:
    """Return the decoder of an encoding; that of protobuf is large and imported when it is needed."""
    if encoding is Encoding.JSON:
        return otlp_json
    from toban.ingest import otlp_protobuf

    return otlp_protobuf


def _reasons(rejected: Outcome) -> str:
    return "; ".join(f"{count} {REASONS[reason]}" for reason, count in rejected.items())
