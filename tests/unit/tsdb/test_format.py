"""Data of earlier versions opens in the present one."""

import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeClock
from tests.unit.tsdb.conftest import START, bits_by_series
from toban.core.errors import StoreError
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import ABSENT, STALE, Batch, Layout, counter, gauge
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

FOLDERS = sorted((Path(__file__).parents[2] / "data" / "tsdb").iterdir())
SERIES = [Labels(__name__=name, place=place) for name in ("seen_total", "load") for place in ("東京", 'a"b\\c')]
# As they are stored in the folders.
FAMILIES = [counter("seen_total", "What was seen."), gauge("load", "How it bears.")]
WINDOW = timedelta(minutes=10)


def batches(edition):
    """Return the batches of a folder: scrapes of an hour, some late, stale or with gaps; from format 2 on, decimals."""
    layout = Layout(SERIES, FAMILIES)
    for number in range(240):
        values = [
            number * 1.0,
            number * 0.1 if edition == "1" else number / 10,
            number % 7,
            -1e300 if number % 50 else np.inf,
        ]
        if number % 11 == 0:
            values[number % 4] = ABSENT
        if number == 200:
            values[3] = STALE
        late = 300_000 if number % 40 == 39 else 0
        yield Batch(layout, START + number * 15_000 - late + number % 2, np.array(values))


async def write(folder: Path, edition: str) -> None:
    """Write a folder, partly in blocks, partly in the head. Those in `tests/data/tsdb` were made like this."""
    clock = FakeClock()
    with Store(folder, TsdbSettings(), clock, MetricRegistry(), window=WINDOW, backlog=10_000) as store:
        for batch in batches(edition):
            await store.append([batch])
            await clock.sleep(15)
            await store.maintain()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
async def test_earlier_data_is_read(folder, tmp_path):
    """
    Every sample, to the last bit; and new ones are appended to it.
    """
    shutil.copytree(folder, tmp_path / "tsdb")
    await write(tmp_path / "expected", folder.name)
    clock = FakeClock()
    await clock.sleep(3600)
    opened = []
    for name in ("tsdb", "expected"):
        with Store(tmp_path / name, TsdbSettings(), clock, MetricRegistry(), window=WINDOW, backlog=10_000) as store:
            await store.append([Batch(Layout(SERIES[:1]), START + 3_600_000, np.array([7.0]))])
            assert store.health().ok
            assert "damage" not in store.health().message
            assert set(FAMILIES) <= set(store.families().values())
            opened.append(
                (bits_by_series(store.select((), START, START + 4_000_000)), len(store.remote_cursor.pending(10_000)))
            )
    assert opened[0] == opened[1]
    assert len(opened[0][0]) == len(SERIES)


def test_data_of_a_newer_toban_is_left_alone(tmp_path):
    """
    It is no damage: the error says which toban can read it, and nothing is quarantined.
    """
    shutil.copytree(FOLDERS[-1], tmp_path / "tsdb")
    block = next((tmp_path / "tsdb").glob("*.block"))
    data = block.read_bytes()
    block.write_bytes(b"TOBANTS9" + data[8:-8] + b"TOBANTS9")

    with (
        pytest.raises(StoreError, match="written by a newer toban"),
        Store(tmp_path / "tsdb", TsdbSettings(), FakeClock(), MetricRegistry(), window=WINDOW),
    ):
        pass
    assert block.exists()
    assert not list((tmp_path / "tsdb").glob("*.broken*"))
