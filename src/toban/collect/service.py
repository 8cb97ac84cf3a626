"""The collection service: scrapes every target at its interval."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import structlog

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError, SeriesLimitError, StoreError
from toban.core.labels import NAME, Labels
from toban.core.periodic import run_periodically
from toban.core.plugin_isolation import PluginIsolation
from toban.core.ports import HealthState, HealthStatus, SampleSink
from toban.core.samples import STALE, Batch, Layout, Sample, gauge, layout_of, milliseconds

log = structlog.get_logger("toban.collect")

UP: Final = gauge("up", "Whether the target could be read and is healthy (1) or not (0).")
DURATION: Final = gauge("scrape_duration_seconds", "Duration of the collection.", "seconds")
SAMPLES: Final = gauge("scrape_samples_scraped", "Samples that the collection returned.")
SCRAPE_METRICS: Final = (UP, DURATION, SAMPLES)

LATE_INTERVALS: Final = 3
"""Intervals without a collection after which a loop counts as late."""


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A collector's target after its last collection."""

    name: str
    kind: str
    labels: dict[str, str]
    interval: float
    at: datetime | None = None
    seconds: float = 0.0
    samples: int = 0
    up: bool = False
    error: str = ""

    @property
    def state(self) -> HealthState:
        """Its state; none is known before the first collection."""
        if self.at is None and not self.error:
            return HealthState.NO_DATA
        return HealthState.HEALTHY if self.up else HealthState.UNHEALTHY


class ScrapeLoop:
    """Scrapes one target: collects, adds `up`, marks vanished series as stale, appends."""

    def __init__(self, collector: Collector, sink: SampleSink, tools: CollectorTools) -> None:
        self.collector = collector = collector.located(tools.shop)
        self.isolation = PluginIsolation("collect", collector.name, tools.meters)
        self.status = TargetStatus(collector.name, collector.kind, collector.target, collector.interval.total_seconds())
        self.newest: tuple[Batch, ...] = ()
        self.collected = asyncio.Event()
        self.collected_at: float | None = None
        """When it collected last, on the monotonic clock."""
        self._sink = sink
        self._tools = tools
        self._scraper: Scraper | None = None
        self._layouts: tuple[Layout, ...] = ()
        self._cached_layout: tuple[tuple[object, ...], Layout] | None = None
        self._scrape_layout = Layout(
            [Labels({**collector.target, NAME: family.name}) for family in SCRAPE_METRICS], SCRAPE_METRICS
        )

    @property
    def scraper(self) -> Scraper:
        """The running collector, opened when it is first needed. Raises ``CollectError`` when it can't be."""
        if self._scraper is None:
            self._scraper = self.collector.open(self._tools)
        return self._scraper

    async def collect(self) -> None:
        """
        Collect once.

        1. Read the target, isolated.
        2. Put its samples in batches; invalid samples and too many series fail the collection.
        3. Mark the series of the last collection that are missing now as stale.
        4. Append everything with `up` at once.
        """
        began, at = self._tools.clock.monotonic(), self._tools.clock.now()
        result, batches, read = ScrapeResult(), list[Batch](), False
        with self.isolation:
            result = ScrapeResult.of(await self.scraper.collect())
            batches = self._batches(result, at)
            read = True
            if result.error:
                # The samples are kept; the isolation reports the error, and the recovery.
                raise CollectError(result.error)
        seconds = self._tools.clock.monotonic() - began
        appended = await self._append(batches, at, seconds, self.isolation.error, result.unchanged if read else ())
        if appended and read and result.stored:
            result.stored()

    async def record_timeout(self) -> None:
        """Record a collection that was cancelled because it took longer than the interval."""
        with self.isolation:
            raise CollectError(f"{self.collector.name}: collection timed out after {self.status.interval:g} s")
        await self._append([], self._tools.clock.now(), self.status.interval, self.isolation.error)

    async def end_series(self) -> None:
        """Mark all series as stale: this target is no longer scraped."""
        self._layouts = (*self._layouts, self._scrape_layout)
        try:
            await self._sink.append(self._stale([], milliseconds(self._tools.clock.now())))
        except StoreError as error:
            log.debug("append not durable yet", error=str(error))

    async def _append(
        self, batches: Sequence[Batch], at: datetime, seconds: float, error: str, unchanged: Sequence[Batch] = ()
    ) -> bool:
        """Append, and return whether the store accepted it: also where it is not durable, which the store reports."""
        now = milliseconds(at)
        count = sum(int(np.count_nonzero(~np.isnan(batch.values))) for batch in batches)
        scrape = Batch(self._scrape_layout, now, np.array([not error, seconds, count], np.float64))
        try:
            await self._sink.append([scrape, *batches, *self._stale([*unchanged, *batches], now)])
        except SeriesLimitError as refusal:
            with self.isolation:
                raise CollectError(f"{self.collector.name}: {refusal}") from refusal
            if batches:
                # Nothing was stored: the target is reported as down instead, with the reason.
                await self._append([], at, seconds, self.isolation.error)
                return False
        except StoreError as failure:
            log.debug("append not durable yet", error=str(failure))
        self.status = replace(self.status, at=at, seconds=seconds, samples=count, up=not error, error=error)
        self.collected_at = self._tools.clock.monotonic()
        self.newest = (scrape, *unchanged, *batches)
        self._layouts = tuple({id(batch.layout): batch.layout for batch in (*unchanged, *batches)}.values())
        self.collected.set()
        return True

    def _batches(self, result: ScrapeResult, at: datetime) -> list[Batch]:
        """Return a result's samples as batches. Raises ``CollectError`` when they are invalid or too many."""
        try:
            batches = [*result.batches, *self._sample_batches(result.samples, at)]
        except (ValueError, TypeError, AttributeError) as error:
            raise CollectError(f"{self.collector.name}: {error}") from error
        count = sum(len(layout) for layout in {id(batch.layout): batch.layout for batch in batches}.values())
        if count > self.collector.sample_limit:
            # Samples of many times may have the same series in several layouts.
            count = len({labels for batch in batches for labels in batch.layout.series})
        if count > self.collector.sample_limit:
            raise CollectError(
                f"{self.collector.name}: {count} series in one collection, more than its sample_limit of"
                f" {self.collector.sample_limit}: raise it if they are wanted"
            )
        return batches

    def _sample_batches(self, samples: Iterable[Sample], at: datetime) -> list[Batch]:
        """Return one batch for each time of the samples; a layout is used again while nothing changes."""
        by_time: dict[int, list[Sample]] = {}
        for sample in samples:
            by_time.setdefault(milliseconds(sample.at or at), []).append(sample)
        return [
            Batch(self._layout(group), time, np.array([sample.value for sample in group], np.float64))
            for time, group in by_time.items()
        ]

    def _layout(self, samples: Sequence[Sample]) -> Layout:
        key = tuple((sample.family, sample.suffix, tuple(sample.labels.items())) for sample in samples)
        if self._cached_layout is None or self._cached_layout[0] != key:
            self._cached_layout = key, layout_of(samples, self.collector.common)
        return self._cached_layout[1]

    def _stale(self, batches: Sequence[Batch], now: int) -> list[Batch]:
        """Return staleness markers for the series of the last collection that are missing in this one."""
        layouts = {id(batch.layout) for batch in batches}
        gone = [layout for layout in self._layouts if id(layout) not in layouts]
        if not gone:
            return []
        present = {labels for batch in batches for labels in batch.layout.series}
        ended = list(dict.fromkeys(labels for layout in gone for labels in layout.series if labels not in present))
        return [Batch(Layout(ended), now, np.full(len(ended), STALE))] if ended else []


