"""Assembles what receives telemetry, events and samples that are sent here."""

from dataclasses import dataclass

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, LineSink, PaymentDeclines, SampleSink
from toban.ingest.business_events import BusinessEventReceiver
from toban.ingest.otlp_receiver import OtlpReceiver
from toban.ingest.remote_write_receiver import RemoteWriteReceiver
from toban.shop.settings import Services
from toban.state.database import State
from toban.tsdb.settings import TsdbSettings


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """Where that goes which is received: what stays open through reloads."""

    samples: SampleSink
    telemetry: MetricRegistry
    lines: LineSink
    declines: PaymentDeclines
    state: State
    clock: Clock
    meters: MetricRegistry


@dataclass(frozen=True, slots=True)
class Ingest:
    """The receivers; that of telemetry is a service."""

    otlp: OtlpReceiver
    events: BusinessEventReceiver
    remote_write: RemoteWriteReceiver


def open_ingest(
    services: Services, samples: TsdbSettings, ports: IngestPorts, otlp: OtlpReceiver | None = None
) -> Ingest:
    """
    Return the receivers.

    ``services`` are the names of the shop's processes in telemetry. ``otlp`` is a running receiver to go on with.
    """
    it = ports
    return Ingest(
        otlp or OtlpReceiver(it.telemetry, services, it.lines, it.clock, it.meters, it.declines),
        BusinessEventReceiver(it.state, it.clock, it.meters, it.declines),
        RemoteWriteReceiver(it.samples, samples, it.clock, it.meters),
    )
