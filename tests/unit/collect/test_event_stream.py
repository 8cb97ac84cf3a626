"""
Exact counters: totals never decrease, and equal the ground truth, whatever fails.

A schedule is a random life of toban beside a shop: what happens is seen at once or late, reads are slow, fail, are cut
off or cross each other, state and store are in trouble, toban is killed and begins again, the clock is set.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, StaticPool, create_engine

from tests.counter_decreases import decreases, stored_samples
from tests.fakes import FakeClock, ListSink
from toban.collect import repository as books
from toban.collect.backfill import Slice, StreamDefinition, Totals, reread_from, slice_end
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.collectors.vendure_db.order_events import PlacedOrder
from toban.collect.collectors.vendure_db.table_streams import ORDERS
from toban.collect.event_stream import EventCounter, EventStream, ReadState
from toban.collect.job_metrics import COMPLETED, FAILED, EndedJob, jobs_stream
from toban.collect.service import ScrapeLoop
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError, SeriesLimitError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, is_stale, milliseconds, moment
from toban.instruments.business_metrics import Order
from toban.instruments.metric_families import ORDERS_CREATED
from toban.shop.connections import ShopConnections
from toban.state import durable_counters
from toban.state.durable_counters import COUNTERS

T = TypeVar("T")
EVERY = timedelta(seconds=30)
JOBS = jobs_stream("jobs")
TABLES = (books.POSITION, books.COUNTED, books.PENDING, COUNTERS)


class MemoryState:
    """State in memory: each transaction all or nothing. ``trouble`` comes instead of the next ones."""

    def __init__(self) -> None:
        self.engine: Engine = create_engine("sqlite://", poolclass=StaticPool)
        for table in TABLES:
            table.create(self.engine)
        self.error = 0
        self.counted: Callable[[Totals], None]

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        await asyncio.sleep(0)
        if self.error:
            self.error -= 1
            raise StateError("state is in trouble")
        with self.engine.begin() as connection:
            found = work(connection)
        if isinstance(found, Totals):
            self.counted(found)
        await asyncio.sleep(0)
        return found


@dataclass
class FakeEvent:
    """Something that happened, and the turn of the world from which on it is seen."""

    event: PlacedOrder | EndedJob
    seen_from: float


@dataclass
class GroundTruthStream:
    """The books of one stream: what happened, and what was read up to when."""

    book: StreamDefinition
    events: list[FakeEvent] = field(default_factory=list)
    read: list[tuple[int, int, float]] = field(default_factory=list)
    """From when, until when (milliseconds), and the turn of the world at which it was seen."""

    def total(self, name: str, at: int) -> Decimal | None:
        """Return what a counter is to say of a time; nothing where it was not read that far."""
        turn = 0.0
        for since, until, seen in self.read:
            turn = max(turn, seen)
            if since < at <= until:
                break
        else:
            return None
        emitted = (one.event for one in self.events if one.seen_from <= turn and one.event.at <= moment(at))
        return sum((_worth(name, event) for event in emitted), Decimal(0))


def _worth(name: str, event: PlacedOrder | EndedJob) -> Decimal:
    if isinstance(event, PlacedOrder):
        money = name in {"vendure_revenue_total", "vendure_order_total_amount_sum"}
        return Decimal(event.order.total) if money else Decimal(name in {
            "vendure_orders_created_total", "vendure_order_total_amount_count"
        })  # fmt: skip
    return Decimal({
        "vendure_jobs_completed_total": not event.failed, "vendure_jobs_failed_total": event.failed,
    }.get(name, event.attempts - 1))  # fmt: skip


class Counts(Collector):
    """Counts the streams of a world."""

    kind: Literal["counts"] = "counts"
    interval: timedelta = EVERY  # type: ignore[assignment]  # a length is one
    world: Any

    def open(self, tools: CollectorTools) -> Scraper:
        return CountsScraper(self, tools)


class CountsScraper(Scraper):
    def __init__(self, collector: Counts, tools: CollectorTools) -> None:
        self.collector, self.clock = collector, tools.clock
        self.counter = EventCounter(tools.state, tools.clock, tools.meters)  # type: ignore[arg-type]  # one in memory

    async def collect(self) -> ScrapeResult:
        world, collector = self.collector.world, self.collector
        streams = [EventStream(one.book, timedelta(hours=6), world.reading(one)) for one in world.books]
        counted = await self.counter.count(streams, collector.target, collector.interval, self.clock.now())
        error = str(counted.error or "")
        return ScrapeResult((), counted.batches, error, unchanged=counted.unchanged, stored=counted.stored)


class Scenario:
    """A shop, toban beside it, and what befalls them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.clock = FakeClock()
        self.state, self.sink = MemoryState(), ListSink()
        self.books = [GroundTruthStream(ORDERS), GroundTruthStream(JOBS)]
        self.turn = 0.0
        self.slow = timedelta(0)
        self.within: list[Callable[[GroundTruthStream], Any]] = []
        """What happens while something is read, once each."""
        self.emitted: list[Batch] = []
        self.state.counted = self.counted
        self.watch = self.begun()

    def begun(self) -> ScrapeLoop:
        """Start a copy of toban: it knows nothing but its state."""
        collector = Counts(name="counts", job="shop", instance="one", world=self)
        tools = CollectorTools(None, self.clock, MetricRegistry(), ShopConnections(None, None), state=self.state)  # type: ignore[arg-type]  # nothing is asked
        return ScrapeLoop(collector, self.sink, tools)

    def happen(self, late: timedelta = timedelta(0)) -> None:
        """Let something happen, some seconds ago or just now; it is seen from now on."""
        of = self.chance.choice(self.books)
        self.turn += 1
        apart = timedelta(milliseconds=2 * len(of.events))  # one read may end at any of them
        at, key = self.clock.now() - late - apart, f"{of.book.name} {len(of.events)}"
        event: PlacedOrder | EndedJob
        if of.book is ORDERS:
            price = Decimal(self.chance.choice((10, 20, 1999, 33, 123456789))) / 100
            event = PlacedOrder(key, at, Order(price, "PaymentSettled", "USD"))
        else:
            event = EndedJob(key, at, "mail", self.chance.random() < 0.2, self.chance.randint(1, 3))
        of.events.append(FakeEvent(event, self.turn))

    def reading(self, of: GroundTruthStream) -> Callable[[ReadState, datetime], Any]:
        """Return how a stream is read: in slices of some steps, some rows at most."""

        async def read(known: ReadState, now: datetime) -> Slice:
            self.turn += 1
            turn, since = self.turn, reread_from(known.position, of.book.lateness, now)
            until = slice_end(known.position.until, now, self.chance.choice((5, 100, 1000)))
            found = sorted(
                (
                    one.event
                    for one in of.events
                    if one.seen_from <= turn and one.event.at >= since and one.event.id not in known.seen
                    and (one.event.at <= until or until == now)
                ),
                key=lambda event: event.at,
            )  # fmt: skip
            rows = self.chance.choice((3, 100, 100))
            found = found[:rows]
            if len(found) == rows:
                until = min(until, max(found[-1].at, known.position.until))
            self.clock.advance(self.slow.total_seconds())
            if self.within:
                await self.within.pop()(of)
            self.reads = of, turn, len(found) < rows
            return Slice(found, until)

        return read

    async def scrape(self, watch: ScrapeLoop | None = None) -> None:
        """Look once; what a look is cut off by ends it."""
        try:
            await (watch or self.watch).collect()
        except asyncio.CancelledError:
            await (watch or self.watch).record_timeout()

    def counted(self, emitted: Totals) -> None:
        """Note how far a slice went that was counted, and what it told."""
        of, turn, whole = self.reads
        since, until = of.read[-1][1] if of.read else 0, milliseconds(emitted.position.until)
        if whole or since < until:
            of.read.append((since, until, turn))
        self.emitted.extend(emitted.batches)

    async def killed(self) -> None:
        """Be killed between counting and telling, and begin anew."""
        with suppress(CollectError, asyncio.CancelledError):
            await self.watch.scraper.collect()
        self.watch = self.begun()

    async def befall(self) -> None:
        """Let one thing befall."""
        seconds = self.chance.uniform
        match self.chance.choice(BEFALLS):
            case "slow":
                self.slow = timedelta(seconds=self.chance.choice((0, seconds(0.1, 5))))
            case "killed":
                await self.killed()
            case "begun":
                self.watch = self.begun()
            case "state":
                self.state.error = self.chance.randint(1, 3)
            case "store":
                self.sink.error = self.chance.choice((None, SeriesLimitError("too many")))
            case "away":
                self.clock.advance(seconds(300, 20_000))
            case "clock":
                await self.caught_up()
                change = self.chance.choice((-seconds(0, self.set_back()), seconds(1, 4000)))
                self.clock.set(self.clock.now() + timedelta(seconds=change))
            case reading:
                self.within.append({"fails": self._fails, "cut off": self._cut_off, "crossed": self._crossed}.get(
                    reading, self._late
                ))  # fmt: skip

    async def _fails(self, of: GroundTruthStream) -> None:
        raise CollectError("the database is gone")

    async def _cut_off(self, of: GroundTruthStream) -> None:
        raise asyncio.CancelledError

    async def _crossed(self, of: GroundTruthStream) -> None:
        await self.begun().collect()

    async def _late(self, of: GroundTruthStream) -> None:
        self.happen()

    async def live(self, steps: int) -> None:
        """Go through a schedule, and in the end read everything up to now."""
        for _ in range(steps):
            self.clock.advance(self.chance.choice((0.001, 5, 30, 30, 30, 61)))
            for _ in range(self.chance.choice((0, 0, 1, 3))):
                self.happen(timedelta(seconds=self.chance.choice((0, 0, 0.5, 20, 200))))
            if self.chance.random() < 0.3:
                await self.befall()
            await self.scrape()
        self.clock.advance(3600)
        await self.caught_up()

    def set_back(self) -> float:
        """Return how far the clock may be set back, in seconds: what was told then lies an hour ahead at most."""
        emitted = max(one.read[-1][1] for one in self.books)
        return 3500 - max(0.0, (moment(emitted) - self.clock.now()).total_seconds())

    def counted_of(self, of: GroundTruthStream) -> float:
        """Return how many events of a stream stand in state."""
        families = (ORDERS_CREATED, COMPLETED, FAILED)
        with self.state.engine.begin() as connection:
            meters = durable_counters.load(connection, of.book.name, families)
        return sum(float(values[0]) for _, _, values in meters.series())

    async def caught_up(self) -> None:
        """Look until everything was read that has happened."""
        self.slow, self.sink.error, self.state.error = timedelta(0), None, 0
        self.within.clear()
        for _ in range(500):
            self.clock.advance(61)
            await self.scrape()
            if all(self.counted_of(of) == len(of.events) for of in self.books):
                return
        raise AssertionError("it never catches up")

    def wrong(self) -> Iterator[str]:
        """Say what is not as the books say."""
        found = stored_samples(self.sink.batches)
        yield from map(str, decreases(found))
        for of in self.books:
            names = {family.name + suffix for family in of.book.families for suffix in ("", "_sum", "_count")}
            for labels, points in found.items():
                if labels.name not in names:
                    continue
                for at, value in points:
                    due = of.total(labels.name, at)
                    if due is None or float(due) != value:
                        yield f"{labels.name} at {at}: {value}, {due} in the books"
        for batch in self.emitted:
            for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True):
                if dict(found.get(labels, ())).get(batch.at) != value:
                    yield f"{labels.name} at {batch.at}: {value} is not in the store"


