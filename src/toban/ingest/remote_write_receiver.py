"""Receives remote write."""

import asyncio
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from toban.core import input_limits
from toban.core.errors import SeriesLimitError, TobanError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, SampleSink
from toban.core.samples import MetricFamily, counter, milliseconds
from toban.ingest.series_packing import SeriesPacker
from toban.remote.remote_write_model import RemoteSamples, RemoteWriteDecodeError
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import MAX_AHEAD

if TYPE_CHECKING:
    from toban.remote.remote_write_protobuf import Decoder

log = structlog.get_logger("toban.ingest")

RECEIVED: Final = counter(
    "toban_remote_write_received_samples_total",
    "Samples received by remote write, by outcome: accepted or rejected.",
    labels=("outcome",),
)


class SamplesRejectedError(TobanError):
    """Some samples of a request were rejected; the others were accepted."""


class RemoteWriteReceiver:
    """
    Receives remote write 1.0; samples within the retention are accepted in any order.

    Bodies are decoded in a worker thread, one at a time.
    """

    def __init__(self, sink: SampleSink, settings: TsdbSettings, clock: Clock, meters: MetricRegistry) -> None:
        self._sink = sink
        self._retention = settings.retention
        self._clock = clock
        self._meters = meters
        self._decoder: Decoder | None = None
        self._families: dict[str, MetricFamily] = {}
        self._packer = SeriesPacker(clock, settings.series_per_target)
        self._receiving = asyncio.Lock()
        # Not ended by a success: requests of other senders succeed in between.
        self._failure = FailureLog(log, "remote write rejected")

    async def accept(self, body: bytes, limit: int) -> None:
        """
        Append the samples of a request; return when they survive a crash.

        Raises ``RemoteWriteDecodeError`` when it is invalid or exceeds ``limit`` bytes decompressed,
        ``SamplesRejectedError`` when some samples are rejected, ``StoreError`` when it has to be sent again.
        """
        async with self._receiving:
            try:
                samples = await asyncio.to_thread(self._decode, body, limit)
            except RemoteWriteDecodeError as error:
                self._failure.failed(str(error))
                raise
            fitting = self._in_time(samples)
            rejected = {"out of bounds": len(samples) - len(fitting)}
            fitting, exceeded = await asyncio.to_thread(_within_limits, fitting)
            rejected |= exceeded
            packed = await asyncio.to_thread(self._packer.pack, fitting, self._families)
            rejected["their target has more series than `metrics.series_per_target` allows"] = len(packed.rejected)
            try:
                await self._sink.append(packed.batches)
            except SeriesLimitError as error:
                self._packer.release(packed.new)
                is_known = np.array([labels in self._packer for labels in fitting.series], np.bool_)
                known = fitting.only(is_known[fitting.series_of])
                rejected[str(error)] = len(fitting) - len(packed.rejected) - len(known)
                await self._sink.append(self._packer.pack(known, self._families).batches)
            self._meters.add(RECEIVED, len(samples) - sum(rejected.values()), outcome="accepted")
            count = sum(rejected.values())
            if count:
                self._meters.add(RECEIVED, count, outcome="rejected")
                message = ", ".join(f"{count} samples: {reason}" for reason, count in rejected.items() if count)
                self._failure.failed(message)
                raise SamplesRejectedError(message)

    def _decode(self, body: bytes, limit: int) -> RemoteSamples:
        if self._decoder is None:
            from toban.remote.remote_write_protobuf import Decoder

            self._decoder = Decoder()
        samples, families = self._decoder.decode(body, limit)
        changed = {family.name: family for family in families if self._families.get(family.name) != family}
        if changed:
            self._families.update(changed)
            self._packer.resend_metadata()
        return samples

    def _in_time(self, samples: RemoteSamples) -> RemoteSamples:
        now = self._clock.now()
        first, last = milliseconds(now - self._retention), milliseconds(now + MAX_AHEAD)
        return samples.only((samples.times >= first) & (samples.times <= last))


def _within_limits(samples: RemoteSamples) -> tuple[RemoteSamples, dict[str, int]]:
    """Return the samples whose labels are within the limits, and how many others there are, by reason."""
    exceeded = [input_limits.SERIES.exceeded(labels) for labels in samples.series]
    if not any(exceeded):
        return samples, {}
    fits = np.array([not it for it in exceeded], np.bool_)
    kept = fits[samples.series_of]
    # A rejected series must not get a slot.
    series = [labels for labels, reason in zip(samples.series, exceeded, strict=True) if not reason]
    series_of = (np.cumsum(fits) - 1)[samples.series_of[kept]]
    left = RemoteSamples(series, series_of, samples.times[kept], samples.values[kept])
    return left, {next(filter(None, exceeded)): len(samples) - len(left)}
