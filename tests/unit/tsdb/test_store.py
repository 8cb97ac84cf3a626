"""The store appends samples and selects them."""

import asyncio

import numpy as np
import pytest

from tests.unit.tsdb.conftest import HOUR, MINUTE, START, TEMPERATURE, batch, layout, samples
from toban.core.errors import StoreError
from toban.core.labels import Labels
from toban.core.matchers import Matcher, MatchOperator
from toban.core.samples import ABSENT, STALE, Layout
from toban.tsdb import maintenance
from toban.tsdb.store import APPENDED, BLOCKS, REJECTED

ALL = [Matcher("__name__", MatchOperator.EQUAL, "temperature")]
EVER = (START - 400 * 24 * HOUR, START + 400 * 24 * HOUR)


async def test_appended_samples_are_selected(opened):
    """
    Series by label, samples by time, both ends included.
    """
    rooms = layout("hall", "cellar")
    with opened() as store:
        for minute in range(5):
            await store.append([batch(rooms, START + minute * MINUTE, minute, 10 + minute)])

        (group,) = store.select(
            [*ALL, Matcher("place", MatchOperator.EQUAL, "cellar")], START + MINUTE, START + 3 * MINUTE
        )

    assert [series["place"] for series in group.series] == ["cellar"]
    assert group.times.tolist() == [START + MINUTE, START + 2 * MINUTE, START + 3 * MINUTE]
    assert group.values.tolist() == [[11, 12, 13]]


