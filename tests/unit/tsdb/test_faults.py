"""Disk failures are reported, intact data stays, no sample is ever wrong, and the store recovers by itself."""

import random
import resource
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.tsdb.conftest import MINUTE, START, batch, bits_by_series, layout, samples
from toban.core.errors import StoreError
from toban.core.matchers import Matcher, MatchOperator
from toban.tsdb import head_writer
from toban.tsdb import store as store_module
from toban.tsdb.store import CORRUPTIONS, FAILURES, LOST

ALL = [Matcher("__name__", MatchOperator.EQUAL, "temperature")]
EVER = (START - 1000 * MINUTE, START + 100_000 * MINUTE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tsdb"


@contextmanager
def locked(folder: Path):
    """Hold the head's file as another program might."""
    other = sqlite3.connect(folder / "head.db", isolation_level=None)
    try:
        other.execute("begin immediate")
        yield
        other.execute("rollback")
    finally:
        other.close()


@contextmanager
def full(size: int):
    """Limit the size of every file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def settled(store, at: int) -> None:
    """Append until it is durable again."""
    for attempt in range(100):
        try:
            await store.append([batch(layout("settled"), at + attempt, 0)])
        except StoreError:
            continue
        return
    raise AssertionError("the store did not recover")


async def test_samples_are_kept_in_memory_while_the_file_is_locked(opened, folder, meters):
    """
    The append raises the reason, the sample can be selected, and is written as soon as that is possible.
    """
    hall = layout("hall")
    with opened() as store:
        await store.append([batch(hall, START, 1)])
        with locked(folder):
            with pytest.raises(StoreError, match=r"tsdb: writing head\.db: database is locked"):
                await store.append([batch(hall, START + MINUTE, 2)])
            assert samples(store.select(ALL, *EVER)) == {"hall": {0: 1, 1: 2}}
            assert not store.health().ok
            assert "locked" in store.health().message
        await store.append([batch(hall, START + 2 * MINUTE, 3)])
        assert store.health().ok
    assert meters.value(FAILURES) == 1
    with opened() as store:
        assert samples(store.select(ALL, *EVER)) == {"hall": {0: 1, 1: 2, 2: 3}}


async def test_a_full_disk_is_reported_and_writes_are_made_up_for(opened):
    """
    No sample is lost.
    """
    hall = layout("hall")
    with opened() as store:
        for minute in range(20):
            await store.append([batch(hall, START + minute * MINUTE, minute)])
        with full(4000):
            for minute in range(20, 24):
                with pytest.raises(StoreError, match=r"head\.db"):
                    await store.append([batch(hall, START + minute * MINUTE, minute)])
            assert not store.health().ok
        await store.append([batch(hall, START + 24 * MINUTE, 24)])
        assert store.health().ok
    with opened() as store:
        assert samples(store.select(ALL, *EVER)) == {"hall": {minute: minute for minute in range(25)}}


async def test_a_bug_in_the_writer_ends_the_service(opened, monkeypatch):
    """
    No append waits for ever, and the service ends with the exception.
    """
    with opened() as store:

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(store._writer, "_write", broken)
        with pytest.raises(StoreError, match="ZeroDivisionError"):
            await store.append([batch(layout("hall"), START, 1)])
        with pytest.raises(ZeroDivisionError):
            await store.run()


async def test_a_flush_that_fails_leaves_the_head_unchanged(opened, folder, clock):
    """
    No partial block is left, the failure is reported, and the next run flushes.
    """
    with opened() as store:
        await store.append([batch(layout(*(f"room {number}" for number in range(2000))), START, *range(2000))])
        clock.advance(3 * 3600)
        with full(4000):
            await store.maintain()
        assert not store.health().ok
        assert [path.name for path in folder.glob("*block*")] == []
        assert len(samples(store.select(ALL, *EVER))) == 2000
        await store.maintain()
        assert store.health().ok
        assert len(list(folder.glob("*.block"))) == 1


async def test_memory_is_bounded_while_the_disk_fails(opened, meters, monkeypatch):
    """
    The oldest samples are dropped and counted; the newest stay.
    """
    monkeypatch.setattr(head_writer, "MAX_UNFLUSHED", 80)
    hall = layout("hall")
    with opened() as store:
        for minute in range(20):
            await store.append([batch(hall, START + minute * MINUTE, minute)])
        with full(4000):
            for minute in range(20, 60):
                with pytest.raises(StoreError):
                    await store.append([batch(hall, START + minute * MINUTE, minute)])
            kept = samples(store.select(ALL, *EVER))["hall"]
        assert list(kept)[:20] == list(range(20))
        assert kept[59] == 59
        assert len(kept) <= 30
        await store.append([batch(hall, START + 60 * MINUTE, 60)])
        await store.maintain()
        assert meters.value(LOST) == 60 - len(kept)
    with opened() as store:
        assert samples(store.select(ALL, *EVER))["hall"] == {**kept, 60: 60}


@pytest.mark.parametrize("damage", ["removed", "replaced"])
async def test_a_head_file_that_was_removed_is_rebuilt_from_memory(opened, folder, damage):
    """
    Samples that were acknowledged before are durable again, too.
    """
    hall = layout("hall")
    with opened() as store:
        await store.append([batch(hall, START, 1)])
        if damage == "removed":
            for path in folder.glob("head.db*"):
                path.unlink()
        else:
            (folder / "other").write_bytes(b"no database" * 1000)
            (folder / "other").replace(folder / "head.db")
        await settled(store, START + MINUTE)
        assert store.health().ok
        shutil.copytree(folder, folder.parent / "copy")
    folder.rename(folder.parent / "old")
    (folder.parent / "copy").rename(folder)
    with opened() as store:
        assert samples(store.select(ALL, *EVER))["hall"] == {0: 1}


async def filled(opened, clock) -> dict[str, dict[int, int]]:
    """Fill a store: some blocks, and a head as a killed process leaves it."""
    rooms, more = layout("hall", "cellar"), layout("hall", "cellar", "roof")
    with opened() as store:
        for minute in range(0, 15 * 60, 5):
            await store.append([batch(rooms, START + minute * MINUTE, minute, minute / 7)])
            if minute % 15 == 0:
                await store.append([batch(more, START + minute * MINUTE + 1, minute, minute / 3, -minute)])
            clock.advance(300)
            if minute % 60 == 0:
                await store.maintain()
        # The writer removes flushed rows in the background; a store on a copy finds all of them or some.
        killed = store._folder.with_name("killed")
        shutil.copytree(store._folder, killed)
        response = bits_by_series(store.select(ALL, *EVER))
    shutil.rmtree(store._folder)
    killed.rename(store._folder)
    return response


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.soak] * (seed > 5)) for seed in range(250)])
async def test_damage_is_found_and_never_makes_a_wrong_sample(opened, clock, folder, meters, seed):
    """
    With a flipped bit or a truncated file, anywhere: every selected sample was written, and every missing one was
    reported. A truncated write-ahead log is what a crash leaves, and is no damage.
    """
    chance = random.Random(seed)
    truth = await filled(opened, clock)
    intact = folder.with_name("intact")
    shutil.copytree(folder, intact)
    for _ in range(8):
        shutil.rmtree(folder)
        shutil.copytree(intact, folder)
        path = chance.choice([path for path in sorted(folder.iterdir()) if path.stat().st_size])
        data = bytearray(path.read_bytes())
        place = chance.randrange(len(data))
        if chance.random() < 0.25 and not path.name.endswith("-wal"):
            del data[place:]
        else:
            data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        found_before = meters.value(CORRUPTIONS)

        with opened() as store:
            await store.maintain()
            await store.maintain()
            response = bits_by_series(store.select(ALL, *EVER))
            families = store.families()

        where = f"{path.name} at {place}"
        for series, found in response.items():
            assert found.items() <= truth[series].items(), where
        if response != truth:
            assert meters.value(CORRUPTIONS) > found_before, where
        assert set(families) <= {"temperature"}, where
        assert sum(map(len, response.values())) > 0.4 * sum(map(len, truth.values())), where


@pytest.mark.parametrize("cut", [1, 100, 0.5])
async def test_a_truncated_block_is_quarantined(opened, clock, folder, cut):
    """
    Its file is renamed; the other blocks and the head are selected from.
    """
    truth = await filled(opened, clock)
    path = min(folder.glob("*.block"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - cut if cut >= 1 else len(data) // 2])

    with opened() as store:
        assert path.name in store.health().message
        response = bits_by_series(store.select(ALL, *EVER))

    assert path.with_name(path.name + ".broken").exists()
    assert not path.exists()
    assert response != truth
    assert all(found.items() <= truth[series].items() for series, found in response.items())


async def test_a_damaged_tile_costs_its_series_only(opened, clock, folder, meters):
    """
    It is left out and reported, and the next maintenance rewrites the block without it.
    """
    many, one = layout(*(f"room {number:03}" for number in range(200))), layout("hall")
    with opened() as store:
        await store.append([batch(many, START, *range(200)), batch(one, START + 1, 7)])
        clock.advance(3 * 3600)
        await store.maintain()
        (block,) = store._block_set.blocks
        wide = next(group for group in block.groups if len(group.ids) == 200)
        offset, length, _ = wide.tiles[0].tolist()
    data = bytearray(block.path.read_bytes())
    data[offset + length // 2] ^= 1
    block.path.write_bytes(data)
    with opened() as store:
        assert len(bits_by_series(store.select(ALL, *EVER))) == 73
        assert meters.value(CORRUPTIONS) == 1
        await store.maintain()
        assert len(bits_by_series(store.select(ALL, *EVER))) == 73
        assert store.health().ok
    with opened() as store:
        assert len(bits_by_series(store.select(ALL, *EVER))) == 73
    assert meters.value(CORRUPTIONS) == 1
    assert (folder / f"{block.path.name}.broken").read_bytes() == data


async def test_a_crash_during_compaction_leaves_no_sample_twice(opened, clock, folder):
    """
    Replaced blocks that are still there are removed at the next start, and so are files that were never finished.
    """
    truth = await filled(opened, clock)
    before = {path.name: path.read_bytes() for path in folder.glob("*.block")}
    clock.advance(24 * 3600)
    with opened() as store:
        await store.maintain()
        assert len(store._block_set.blocks) == 1
    for name, data in before.items():
        (folder / name).write_bytes(data)
    (folder / "0-1-1.block.tmp").write_bytes(b"half")

    with opened() as store:
        assert bits_by_series(store.select(ALL, *EVER)) == truth
        assert len(list(folder.glob("*.block*"))) == 1


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, clock, meters):
    """
    The error has the path.
    """
    (tmp_path / "tsdb").write_text("in the way")
    with (
        pytest.raises(StoreError, match=r"tsdb: opening .*tsdb"),
        store_module.Store(tmp_path / "tsdb", store_module.TsdbSettings(), clock, meters),
    ):
        pass
