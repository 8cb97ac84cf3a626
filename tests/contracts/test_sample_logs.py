"""Sample logs: the cursor of the store, and the fake of tests."""

import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeClock, ListSampleLog
from toban.core.errors import StoreError
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import SampleLog
from toban.core.samples import Batch, Layout, gauge, milliseconds
from toban.remote.remote_write import EmptySampleLog
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

START = milliseconds(FakeClock().now())
LAYOUT = Layout(
    [Labels(__name__="temperature", place=place) for place in ("attic", "cellar")], [gauge("temperature", "")]
)
"""Batches of two samples."""
EVERYTHING = 1_000


@dataclass
class Appended:
    """A log, what appends a value to it, and what makes it fail from then on."""

    log: SampleLog
    append: Callable[[float], Awaitable[None]]
    fail: Callable[[], None]

    def values(self, samples: int = EVERYTHING) -> list[float]:
        """Return the first value of each pending batch."""
        return [float(batch.values[0]) for _, batch in self.log.pending(samples)]


def batch(value: float) -> Batch:
    return Batch(LAYOUT, START + int(value), np.array([value, value], np.float64))


@pytest.fixture(params=["store", "list"])
def appended(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Appended]:
    if request.param == "list":
        listing = ListSampleLog()

        async def append(value: float) -> None:
            listing.append([batch(value)])

        yield Appended(listing, append, lambda: setattr(listing, "error", "the disk is gone"))
        return
    with Store(tmp_path / "tsdb", TsdbSettings(), FakeClock(), MetricRegistry(), backlog=2**20) as store:
        cursor = store.remote_cursor
        assert cursor is not None

        def fail() -> None:
            cursor.close()
            shutil.rmtree(tmp_path)

        yield Appended(cursor, lambda value: store.append([batch(value)]), fail)


async def test_batches_are_pending_in_order_until_they_are_committed(appended: Appended):
    """
    A commit counts for all batches up to its position, and a commit of an older position changes nothing.
    """
    assert appended.values() == []
    for value in (1, 2, 3):
        await appended.append(value)
    positions = [position for position, _ in appended.log.pending(EVERYTHING)]
    assert positions == sorted(set(positions))
    assert appended.values() == appended.values() == [1, 2, 3]

    appended.log.commit(positions[1])
    assert appended.values() == [3]
    appended.log.commit(positions[0])
    assert appended.values() == [3]


async def test_positions_continue_after_a_commit(appended: Appended):
    """
    A position means one batch, whatever was committed before.
    """
    await appended.append(1)
    ((first, _),) = appended.log.pending(EVERYTHING)
    appended.log.commit(first)
    assert appended.values() == []
    await appended.append(2)
    await appended.append(3)
    (second, _), (third, _) = appended.log.pending(EVERYTHING)
    assert first < second < third
    appended.log.commit(second)
    assert appended.values() == [3]


async def test_a_read_is_limited_and_has_at_least_one_batch(appended: Appended):
    for value in (1, 2, 3):
        await appended.append(value)
    assert appended.values(1) == [1]
    assert appended.values(4) == [1, 2]
    assert appended.log.dropped == 0


async def test_a_commit_that_can_not_be_stored_is_an_error(appended: Appended):
    await appended.append(1)
    ((position, _),) = appended.log.pending(EVERYTHING)
    appended.fail()
    with pytest.raises(StoreError):
        appended.log.commit(position)


def test_an_empty_log_has_nothing_pending():
    """
    A preflight check sends one request without samples.
    """
    log: SampleLog = EmptySampleLog()
    log.commit(1)
    assert log.pending(EVERYTHING) == []
    assert log.dropped == 0