async def test_a_restart_loses_nothing(opened):
    """
    Samples, labels and families are there again; an equal layout continues its series.
    """
    with opened() as store:
        await store.append([batch(layout("hall"), START, 1.5)])
    with opened() as store:
        await store.append([batch(layout("hall"), START + MINUTE, 2.5)])

        assert samples(store.select(ALL, *EVER)) == {"hall": {0: 1.5, 1: 2.5}}
        assert store.families() == {"temperature": TEMPERATURE}
        assert len(store.select(ALL, *EVER)) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_samples_of_blocks_and_head_are_selected_as_one(opened, clock, restarts):
    """
    Windows that are over become blocks, those of a day become one; a select returns the same.
    """
    rooms = layout("hall", "cellar")
    expected: dict[str, dict[float, float]] = {"hall": {}, "cellar": {}}
    with opened() as store:
        for minute in range(0, 30 * 60, 10):
            await store.append([batch(rooms, START + minute * MINUTE, minute, ABSENT if minute % 30 else 0.1 * minute)])
            expected["hall"][minute] = minute
            if minute % 30 == 0:
                expected["cellar"][minute] = 0.1 * minute
            clock.advance(600)
            await store.maintain()
        (group,) = store.select(ALL, *EVER)
        assert samples([group]) == expected
        assert [(block.name.end - block.name.start) // HOUR for block in store._block_set.blocks] == [24, 2, 2]
    if restarts:
        with opened() as store:
            (group,) = store.select(ALL, *EVER)
            assert samples([group]) == expected
            assert store.families() == {"temperature": TEMPERATURE}


async def test_one_source_stays_one_group_when_series_come_and_go(opened):
    """
    Layouts that share series are joined over the union of their times.
    """
    with opened() as store:
        await store.append([batch(layout("hall", "cellar"), START, 1, 2)])
        await store.append([batch(layout("hall", "cellar", "roof"), START + MINUTE, 3, 4, 5)])
        await store.append([batch(layout("roof", "hall"), START + 2 * MINUTE, 6, 7)])
        await store.append([batch(layout("cellar"), START + 2 * MINUTE, STALE)])

        groups = store.select(ALL, *EVER)

    assert len(groups) == 1
    response = samples(groups)
    assert response["hall"] == {0: 1, 1: 3, 2: 7}
    assert response["roof"] == {1: 5, 2: 6}
    assert np.isnan(response["cellar"].pop(2))
    assert response["cellar"] == {0: 2, 1: 4}


async def test_late_samples_are_accepted(opened, clock):
    """
    A backfill appends history in any order, also to windows that are flushed already.
    """
    rooms = layout("hall")
    clock.advance(24 * 3600)
    with opened() as store:
        for minute in (600, 0, 300, 1400):
            await store.append([batch(rooms, START + minute * MINUTE, minute)])
        await store.maintain()
        await store.append([batch(rooms, START + 200 * MINUTE, 200)])

        assert samples(store.select(ALL, *EVER)) == {"hall": {minute: minute for minute in (0, 200, 300, 600, 1400)}}


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("other", [layout("hall"), layout("hall", "cellar")])
async def test_the_last_append_of_one_time_counts(opened, clock, flushed, other):
    """
    In the same layout or another, flushed or not, before and after a restart.
    """
    first = layout("hall")
    with opened() as store:
        await store.append([batch(first, START, 1)])
        await store.append([batch(other, START, *[2] * len(other))])
        await store.append([batch(first, START + MINUTE, 1)])
        if flushed:
            clock.advance(3 * 3600)
            await store.maintain()
        await store.append([batch(other, START + MINUTE, *[2] * len(other))])
        await store.append([batch(first, START + MINUTE, 3)])
        before = samples(store.select(ALL, *EVER))["hall"]
        if flushed:
            clock.advance(36 * 3600)
            await store.maintain()
            assert store._meters.value(BLOCKS) == 1
    with opened() as store:
        after = samples(store.select(ALL, *EVER))["hall"]

    assert before == after == {0: 2, 1: 3}


@pytest.mark.parametrize("flushed", [False, True])
async def test_the_last_append_counts_between_two_sources_that_share_a_series(opened, clock, flushed):
    """
    A gap in a later scrape of one source does not restore its earlier sample over the other's.
    """
    one, other = layout("hall", "cellar"), layout("hall", "roof")
    with opened() as store:
        await store.append([batch(one, START, 1, 1)])
        await store.append([batch(other, START, 2, 2)])
        await store.append([batch(one, START, ABSENT, 3)])
        if flushed:
            clock.advance(6 * 3600)
            await store.maintain()
            assert store._block_set.blocks
        assert samples(store.select(ALL, *EVER)) == {"hall": {0: 2}, "cellar": {0: 3}, "roof": {0: 2}}


async def test_samples_too_old_or_in_the_future_are_rejected_and_counted(opened, meters):
    """
    The rest of the append is accepted.
    """
    rooms = layout("hall", "cellar")
    with opened(retention="10d") as store:
        times = [START - 11 * 24 * HOUR, START, START + 2 * HOUR]
        await store.append([batch(rooms, at, 1, 2) for at in times])

        assert samples(store.select(ALL, *EVER)) == {"hall": {0: 1}, "cellar": {0: 2}}
    assert meters.value(REJECTED, reason="old") == meters.value(REJECTED, reason="future") == 2
    assert meters.value(APPENDED) == 2


async def test_an_append_of_too_many_series_is_rejected(opened):
    """
    As a whole, with an error that names the setting; known series are still accepted.
    """
    with opened(series=3) as store:
        await store.append([batch(layout("hall", "cellar"), START, 1, 2)])
        with pytest.raises(StoreError, match=r"2 new series would make 4, more than `metrics.series` \(3\)"):
            await store.append([batch(layout("a", "b"), START, 1, 2), batch(layout("hall"), START + 1, 3)])
        await store.append([batch(layout("hall", "a"), START + MINUTE, 3, 4)])

        assert samples(store.select(ALL, *EVER)) == {"hall": {0: 1, 1: 3}, "cellar": {0: 2}, "a": {1: 4}}


async def test_retention_removes_the_oldest_and_never_the_newest(opened, clock):
    """
    By age whole blocks are removed, and their series; by size all but the newest block.
    """
    with opened(retention="3d") as store:
        for day in range(6):
            await store.append([batch(layout(f"day {day}", "hall"), START + day * 24 * HOUR, day, day)])
            clock.advance(24 * 3600)
            await store.maintain()
        await store.maintain()
        response = samples(store.select(ALL, *EVER))
        assert sorted(response) == ["day 3", "day 4", "day 5", "hall"]
        assert len(store._index) == 4
    with opened(size=1) as store:
        await store.maintain()

        assert sorted(samples(store.select(ALL, *EVER))) == ["day 5", "hall"]


async def test_a_clock_that_jumps_ahead_expires_nothing(opened, clock):
    """
    Retention is measured by the monotonic clock since the start.
    """
    with opened(retention="3d") as store:
        await store.append([batch(layout("hall"), START, 1)])
        await store.append([batch(layout("hall"), START + 30 * MINUTE, 1)])
        clock.set(clock.now().replace(year=2036))
        await store.append([batch(layout("hall"), START + 3653 * 24 * HOUR, 2)])
        clock.set(clock.now().replace(month=3))
        await store.maintain()
        await store.maintain()

        assert samples(store.select(ALL, START, START + HOUR)) == {"hall": {0: 1, 30: 1}}


async def test_a_full_head_is_flushed_before_its_window_is_over(opened, monkeypatch):
    """
    Memory stays bounded; the many blocks of one window are compacted.
    """
    monkeypatch.setattr(maintenance, "HEAD_BYTES", 0)
    with opened() as store:
        for minute in range(10):
            await store.append([batch(layout("hall"), START + minute * MINUTE, minute)])
            await store.maintain()
            assert store._head.windows() == {}

        assert samples(store.select(ALL, *EVER)) == {"hall": {minute: minute for minute in range(10)}}
        assert len(store._block_set.blocks) < 4


async def test_the_service_runs_until_it_is_cancelled(opened, clock):
    """
    Its first run flushes, and it is healthy.
    """
    with opened() as store:
        await store.append([batch(layout("hall"), START, 1)])
        clock.advance(3 * 3600)
        service = asyncio.create_task(store.run())
        while not store._block_set.blocks:  # noqa: ASYNC110  # a new block has no event
            await asyncio.sleep(0)
        assert store.health().ok
        service.cancel()
        with pytest.raises(asyncio.CancelledError):
            await service


async def test_series_are_listed_by_time(opened, clock):
    """
    From the head and from blocks.
    """
    with opened() as store:
        await store.append([batch(layout("hall"), START, 1)])
        clock.advance(6 * 3600)
        await store.maintain()
        await store.append([batch(layout("cellar"), START + 6 * HOUR, 1)])

        assert [one["place"] for one in store.series(ALL, START, START + HOUR)] == ["hall"]
        assert [one["place"] for one in store.series(ALL, START + 5 * HOUR, START + 7 * HOUR)] == ["cellar"]
        assert len(store.series(ALL, *EVER)) == 2


async def test_a_label_that_is_not_unicode_is_rejected(opened):
    """
    It could not be stored.
    """
    with opened() as store:
        with pytest.raises(StoreError, match="not valid Unicode"):
            await store.append([batch(Layout([Labels(__name__="a", b="\udc80")]), START, 1)])
        assert len(store._index) == 0


async def test_a_folder_has_one_store(opened):
    """
    A second toban gets an error and does no harm.
    """
    with opened() as store:
        with pytest.raises(StoreError, match="in use by another toban"), opened():
            pass
        await store.append([batch(layout("hall"), START, 1)])


async def test_an_append_to_a_closed_store_fails(opened):
    """
    It is not acknowledged.
    """
    with opened() as store:
        pass
    with pytest.raises(StoreError, match="closed"):
        await store.append([batch(layout("hall"), START, 1)])


async def test_free_pages_are_returned_to_the_disk(opened, clock, tmp_path):
    """
    After a large backfill the head's file is small again.
    """
    wide = layout(*map(str, range(2000)))
    with opened() as store:
        for step in range(2000):
            await store.append([batch(wide, START - step * 1000, *[step * 0.1] * 2000)])
        file = tmp_path / "tsdb" / "head.db"
        before = file.stat().st_size
        clock.advance(3 * 3600)
        await store.maintain()
        async with asyncio.timeout(30):
            while file.stat().st_size > before / 2:  # noqa: ASYNC110  # a file has no event
                await asyncio.sleep(0.01)
        await store.append([batch(wide, START + 3 * HOUR, *[1.0] * 2000)])
