"""The service that looks."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import structlog
from pydantic import SecretStr

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError, SeriesLimitError, StoreError
from toban.core.labels import NAME, Labels
from toban.core.periodic import run_periodically
from toban.core.plugin_isolation import PluginIsolation
from toban.core.ports import HealthState, HealthStatus, SampleSink
from toban.core.samples import STALE, Batch, Layout, Sample, gauge, layout_of, milliseconds

log = structlog.get_logger("toban.collect")

UP: Final = gauge("up", "Whether the target could be read and is well (1) or not (0).")
SECONDS: Final = gauge("scrape_duration_seconds", "How long the look took.", "seconds")
SAMPLES: Final = gauge("scrape_samples_scraped", "How many numbers the look brought.")
ABOUT: Final = (UP, SECONDS, SAMPLES)


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What is known of one collector's target after its newest look."""

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
        """Its state; none is known before its first collection."""
        if self.at is None and not self.error:
            return HealthState.NO_DATA
        return HealthState.HEALTHY if self.up else HealthState.UNHEALTHY


class ScrapeLoop:
    """One collector at its work: looks, adds `up`, ends what has vanished, hands over."""

    def __init__(self, collector: Collector, sink: SampleSink, tools: CollectorTools) -> None:
        address = "" if collector.instance else collector.address_in(tools.shop)
        self.collector = collector = collector.model_copy(update={"instance": address}) if address else collector
        self.isolation = PluginIsolation("collect", collector.name, tools.meters)
        self.seen = TargetStatus(collector.name, collector.kind, collector.target, collector.interval.total_seconds())
        self.newest: tuple[Batch, ...] = ()
        self.looked = asyncio.Event()
        self.looked_at: float | None = None
        """When it looked last, on the clock that never jumps."""
        self._sink = sink
        self._tools = tools
        self._layouts: tuple[Layout, ...] = ()
        self._drawn: tuple[tuple[object, ...], Layout] | None = None
        self._about = Layout([Labels({**collector.target, NAME: family.name}) for family in ABOUT], ABOUT)

    async def collect(self) -> None:
        """
        Look once.

        1. Read the target, inside the fence.
        2. Put its numbers in batches; garbage and floods count as a failed look.
        3. Mark as stale what was there at the last look and is not now.
        4. Hand over everything with `up` as one append.
        """
        began, at = self._tools.clock.monotonic(), self._tools.clock.now()
        look, batches, read = ScrapeResult(), list[Batch](), False
        with self.isolation:
            found = await self.collector.collect(self._tools)
            look = found if isinstance(found, ScrapeResult) else ScrapeResult(tuple(found))
            batches = self._batches(look, at)
            read = True
            if look.error:
                # What was read is kept; the fence tells the trouble, and when it is over.
                raise CollectError(look.error)
        seconds = self._tools.clock.monotonic() - began
        taken = await self._hand_over(batches, at, seconds, self.isolation.error, look.unchanged if read else ())
        if taken and read and look.stored:
            look.stored()

    async def record_timeout(self) -> None:
        """Note a look that was cut off because it took longer than the interval."""
        with self.isolation:
            raise CollectError(f"{self.collector.name}: no end of the look after {self.seen.interval:g} s")
        await self._hand_over([], self._tools.clock.now(), self.seen.interval, self.isolation.error)

    async def end_series(self) -> None:
        """End all series: nobody will look any more."""
        self._layouts = (*self._layouts, self._about)
        try:
            await self._sink.append(self._ended([], milliseconds(self._tools.clock.now())))
        except StoreError as error:
            log.debug("not durable yet", error=str(error))

    async def _hand_over(
        self, batches: Sequence[Batch], at: datetime, seconds: float, trouble: str, standing: Sequence[Batch] = ()
    ) -> bool:
        """Hand over, and tell whether it was taken: also where it isn't durable yet, which the store says itself."""
        now = milliseconds(at)
        count = sum(int(np.count_nonzero(~np.isnan(batch.values))) for batch in batches)
        about = Batch(self._about, now, np.array([not trouble, seconds, count], np.float64))
        try:
            await self._sink.append([about, *batches, *self._ended([*standing, *batches], now)])
        except SeriesLimitError as error:
            with self.isolation:
                raise CollectError(f"{self.collector.name}: {error}") from error
            if batches:
                # Nothing was kept: what is said instead is that this target is down, and why.
                await self._hand_over([], at, seconds, self.isolation.error)
                return False
        except StoreError as error:
            log.debug("not durable yet", error=str(error))
        self.seen = replace(self.seen, at=at, seconds=seconds, samples=count, up=not trouble, error=trouble)
        self.looked_at = self._tools.clock.monotonic()
        self.newest = (about, *standing, *batches)
        self._layouts = tuple({id(batch.layout): batch.layout for batch in (*standing, *batches)}.values())
        self.looked.set()
        return True

    def _batches(self, look: ScrapeResult, at: datetime) -> list[Batch]:
        """Return a look's numbers as batches. Raises ``CollectError`` when they can't be."""
        try:
            batches = [*look.batches, *self._drawn_up(look.samples, at)]
        except (ValueError, TypeError, AttributeError) as error:
            raise CollectError(f"{self.collector.name}: {error}") from error
        count = sum(len(layout) for layout in {id(batch.layout): batch.layout for batch in batches}.values())
        if count > self.collector.sample_limit:
            # What is told at many times at once has the same series in many layouts.
            count = len({labels for batch in batches for labels in batch.layout.series})
        if count > self.collector.sample_limit:
            raise CollectError(
                f"{self.collector.name}: {count} series in one collection, more than its sample_limit of"
                f" {self.collector.sample_limit}: raise it if they are wanted"
            )
        return batches

    def _drawn_up(self, samples: Iterable[Sample], at: datetime) -> list[Batch]:
        """Turn samples into one batch for each of their times; a layout is used again while nothing changes."""
        by_time: dict[int, list[Sample]] = {}
        for sample in samples:
            by_time.setdefault(milliseconds(sample.at or at), []).append(sample)
        return [
            Batch(self._layout(group), time, np.array([sample.value for sample in group], np.float64))
            for time, group in by_time.items()
        ]

    def _layout(self, samples: Sequence[Sample]) -> Layout:
        drawing = tuple((sample.family, sample.suffix, tuple(sample.labels.items())) for sample in samples)
        if self._drawn is None or self._drawn[0] != drawing:
            self._drawn = drawing, layout_of(samples, self.collector.common)
        return self._drawn[1]

    def _ended(self, batches: Sequence[Batch], now: int) -> list[Batch]:
        """Return staleness markers for the series that were there at the last look and are not now."""
        layouts = {id(batch.layout) for batch in batches}
        gone = [layout for layout in self._layouts if id(layout) not in layouts]
        if not gone:
            return []
        here = {labels for batch in batches for labels in batch.layout.series}
        ended = list(dict.fromkeys(labels for layout in gone for labels in layout.series if labels not in here))
        return [Batch(Layout(ended), now, np.full(len(ended), STALE))] if ended else []


