"""Whatever happens in whatever order, the store selects like a dictionary."""

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import FakeClock
from tests.unit.tsdb.conftest import MINUTE, START, bits_by_series, layout
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import ABSENT, STALE, Batch, is_absent
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

ALL = [Matcher("__name__", MatchOperator.EQUAL, "temperature")]
PLACES = ["hall", "cellar", "roof", "garden"]
APPEND = st.tuples(
    st.lists(st.sampled_from(PLACES), min_size=1, unique=True),
    st.sampled_from([7, 8]) | st.integers(0, 60),
    st.lists(st.sampled_from([ABSENT, STALE, 1.0, 2.0, 0.1, -0.0, np.inf]), min_size=4, max_size=4),
)
"""Appends, often at the same times, so that samples are overwritten by other sources too."""

STEPS = st.lists(st.one_of(APPEND, st.sampled_from(["maintain", "hour", "day", "restart"])), max_size=25)


@settings(max_examples=60)
@given(STEPS, st.integers(0, 60), st.integers(0, 60))
def test_the_store_is_a_dictionary(steps, start, end):
    """
    After any appends, flushes, compactions and restarts, each series has at each time the sample appended last.
    """
    clock, model = FakeClock(), dict[str, dict[int, int]]()
    layouts = {}

    async def live(folder: Path, left: list) -> None:
        with Store(folder, TsdbSettings(), clock, MetricRegistry(), window=timedelta(minutes=5)) as store:
            while left and (step := left.pop()) != "restart":
                if step == "maintain":
                    await store.maintain()
                elif isinstance(step, str):
                    clock.advance({"hour": 3600, "day": 86400}[step])
                else:
                    places, minute, values = step
                    of = layouts.setdefault(tuple(places), layout(*places))
                    at, array = START + minute * MINUTE, np.array(values[: len(places)])
                    await store.append([Batch(of, at, array)])
                    for series, bits, gap in zip(of.series, array.view(np.int64), is_absent(array), strict=True):
                        if not gap:
                            model.setdefault(str(series), {})[at] = int(bits)
            begin, finish = START + start * MINUTE, START + end * MINUTE
            within = {
                series: {at: bits for at, bits in appended.items() if begin <= at <= finish}
                for series, appended in model.items()
            }
            assert bits_by_series(store.select(ALL, begin, finish)) == {
                series: some for series, some in within.items() if some
            }
            assert {str(labels) for labels in store.series(ALL, START, START + 60 * MINUTE)} >= model.keys()

    with tempfile.TemporaryDirectory() as folder:
        left = steps[::-1]
        asyncio.run(live(Path(folder) / "tsdb", left))
        while left:
            asyncio.run(live(Path(folder) / "tsdb", left))


async def test_selects_are_complete_while_samples_are_appended_and_flushed(opened, clock):
    """
    Each select returns every sample acknowledged before it, and none is ever wrong or missing in between.
    """
    rooms = layout(*PLACES)
    written = 0
    with opened(window=timedelta(minutes=5)) as store:

        def read() -> None:
            at_least = written
            (group,) = store.select(ALL, START, START + 10_000 * MINUTE)
            assert (group.values == (group.times - START) / MINUTE).all()
            assert group.values.shape[1] >= at_least

        async def write() -> None:
            nonlocal written
            for minute in range(300):
                await store.append([Batch(rooms, START + minute * MINUTE, np.full(4, float(minute)))])
                written += 1
                clock.advance(60)

        await store.append([Batch(rooms, START, np.zeros(4))])
        writing = asyncio.create_task(write())
        while not writing.done():
            await asyncio.gather(asyncio.to_thread(read), store.maintain())
        await writing
        assert len(store._block_set.blocks) > 1
