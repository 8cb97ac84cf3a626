"""The collection service."""

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.fakes import ListSink, collect_once, sample_values
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.service import CollectionService
from toban.core.errors import CollectError, SeriesLimitError, StoreError
from toban.core.labels import Labels
from toban.core.samples import Batch, Layout, gauge

HEAT = gauge("heat", "How warm it is.", optional_labels=("room", "a", "n"))
HISTORY = Labels(__name__="heat", job="shop", instance="shop")


class Scripted(Collector):
    """Answers what its script says, look by look; at its end it waits for ever."""

    kind: str = "scripted"
    script: tuple[Any, ...]

    async def collect(self, tools):
        step = SCRIPTS[self.name].pop(0) if SCRIPTS.setdefault(self.name, list(self.script)) else None
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, BaseException):
            raise step
        return step


SCRIPTS: dict[str, list[Any]] = {}


@pytest.fixture(autouse=True)
def forget():
    SCRIPTS.clear()


@asynccontextmanager
async def running(service):
    task = asyncio.create_task(service.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


async def scrape_script(tools, *script, sink=None, **fields):
    """Return what was handed over, look by look: series and values."""
    sink = sink or ListSink()
    collecting = CollectionService([Scripted(name="shop", script=script, **fields)], sink, tools)
    handed = []
    for _ in script:
        before = len(sink.batches)
        await collect_once(collecting)
        handed.append(sample_values(sink.batches[before:]))
    return handed, collecting


UP = 'up{instance="shop", job="shop"}'
AT = 'heat{instance="shop", job="shop"%s}'


async def test_a_scrape_has_its_samples_and_up(tools):
    """
    Each series carries the target's labels.
    """
    [handed], collecting = await scrape_script(tools, [HEAT.sample(20, room="hall")])

    assert handed == {UP: 1, AT % ', room="hall"': 20}
    assert collecting.targets()[0].up
    assert collecting.targets()[0].samples == 1


async def test_a_target_that_is_down_has_up_0_and_stale_series(tools):
    """
    `up` is 0, what was there is marked stale once, and it all comes back.
    """
    handed, _ = await scrape_script(
        tools, [HEAT.sample(20)], CollectError("shop: refused"), CollectError("shop: refused"), [HEAT.sample(21)]
    )

    assert handed == [
        {UP: 1, AT % "": 20},
        {UP: 0, AT % "": "stale"},
        {UP: 0},
        {UP: 1, AT % "": 21},
    ]


async def test_a_missing_series_is_marked_stale(tools):
    """
    And only that one.
    """
    handed, _ = await scrape_script(
        tools,
        [HEAT.sample(1, room="a"), HEAT.sample(2, room="b")],
        [HEAT.sample(3, room="b")],
        [HEAT.sample(4, room="b")],
    )

    assert handed[1] == {UP: 1, AT % ', room="b"': 3, AT % ', room="a"': "stale"}
    assert handed[2] == {UP: 1, AT % ', room="b"': 4}


async def test_the_layout_is_reused_while_nothing_changes(tools):
    """
    That is the store's fast path.
    """
    sink = ListSink()
    await scrape_script(tools, [HEAT.sample(1)], [HEAT.sample(2)], sink=sink)

    assert sink.batches[1].layout is sink.batches[3].layout


@pytest.mark.parametrize(
    ("garbage", "words"),
    [
        ([HEAT.sample(1), HEAT.sample(2)], "duplicate series"),
        ([gauge("no name", "").sample(1)], "invalid metric name 'no name'"),
        (["not a sample"], "no attribute"),
        ([HEAT.sample(1, a=3)], "the value of the label a is 3, not a text"),
        ([HEAT.sample(1, a="\ud800")], "surrogates"),
        (7, "shop|int"),
        (
            [HEAT.sample(1, n=str(n)) for n in range(20)],
            "20 series in one collection, more than its sample_limit of 10",
        ),
        (ZeroDivisionError("bug"), "ZeroDivisionError: bug"),
    ],
)
async def test_invalid_and_too_many_samples_are_down(tools, garbage, words):
    """
    Nothing of it is kept, the reason is, and the next look is a fresh one.
    """
    handed, collecting = await scrape_script(tools, garbage, sample_limit=10)

    assert handed == [{UP: 0}]
    assert re.search(words, collecting.targets()[0].error)


async def test_samples_of_a_failed_probe_are_stored(tools):
    """
    An answer of 503 has a duration.
    """
    [handed], collecting = await scrape_script(tools, ScrapeResult([HEAT.sample(3)], error="answered 503"))

    assert handed == {UP: 0, AT % "": 3}
    assert collecting.targets()[0].error == "answered 503"


async def test_a_batch_is_appended_unchanged(tools):
    """
    Whoever reads thousands makes the array.
    """
    layout = Layout([Labels(__name__="x", job="shop", instance="shop")])
    sink = ListSink()
    await scrape_script(tools, ScrapeResult(batches=[Batch(layout, 7, np.array([1.5]))]), sink=sink)

    assert sink.batches[1].layout is layout


async def test_scraping_continues_while_the_store_fails(tools):
    """
    The target is still seen as it is.
    """
    sink = ListSink()
    sink.error = StoreError("disk full")
    _, collecting = await scrape_script(tools, [HEAT.sample(1)], sink=sink)

    assert collecting.targets()[0].up


async def test_a_target_over_the_stores_series_limit_is_down(tools):
    """
    The store keeps nothing of such a look: the target is down, and says why.
    """

    class Small(ListSink):
        async def append(self, batches):
            if sum(len(batch.layout) for batch in batches) > 4:
                raise SeriesLimitError("2 new series are more than `metrics.series` allows")
            await super().append(batches)

    handed, collecting = await scrape_script(
        tools, [HEAT.sample(1)], [HEAT.sample(2), HEAT.sample(3, room="b")], [HEAT.sample(4)], sink=Small()
    )
    assert handed == [{UP: 1, AT % "": 1}, {UP: 0, AT % "": "stale"}, {UP: 1, AT % "": 4}]
    assert collecting.targets()[0].up


async def test_a_target_that_hangs_delays_no_other(tools):
    """
    Its look is cut off and counts as down, while the others go on.
    """
    sink = ListSink()
    hanging = Scripted(name="hangs", script=(None,), interval="20ms")
    other = Scripted(name="well", script=tuple([HEAT.sample(n)] for n in range(100)), interval="20ms")
    collecting = CollectionService([hanging, other], sink, tools)
    async with running(collecting), asyncio.timeout(10):
        await sink.wait_for(12, lambda: collecting.targets()[0].at is not None)
    down, well = collecting.targets()
    assert (down.up, "collection timed out" in down.error) == (False, True)
    assert well.at is not None


async def test_a_disabled_collector_is_not_scraped(tools):
    """
    It costs nothing.
    """
    assert CollectionService([Scripted(name="shop", script=(), enabled=False)], ListSink(), tools).targets() == []


async def test_scraped_exporters_are_not_exposed(tools):
    """
    What was scraped from others is at /federate.
    """

    class Foreign(Scripted):
        exposes: ClassVar[bool] = False

    collecting = CollectionService([Foreign(name="shop", script=([HEAT.sample(1)],))], ListSink(), tools)
    await collect_once(collecting)
    assert collecting.newest() == []


async def test_samples_of_many_times_count_as_few_series(tools):
    """
    A history of a hundred steps, each with a layout of its own, is no flood.
    """

    class History(Scripted):
        async def collect(self, tools):
            return ScrapeResult(batches=[Batch(Layout([HISTORY]), at, np.ones(1)) for at in range(100)])

    sink = ListSink()
    collecting = CollectionService([History(name="shop", script=(), sample_limit=1)], sink, tools)
    await collect_once(collecting)

    assert collecting.targets()[0].error == ""
    assert collecting.targets()[0].samples == 100


async def test_a_loop_without_scrapes_is_unhealthy(tools):
    """
    Three intervals without a look are trouble of toban's own.
    """
    collecting = CollectionService([Scripted(name="shop", script=([HEAT.sample(1)],))], ListSink(), tools)
    await collect_once(collecting)
    assert collecting.health().ok
    tools.clock.advance(timedelta(minutes=2).total_seconds())
    assert collecting.health().message == "no collection for 3 intervals: shop"


async def test_a_clock_change_is_no_missing_scrape(tools):
    """
    Hours ahead or back: what counts is the clock that never jumps.
    """
    collecting = CollectionService([Scripted(name="shop", script=([HEAT.sample(1)],))], ListSink(), tools)
    await collect_once(collecting)
    for hours in (3, -6):
        tools.clock.set(tools.clock.now() + timedelta(hours=hours))
        assert collecting.health().ok
