"""The cursor of remote write returns every batch once, in order."""

import os
import random
from datetime import timedelta

import numpy as np
import pytest

from tests.fakes import FakeClock
from tests.unit.tsdb.conftest import START, batch, layout
from toban.core.errors import StoreError
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import ABSENT, milliseconds
from toban.tsdb.remote_backlog import RemoteBacklog
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

LAYOUTS = [layout("a"), layout("b", "c"), layout("d", "e", "f")]
MEGABYTE = 2**20


class Restarts:
    """A store that is opened again and again, and the batches that were read from its cursor."""

    def __init__(self, folder, backlog=MEGABYTE):
        self.folder, self.backlog, self.clock, self.meters = folder, backlog, FakeClock(), MetricRegistry()
        self.appended, self.read = [], []
        self.open()

    def open(self):
        settings = TsdbSettings(retention=timedelta(days=3))
        self.store = Store(
            self.folder, settings, self.clock, self.meters, window=timedelta(minutes=2), backlog=self.backlog
        )
        self.store.__enter__()

    def close(self):
        self.store.__exit__(None, None, None)

    async def append(self, of, late=0):
        value = float(len(self.appended))
        at = milliseconds(self.clock.now()) - late
        await self.store.append([batch(of, at, *[value] * len(of))])
        self.appended.append((of.series, at, value))

    def send(self, samples=5):
        """Read some batches and commit them."""
        found = self.store.remote_cursor.pending(samples)
        self.read += [(one.layout.series, one.at, float(one.values[0])) for _, one in found]
        if found:
            self.store.remote_cursor.commit(found[-1][0])
        return len(found)

    def drain(self):
        while self.send(1000):
            pass


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.soak] * (seed > 5)) for seed in range(200)])
async def test_every_batch_is_read_once_and_in_order(seed, tmp_path):
    """
    Even late ones, whatever is flushed meanwhile, and over restarts.
    """
    chance = random.Random(seed)
    restarts = Restarts(tmp_path / "tsdb")
    for _ in range(300):
        match chance.choices(["append", "send", "maintain", "restart"], [60, 10 if seed % 2 else 1, 6, 2])[0]:
            case "append":
                await restarts.append(chance.choice(LAYOUTS), late=chance.choice([0, 0, 0, 200_000, 5_000_000]))
                await restarts.clock.sleep(chance.choice([1, 15, 40]))
            case "send":
                restarts.send(chance.choice([1, 5, 40]))
            case "maintain":
                await restarts.store.maintain()
            case "restart":
                restarts.close()
                restarts.open()
    restarts.drain()
    assert restarts.read == restarts.appended
    assert restarts.store.remote_cursor.dropped == 0
    restarts.close()


async def test_samples_beyond_the_backlogs_size_are_dropped_oldest_first(tmp_path):
    """
    And counted.
    """
    restarts = Restarts(tmp_path / "tsdb", backlog=30 * 8)
    for _ in range(100):
        await restarts.append(LAYOUTS[2])
        await restarts.clock.sleep(15)
    await restarts.store.maintain()
    restarts.drain()
    assert restarts.read == restarts.appended[-len(restarts.read) :]
    assert restarts.store.remote_cursor.dropped == 3 * (100 - len(restarts.read)) > 0
    restarts.close()


async def test_samples_older_than_the_retention_are_dropped(tmp_path):
    """
    The receiver would reject them, too.
    """
    restarts = Restarts(tmp_path / "tsdb")
    await restarts.append(LAYOUTS[1])
    await restarts.clock.sleep(4 * 86_400)
    await restarts.store.maintain()
    await restarts.append(LAYOUTS[0])
    restarts.drain()
    assert (restarts.read, restarts.store.remote_cursor.dropped) == (restarts.appended[1:], 2)
    restarts.close()


async def test_a_damaged_row_is_left_out_and_reported(tmp_path):
    """
    The others are read.
    """
    restarts = Restarts(tmp_path / "tsdb")
    for _ in range(3):
        await restarts.append(LAYOUTS[0])
        await restarts.clock.sleep(300)
    await restarts.store.maintain()
    restarts.close()
    file = tmp_path / "tsdb" / "backlog.db"
    data = bytearray(file.read_bytes())
    where = data.find(np.array([1.0]).tobytes())
    data[where + 7] ^= 4
    file.write_bytes(data)

    restarts.open()
    restarts.drain()
    assert restarts.read == [restarts.appended[0], restarts.appended[2]]
    assert "row 2 is damaged" in restarts.store.health().message
    restarts.close()


async def test_a_backlog_that_is_no_database_is_quarantined(tmp_path):
    """
    The head's batches are read, perhaps a second time.
    """
    restarts = Restarts(tmp_path / "tsdb")
    await restarts.append(LAYOUTS[0])
    restarts.drain()
    restarts.close()
    (tmp_path / "tsdb" / "backlog.db").write_bytes(os.urandom(9000))

    restarts.open()
    await restarts.append(LAYOUTS[0])
    restarts.drain()
    assert restarts.read == [restarts.appended[0], *restarts.appended]
    assert (tmp_path / "tsdb" / "backlog.db.broken").exists()
    assert "backlog.db" in restarts.store.health().message
    restarts.close()


async def test_a_store_without_remote_write_has_no_backlog(tmp_path):
    """
    The backlog of an earlier run is removed.
    """
    restarts = Restarts(tmp_path / "tsdb")
    await restarts.append(LAYOUTS[0])
    await restarts.clock.sleep(300)
    await restarts.store.maintain()
    restarts.close()
    assert (tmp_path / "tsdb" / "backlog.db").exists()
    restarts.backlog = None
    restarts.open()
    assert list((tmp_path / "tsdb").glob("backlog*")) == []
    restarts.close()


async def test_gaps_are_not_counted_as_dropped_samples(tmp_path):
    """
    A batch of one sample and one gap counts as one.
    """
    restarts = Restarts(tmp_path / "tsdb", backlog=0)
    await restarts.store.append([batch(LAYOUTS[1], START, 1, ABSENT)])
    await restarts.clock.sleep(300)
    await restarts.store.maintain()
    assert restarts.store.remote_cursor.dropped == 1
    restarts.close()


async def test_the_head_keeps_its_rows_while_the_backlog_can_not_be_written(tmp_path, monkeypatch):
    """
    As on a full disk: it is reported, and nothing is lost.
    """
    restarts = Restarts(tmp_path / "tsdb")
    for _ in range(10):
        await restarts.append(LAYOUTS[0])
        await restarts.clock.sleep(60)

    def full(*_):
        raise StoreError("tsdb: backlog.db: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteBacklog, "append", full)
        await restarts.store.maintain()
        assert (restarts.store.health().ok, "disk is full" in restarts.store.health().message) == (False, True)
    await restarts.store.maintain()
    assert restarts.store.health().ok
    restarts.drain()
    assert restarts.read == restarts.appended
    restarts.close()