class CollectionService:
    """Runs a scrape loop for each target: one that hangs, fails or returns too much affects only itself."""

    name = "collect"

    def __init__(
        self,
        collectors: Sequence[Collector],
        sink: SampleSink,
        tools: CollectorTools,
        before: "CollectionService | None" = None,
    ) -> None:
        """Loops of ``before`` whose collectors have the same settings are used on; it must have the same tools."""
        kept = before.loops if before else []
        self.loops: list[ScrapeLoop] = []
        for collector in collectors:
            if collector.enabled:
                located = collector.located(tools.shop)
                same = (loop for loop in kept if loop.collector == located)
                self.loops.append(next(same, None) or ScrapeLoop(collector, sink, tools))
        self._tools = tools

    async def run(self) -> None:
        """Collect until cancelled."""
        async with asyncio.TaskGroup() as group:
            for loop in self.loops:
                name = f"collect {loop.collector.name}"
                group.create_task(
                    run_periodically(
                        name,
                        loop.collector.interval,
                        loop.collect,
                        clock=self._tools.clock,
                        meters=self._tools.meters,
                        on_timeout=loop.record_timeout,
                    ),
                    name=name,
                )

    async def take_over(self, before: "CollectionService") -> None:
        """End the series of the targets that ``before`` scraped and this service does not."""
        for loop in before.loops:
            if loop not in self.loops:
                await loop.end_series()

    async def first_collection(self) -> None:
        """Wait until every target was scraped once."""
        for loop in self.loops:
            await loop.collected.wait()

    def health(self) -> HealthStatus:
        """Return whether targets are still scraped; whether they are healthy is another question."""
        now = self._tools.clock.monotonic()
        late = [
            loop.status.name
            for loop in self.loops
            if loop.collected_at is not None and now - loop.collected_at > LATE_INTERVALS * loop.status.interval
        ]
        if late:
            return HealthStatus(False, f"no collection for {LATE_INTERVALS} intervals: {', '.join(late)}")
        return HealthStatus(True, f"{len(self.loops)} targets scraped")

    def last_error(self, labels: Mapping[str, str]) -> str:
        """Return the error of a target's last collection, by its job and instance; empty if there was none."""
        wanted = labels.get("job"), labels.get("instance")
        found = (it for it in self.targets() if (it.labels.get("job"), it.labels.get("instance")) == wanted)
        return next((target.error for target in found), "")

    def targets(self) -> list[TargetStatus]:
        """Return the status of each target."""
        return [loop.status for loop in self.loops]

    def newest(self) -> list[Batch]:
        """Return the last collection of every collector whose series `/metrics` shows."""
        return [batch for loop in self.loops if loop.collector.exposes for batch in loop.newest]
