"""Numbers that others write here by remote write."""

import asyncio
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from toban.core import input_limits
from toban.core.errors import SeriesLimitError, TobanError
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

WRITTEN: Final = counter(
    "toban_remote_write_received_samples_total", "Numbers that others wrote here, by what became of them."
)


class SamplesRejectedError(TobanError):
    """Some numbers of a request were not kept; the others were."""


class RemoteWriteReceiver:
    """
    Takes in remote write 1.0, in any order of time within the retention.

    A body is decoded aside, one at a time.
    """

    def __init__(self, sink: SampleSink, settings: TsdbSettings, clock: Clock, meters: MetricRegistry) -> None:
        self._sink = sink
        self._retention = settings.retention
        self._clock = clock
        self._meters = meters
        self._decoder: Decoder | None = None
        self._families: dict[str, MetricFamily] = {}
        self._places = SeriesPacker(clock, settings.series_per_target)
        self._one = asyncio.Lock()
        self._told = ""

    async def accept(self, body: bytes, limit: int) -> None:
        """
        Keep what a request holds; return when it will survive a crash.

        Raises ``RemoteWriteDecodeError`` when it is none (``limit`` is how long it may be unpacked),
        ``SamplesRejectedError`` when it holds numbers that can't be kept, ``StoreError`` when it is to come again.
        """
        async with self._one:
            try:
                samples = await asyncio.to_thread(self._decoded, body, limit)
            except RemoteWriteDecodeError as error:
                self._tell(str(error))
                raise
            fitting = self._in_time(samples)
            refused = {"out of bounds": len(samples) - len(fitting)}
            fitting, exceeded = await asyncio.to_thread(_within_limits, fitting)
            refused |= exceeded
            put = await asyncio.to_thread(self._places.pack, fitting, self._families)
            refused["their target has more series than `metrics.series_per_target` allows"] = len(put.without)
            try:
                await self._sink.append(put.batches)
            except SeriesLimitError as error:
                self._places.release(put.new)
                there = np.array([labels in self._places for labels in fitting.series], np.bool_)
                known = fitting.only(there[fitting.series_of])
                refused[str(error)] = len(fitting) - len(put.without) - len(known)
                await self._sink.append(self._places.pack(known, self._families).batches)
            self._meters.add(WRITTEN, len(samples) - sum(refused.values()), outcome="kept")
            many = sum(refused.values())
            if many:
                self._meters.add(WRITTEN, many, outcome="refused")
                said = ", ".join(f"{count} samples: {why}" for why, count in refused.items() if count)
                self._tell(said)
                raise SamplesRejectedError(said)

    def _decoded(self, body: bytes, limit: int) -> RemoteSamples:
        if self._decoder is None:
            from toban.remote.remote_write_protobuf import Decoder

            self._decoder = Decoder()
        samples, families = self._decoder.decode(body, limit)
        fresh = {family.name: family for family in families if self._families.get(family.name) != family}
        if fresh:
            self._families.update(fresh)
            self._places.resend_metadata()
        return samples

    def _in_time(self, samples: RemoteSamples) -> RemoteSamples:
        now = self._clock.now()
        first, last = milliseconds(now - self._retention), milliseconds(now + MAX_AHEAD)
        return samples.only((samples.times >= first) & (samples.times <= last))

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._told = trouble
            log.warning("numbers written here were not kept", why=trouble)


def _within_limits(samples: RemoteSamples) -> tuple[RemoteSamples, dict[str, int]]:
    """Return the samples whose labels are not too many or too long, and how many are left out, and why."""
    exceeded = [input_limits.SERIES.exceeded(labels) for labels in samples.series]
    if not any(exceeded):
        return samples, {}
    fits = np.array([not it for it in exceeded], np.bool_)
    kept = fits[samples.series_of]
    # No place is to be kept for a series that is not.
    series = [labels for labels, why in zip(samples.series, exceeded, strict=True) if not why]
    places = (np.cumsum(fits) - 1)[samples.series_of[kept]]
    left = RemoteSamples(series, places, samples.times[kept], samples.values[kept])
    return left, {next(filter(None, exceeded)): len(samples) - len(left)}
