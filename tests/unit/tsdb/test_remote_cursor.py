"""What was appended is passed on: all of it, in order, once."""

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


class Life:
    """A store that is opened again and again, and what its reader got."""

    def __init__(self, folder, backlog=MEGABYTE):
        self.folder, self.backlog, self.clock, self.meters = folder, backlog, FakeClock(), MetricRegistry()
        self.put, self.got = [], []
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
        value = float(len(self.put))
        at = milliseconds(self.clock.now()) - late
        await self.store.append([batch(of, at, *[value] * len(of))])
        self.put.append((of.series, at, value))

    def pass_on(self, samples=5):
        """Take some and say so."""
        found = self.store.remote_cursor.pending(samples)
        self.got += [(one.layout.series, one.at, float(one.values[0])) for _, one in found]
        if found:
            self.store.remote_cursor.commit(found[-1][0])
        return len(found)

    def drain(self):
        while self.pass_on(1000):
            pass


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.soak] * (seed > 5)) for seed in range(200)])
async def test_everything_comes_once_and_in_order(seed, tmp_path):
    """
    However late it was, whatever was sealed meanwhile, and through restarts.
    """
    chance = random.Random(seed)
    life = Life(tmp_path / "tsdb")
    for _ in range(300):
        match chance.choices(["append", "pass", "tend", "restart"], [60, 10 if seed % 2 else 1, 6, 2])[0]:
            case "append":
                await life.append(chance.choice(LAYOUTS), late=chance.choice([0, 0, 0, 200_000, 5_000_000]))
                await life.clock.sleep(chance.choice([1, 15, 40]))
            case "pass":
                life.pass_on(chance.choice([1, 5, 40]))
            case "tend":
                await life.store.maintain()
            case "restart":
                life.close()
                life.open()
    life.drain()
    assert life.got == life.put
    assert life.store.remote_cursor.dropped == 0
    life.close()


async def test_what_is_too_much_goes_oldest_first_and_is_counted(tmp_path):
    """
    In samples.
    """
    life = Life(tmp_path / "tsdb", backlog=30 * 8)
    for _ in range(100):
        await life.append(LAYOUTS[2])
        await life.clock.sleep(15)
    await life.store.maintain()
    life.drain()
    assert life.got == life.put[-len(life.got) :]
    assert life.store.remote_cursor.dropped == 3 * (100 - len(life.got)) > 0
    life.close()


async def test_what_gets_older_than_numbers_are_kept_goes_too(tmp_path):
    """
    The receiver would not take it either.
    """
    life = Life(tmp_path / "tsdb")
    await life.append(LAYOUTS[1])
    await life.clock.sleep(4 * 86_400)
    await life.store.maintain()
    await life.append(LAYOUTS[0])
    life.drain()
    assert (life.got, life.store.remote_cursor.dropped) == (life.put[1:], 2)
    life.close()


async def test_a_damaged_row_is_left_out_and_told(tmp_path):
    """
    The others come.
    """
    life = Life(tmp_path / "tsdb")
    for _ in range(3):
        await life.append(LAYOUTS[0])
        await life.clock.sleep(300)
    await life.store.maintain()
    life.close()
    file = tmp_path / "tsdb" / "backlog.db"
    data = bytearray(file.read_bytes())
    where = data.find(np.array([1.0]).tobytes())
    data[where + 7] ^= 4
    file.write_bytes(data)

    life.open()
    life.drain()
    assert life.got == [life.put[0], life.put[2]]
    assert "turn 2 is damaged" in life.store.health().message
    life.close()


async def test_a_file_that_is_no_database_is_set_aside(tmp_path):
    """
    What the head holds is passed on, if need be once more.
    """
    life = Life(tmp_path / "tsdb")
    await life.append(LAYOUTS[0])
    life.drain()
    life.close()
    (tmp_path / "tsdb" / "backlog.db").write_bytes(os.urandom(9000))

    life.open()
    await life.append(LAYOUTS[0])
    life.drain()
    assert life.got == [life.put[0], *life.put]
    assert (tmp_path / "tsdb" / "backlog.db.broken").exists()
    assert "backlog.db" in life.store.health().message
    life.close()


async def test_a_store_that_passes_nothing_on_keeps_no_backlog(tmp_path):
    """
    What an earlier start kept goes.
    """
    life = Life(tmp_path / "tsdb")
    await life.append(LAYOUTS[0])
    await life.clock.sleep(300)
    await life.store.maintain()
    life.close()
    assert (tmp_path / "tsdb" / "backlog.db").exists()
    life.backlog = None
    life.open()
    assert list((tmp_path / "tsdb").glob("backlog*")) == []
    life.close()


async def test_gaps_are_no_samples(tmp_path):
    """
    They are not counted when they are overtaken.
    """
    life = Life(tmp_path / "tsdb", backlog=0)
    await life.store.append([batch(LAYOUTS[1], START, 1, ABSENT)])
    await life.clock.sleep(300)
    await life.store.maintain()
    assert life.store.remote_cursor.dropped == 1
    life.close()


async def test_while_the_backlog_can_not_be_written_the_head_keeps_its_rows(tmp_path, monkeypatch):
    """
    As on a full disk: it says so, and nothing is lost when there is room again.
    """
    life = Life(tmp_path / "tsdb")
    for _ in range(10):
        await life.append(LAYOUTS[0])
        await life.clock.sleep(60)

    def full(*_):
        raise StoreError("tsdb: backlog.db: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteBacklog, "append", full)
        await life.store.maintain()
        assert (life.store.health().ok, "disk is full" in life.store.health().message) == (False, True)
    await life.store.maintain()
    assert life.store.health().ok
    life.drain()
    assert life.got == life.put
    life.close()