BEFALLS = ("slow", "slow", "fails", "cut off", "crossed", "late", "killed", "begun", "state", "store", "away", "clock")


async def lived(chance: random.Random, steps: int = 40) -> None:
    world = Scenario(chance)
    await world.live(steps)
    assert not list(world.wrong())[:5]
    assert all(of.total(name, milliseconds(world.clock.now())) is not None for of, name in zip(
        world.books, ("vendure_orders_created_total", "vendure_jobs_completed_total"), strict=True
    ))  # fmt: skip


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.soak] * (seed >= 40)) for seed in range(2000)])
async def test_totals_never_decrease_and_equal_the_ground_truth(seed: int):
    await lived(random.Random(seed))


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_totals_never_decrease_in_any_short_history(chance: random.Random, steps: int):
    asyncio.run(lived(chance, steps))


def points(world: Scenario, name: str = "vendure_orders_created_total") -> list[tuple[int, float]]:
    return next((found for labels, found in stored_samples(world.sink.batches).items() if labels.name == name), [])


def placed(world: Scenario, late: timedelta = timedelta(0)) -> None:
    """Let an order be placed; it is seen from now on."""
    world.turn += 1
    orders = world.books[0].events
    event = PlacedOrder(f"order {len(orders)}", world.clock.now() - late, Order(Decimal(1), "PaymentSettled", "USD"))
    orders.append(FakeEvent(event, world.turn))