class CollectionService:
    """Looks at every target on its own beat; one that hangs, fails or floods costs its own turn only."""

    name = "collect"

    def __init__(
        self,
        collectors: Sequence[Collector],
        sink: SampleSink,
        tools: CollectorTools,
        before: "CollectionService | None" = None,
    ) -> None:
        """Collectors that ``before`` has with the same settings, and with the same tools, go on where they are."""
        there = {_settings(watch): watch for watch in before.loops} if before else {}
        made = [ScrapeLoop(collector, sink, tools) for collector in collectors if collector.enabled]
        self.loops: list[ScrapeLoop] = [there.get(_settings(watch), watch) for watch in made]
        self._tools = tools

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self.loops:
                group.create_task(
                    run_periodically(
                        f"collect {watch.collector.name}",
                        watch.collector.interval,
                        watch.collect,
                        clock=self._tools.clock,
                        meters=self._tools.meters,
                        overrun=watch.record_timeout,
                    ),
                    name=f"collect {watch.collector.name}",
                )

    async def take_over(self, before: "CollectionService") -> None:
        """End the series of what was looked at before and is no longer."""
        for watch in before.loops:
            if watch not in self.loops:
                await watch.end_series()

    async def first_collection(self) -> None:
        """Wait until every target was looked at once."""
        for watch in self.loops:
            await watch.looked.wait()

    def health(self) -> HealthStatus:
        """Say whether looks still take place; what they find is another question."""
        now = self._tools.clock.monotonic()
        late = [
            watch.seen.name
            for watch in self.loops
            if watch.looked_at is not None and now - watch.looked_at > 3 * watch.seen.interval
        ]
        if late:
            return HealthStatus(False, f"no look for three intervals: {', '.join(late)}")
        return HealthStatus(True, f"{len(self.loops)} targets watched")

    def last_error(self, labels: Mapping[str, str]) -> str:
        """Return what the newest collection of a target failed with, by its job and instance; nothing if it didn't."""
        wanted = labels.get("job"), labels.get("instance")
        found = (it for it in self.targets() if (it.labels.get("job"), it.labels.get("instance")) == wanted)
        return next((target.error for target in found), "")

    def targets(self) -> list[TargetStatus]:
        """Return what is known of each target."""
        return [watch.seen for watch in self.loops]

    def newest(self) -> list[Batch]:
        """Return the newest look of every collector whose numbers are toban's own."""
        return [batch for watch in self.loops if watch.collector.exposes for batch in watch.newest]


def _settings(watch: ScrapeLoop) -> str:
    """Return a collector's settings as a text that tells it from others."""
    return f"{watch.collector.kind} {_plain(watch.collector.model_dump())!r}"


def _plain(value: object) -> object:
    """Return settings with their secrets."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return value.get_secret_value() if isinstance(value, SecretStr) else value
