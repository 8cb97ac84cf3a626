"""The service behind toban's doors for OpenTelemetry."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import ModuleType
from typing import Final

import structlog

from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus, LineSink, PaymentDeclines
from toban.ingest import otlp_json
from toban.ingest.metric_families import BODIES, BYTES, ITEMS, REJECTED, REPAIRED
from toban.ingest.otlp_logs import DeclinedPayment, LogRecordReader
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

REMEMBERED: Final = 300.0
"""Seconds for which a body is known: what comes twice was sent again, and counts once."""

BODIES_KNOWN: Final = 2_000

TURN: Final = 0.005
"""Seconds of work before others may have a turn."""

TIDY: Final = timedelta(seconds=10)


WHY: Final = {
    MALFORMED: "could not be read",
    UNSUPPORTED: "are of a sort that toban doesn't count (exponential histograms, summaries)",
    TEMPORALITY: "don't say whether they are totals or differences (aggregationTemporality)",
    NEGATIVE: "are no differences of what only grows",
    COLLISION: "have the name or the labels of other series, and would be counted as those",
    LIMIT: "would be too many series",
}


class OtlpReceiver:
    """
    Takes in what the shop's processes push, and counts it.

    A body is decoded and read at once, others wait: so only one lies in memory as objects. The loop has a turn every
    few milliseconds.
    """

    name = "intake"

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
        self._waiting_declines: deque[DeclinedPayment] = deque(maxlen=1_000)
        deriving = SpanMetrics(pushed, CardinalityLimits(meters), services, lines, clock)
        self._deriving = deriving
        self._telling = OtlpMetrics(pushed, deriving, clock)
        self._lines = LogRecordReader(deriving, lines, clock)
        self._one = asyncio.Lock()
        self._known: dict[bytes, float] = {}
        self._told_decode = ""

    def overloaded(self, signal: OtlpSignal, encoding: Encoding, why: str, headers: Mapping[str, str]) -> OtlpResponse:
        """Say that there is no room just now, and count it."""
        self._count(signal, "full")
        return error_response(503, encoding, UNAVAILABLE, why, **headers)

    async def accept(self, signal: OtlpSignal, encoding: Encoding, body: bytes) -> OtlpResponse:
        """Take in a body, and say what became of it."""
        async with self._one:
            digest = hashlib.blake2b(body, digest_size=16, key=signal.encode()).digest()
            if body and self._is_known(digest):
                self._count(signal, "repeated")
                return success_response(signal, encoding)
            try:
                rejected = await self._taken(signal, encoding, body)
            except DecodeError as error:
                self._count(signal, "undecodable")
                if str(error) != self._told_decode:
                    self._told_decode = str(error)
                    log.warning("undecodable", signal=signal.value, error=str(error))
                return error_response(400, encoding, INVALID, str(error))
            self._known[digest] = self._clock.monotonic()
        self._count(signal, "accepted")
        self._meters.add(BYTES, len(body), signal=signal.value)
        if self._waiting_declines:
            await self._tell_declines()
        return success_response(signal, encoding, rejected.total(), _told(rejected))

    async def run(self) -> None:
        """Let go of what is old until cancelled."""
        await run_periodically(self.name, TIDY, self._tidy, clock=self._clock, meters=self._meters)

    def health(self) -> HealthStatus:
        """Say how many bodies are known, so that none is counted twice."""
        return HealthStatus(True, f"{len(self._known)} bodies taken in lately")

    async def _taken(self, signal: OtlpSignal, encoding: Encoding, body: bytes) -> Outcome:
        """Take in a body; return how much of it was rejected, and why."""
        rejected = Outcome()
        turn = self._clock.monotonic()
        for outcome in self._steps(signal, _wire(encoding), body):
            for became, many in (outcome or {}).items():
                if became == ACCEPTED:
                    self._meters.add(ITEMS, many, signal=signal.value)
                elif many:
                    self._meters.add(REJECTED, many, signal=signal.value, reason=became)
                    rejected[became] += many
            if self._clock.monotonic() - turn > TURN:
                await asyncio.sleep(0)
                turn = self._clock.monotonic()
        return rejected

    def _steps(self, signal: OtlpSignal, wire: ModuleType, body: bytes) -> Iterator[Outcome | None]:
        """Read a body slice by slice; each says what became of its items, if any were read yet."""
        message, repaired = yield from wire.decode(signal, body)
        if repaired:
            self._meters.add(REPAIRED, repaired, signal=signal.value)
        if signal is OtlpSignal.TRACES:
            yield from self._deriving.spans(wire.spans(message))
        elif signal is OtlpSignal.METRICS:
            yield from self._telling.metrics(wire.metrics(message))
        else:
            declined: list[DeclinedPayment] = []
            yield from self._lines.records(wire.records(message), declined)
            self._waiting_declines.extend(declined)

    def _is_known(self, digest: bytes) -> bool:
        earliest = self._clock.monotonic() - REMEMBERED
        while self._known and (len(self._known) > BODIES_KNOWN or next(iter(self._known.values())) <= earliest):
            del self._known[next(iter(self._known))]
        return digest in self._known

    async def _tidy(self) -> None:
        self._deriving.requests.expire()
        self._telling.expire()
        await self._tell_declines()

    async def _tell_declines(self) -> None:
        """Tell of payments that failed; while state is in trouble they wait here."""
        while self._declines and self._waiting_declines:
            one = self._waiting_declines.popleft()
            try:
                await self._declines.record(one.order, one.method, one.error, one.at)
            except StateError:
                self._waiting_declines.appendleft(one)
                return  # told where it was met

    def _count(self, signal: OtlpSignal, outcome: str) -> None:
        self._meters.add(BODIES, 1, signal=signal.value, outcome=outcome)


def _wire(encoding: Encoding) -> ModuleType:
    """Return who reads an encoding; protobuf's classes are large, and come when they are needed."""
    if encoding is Encoding.JSON:
        return otlp_json
    from toban.ingest import otlp_protobuf

    return otlp_protobuf


def _told(rejected: Outcome) -> str:
    return "; ".join(f"{many} {WHY[reason]}" for reason, many in rejected.items())