async def scrape_after(world: Scenario, *after: float) -> None:
    for seconds in after:
        world.clock.advance(seconds)
        await world.scrape()


@pytest.fixture
def world() -> Scenario:
    return Scenario(random.Random(1))


async def test_a_stream_in_backoff_has_no_totals_for_unread_times(world: Scenario):
    """
    It did, and what had happened meanwhile was then told of a time before: 1, 2, 1, 2.
    """
    placed(world)
    await scrape_after(world, 30, 30)
    world.slow = timedelta(seconds=0.25)
    await scrape_after(world, 30)
    read_at = points(world)[-1][0]
    placed(world)
    await scrape_after(world, 30)
    assert points(world)[-1][0] == read_at
    newest = [batch for batch in world.watch.newest if ORDERS_CREATED in batch.layout.families]
    assert newest, "/metrics shows it as it was told last"
    gone = [batch for batch in world.sink.batches if is_stale(batch.values).any()]
    assert not gone, "its series go on"
    world.slow = timedelta(0)
    await scrape_after(world, 30, 30)
    assert [value for _, value in points(world)][-1] == 2
    assert not list(world.wrong())


@pytest.mark.parametrize("cost", [0.3, 3, 20])
async def test_a_slow_stream_has_two_totals_in_three_minutes(world: Scenario, cost: float):
    placed(world)
    await scrape_after(world, *[30] * 20)
    world.slow = timedelta(seconds=cost)
    since = milliseconds(world.clock.now())
    await scrape_after(world, *[30] * 40)
    times = [at for at, _ in points(world) if at > since]
    assert all(third - first <= 180_000 for first, third in zip(times, times[2:], strict=False))


async def test_an_unreadable_stream_loses_its_own_totals_only(world: Scenario):
    """
    The others were counted, and lost with it.
    """
    placed(world)
    await scrape_after(world, 30)

    async def fails(of: GroundTruthStream) -> None:
        if of.book is not ORDERS:
            raise CollectError("no rights on job_record")
        world.within.append(fails)

    world.within.append(fails)
    placed(world)
    await scrape_after(world, 30)
    assert not world.watch.status.up
    assert "no rights on job_record" in world.watch.status.error
    assert [value for _, value in points(world)][-1] == 2


async def test_counted_but_unstored_totals_are_returned_after_a_restart(world: Scenario):
    """
    At its own times: there was a hole, and what happened in it was told after it.
    """
    placed(world)
    await scrape_after(world, 30)
    for _ in range(10):
        world.clock.advance(60)
        placed(world)
    await world.killed()
    placed(world)
    await scrape_after(world, 30)
    assert [value for _, value in points(world)][-12:] == [*range(1, 12), 12]
    assert not list(world.wrong())


async def test_counting_continues_after_a_clock_a_year_ahead(world: Scenario):
    await scrape_after(world, 30)
    world.clock.set(world.clock.now() + timedelta(days=365))
    await scrape_after(world, *[30] * 60)
    world.clock.set(world.clock.now() - timedelta(days=365))
    await scrape_after(world, 30)
    placed(world)
    await scrape_after(world, 30)
    assert (milliseconds(world.clock.now()), 1) in points(world)
