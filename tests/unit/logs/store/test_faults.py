"""Disk failures are reported, intact lines stay, no line is ever wrong, and no number is given twice."""

import random
import resource
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.logs.store.conftest import EVER, found, lines_of
from tests.unit.logs.store.lines import log_line, some_lines
from toban.core.errors import StoreError
from toban.core.samples import milliseconds
from toban.logs.line_store import Direction, TextFilter
from toban.logs.store.block import FOOTER, MAGIC
from toban.logs.store.chunk import Column
from toban.logs.store.store import CORRUPTIONS, FAILURES

pytestmark = pytest.mark.usefixtures("small")

COUNT = 32 * 3 + 8 * 2 + 5
TRUTH = dict(enumerate(some_lines(COUNT), 1))
DIGIT = TextFilter(("7",))


def maintain(store, clock) -> None:
    store.maintain(milliseconds(clock.now()))


@contextmanager
def full(size: int):
    """Limit the size of every file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def filled(opened, clock, folder) -> Path:
    """Fill a store: three blocks, two chunks and some lines in the head, as a killed process leaves it."""
    with opened() as store:
        for number in range(0, COUNT, 3):
            store.append(some_lines(3, number), {"source": str(number)})
        maintain(store, clock)
        shutil.copytree(folder, killed := folder.with_name("killed"))
    shutil.rmtree(folder)
    return killed.rename(folder)


def read(store) -> dict[int, object]:
    """Return the lines by number, after the ways to read them were compared."""
    numbered = store.numbered(0, 10_000)
    searched = lines_of(store.search(EVER, 10_000, Direction.FORWARD))
    assert sorted(searched, key=lambda it: it.position.number) == numbered
    parts = [
        lines_of(store.search(replace(EVER, filters=(replace(DIGIT, is_negated=flag),)), 10_000))
        for flag in (True, False)
    ]
    assert sorted(parts[0] + parts[1], key=lambda it: it.position.number) == numbered
    return {it.position.number: it.line for it in numbered}


def flip(path: Path, offset: int, bits: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= bits
    path.write_bytes(data)


def survives(opened, clock, meters, before: dict[int, object] = TRUTH) -> dict[int, object]:
    """
    Open a damaged store, go on, repair and restart it; return the lines that are left.

    All are true, what is missing is counted as damage, and new lines have new numbers.
    """
    with opened() as store:
        left = read(store)
        assert left.items() <= before.items()
        assert left == before or meters.value(CORRUPTIONS) > 0
        first = store.append([log_line("after")], {})
        assert first > max(before)
        maintain(store, clock)
        assert meters.value(CORRUPTIONS) <= 4
        counted = meters.value(CORRUPTIONS)
        assert {number: it for number, it in read(store).items() if number < first} == left
    with opened() as store:
        assert {number: it for number, it in read(store).items() if number < first} == left
        assert store.numbered(first, 1)[0].line.message == "after"
    assert meters.value(CORRUPTIONS) == counted
    return left


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=[pytest.mark.soak] * (seed > 12)) for seed in range(1000)])
def test_damage_is_found_and_never_makes_a_wrong_line(filled, opened, clock, meters, seed):
    """
    Whichever byte of whichever file is damaged.
    """
    chance = random.Random(seed)
    path = chance.choice(sorted(it for it in filled.iterdir() if not it.name.endswith("-shm")))
    flip(path, chance.randrange(path.stat().st_size), 1 << chance.randrange(8))
    survives(opened, clock, meters)


@pytest.mark.parametrize("offset", [pytest.param(it, marks=[pytest.mark.soak] * (it % 9 > 0)) for it in range(112)])
def test_damage_of_the_heads_first_bytes_is_found(filled, opened, clock, meters, offset):
    """
    SQLite's header, in a head that was closed in order.
    """
    with opened():
        pass
    flip(filled / "head.db", offset)
    survives(opened, clock, meters)


@pytest.mark.parametrize("column", Column)
def test_a_damaged_column_costs_its_chunk_only(filled, opened, clock, meters, column):
    """
    It is left out and reported once; the next maintenance rewrites the block without it.
    """
    path = filled / "33-64.lines"
    with opened() as store:
        offset, length, _ = store._block_set.blocks[1].index.extents[2, column].tolist()
    flip(path, offset + length // 2)
    with opened() as store:
        assert set(range(1, COUNT + 1)) - {it.position.number for it in store.numbered(0, 1000)} == set(range(49, 57))
    assert meters.value(CORRUPTIONS) == (1 if column is not Column.LOUD or length else 0)
    left = survives(opened, clock, meters)
    assert set(TRUTH) - set(left) == set(range(49, 57))
    assert path.exists()
    assert path.with_name("33-64.lines.broken").exists()


def test_a_damaged_signature_costs_nothing(filled, opened, clock, meters):
    with opened() as store:
        start = store._block_set.blocks[1].index.signatures
    data = bytearray((filled / "33-64.lines").read_bytes())
    data[start : start + 4096] = bytes(4096)
    data[start + 4096 : start + 8192 * 4] = bytes(8192 * 4 - 4096)
    (filled / "33-64.lines").write_bytes(data)
    with opened() as store:
        assert found(store, replace(EVER, filters=(TextFilter(("order 50",)),))) == ["order 50 placed"]
        assert meters.value(CORRUPTIONS) == 1
        maintain(store, clock)
        assert found(store, replace(EVER, filters=(TextFilter(("order 50",)),))) == ["order 50 placed"]
        assert not any(block.damaged for block in store._block_set.blocks)
    assert survives(opened, clock, meters) == TRUTH


@pytest.mark.parametrize("place", [0, len(MAGIC) - 1, *range(-FOOTER.size, 0, 3), -FOOTER.size - 40])
def test_a_block_with_a_damaged_index_is_quarantined(filled, opened, clock, meters, place):
    path = filled / "33-64.lines"
    flip(path, place % path.stat().st_size)
    left = survives(opened, clock, meters)
    assert set(TRUTH) - set(left) == set(range(33, 65))
    assert path.with_name("33-64.lines.broken").exists()
    assert meters.value(CORRUPTIONS) == 1


@pytest.mark.parametrize("cut", [1, 100, 0.5, 1.0])
def test_a_truncated_block_is_quarantined(filled, opened, clock, meters, cut):
    path = filled / "65-96.lines"
    data = path.read_bytes()
    path.write_bytes(data[: -cut if isinstance(cut, int) else round(len(data) * (1 - cut))])
    assert set(TRUTH) - set(survives(opened, clock, meters)) == set(range(65, 97))


def test_a_renamed_block_is_quarantined(filled, opened, clock, meters):
    (filled / "33-64.lines").rename(filled / "34-65.lines")
    assert set(TRUTH) - set(survives(opened, clock, meters)) == set(range(33, 65))


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_head_that_is_no_database_is_set_aside(filled, opened, clock, meters, content):
    """
    Numbers go on far beyond those that it may have had.
    """
    for path in filled.glob("head.db*"):
        path.unlink()
    (filled / "head.db").write_bytes(content)
    with opened() as store:
        assert len(read(store)) == 96
        assert store.report().next_number > 10**12
    assert bool(list(filled.glob("head.db.broken"))) == bool(content)


def test_numbers_are_new_after_all_was_lost(filled, opened, clock, meters):
    with opened() as store:
        store.append(some_lines(1), {})
    for path in [*filled.glob("*.lines"), *filled.glob("head.db-*")]:
        path.unlink()
    (filled / "head.db").write_bytes(b"no database" * 1000)
    with opened() as store:
        first = store.append(some_lines(1), {})
        assert first > 10**12
    for path in filled.glob("head.db"):
        path.unlink()
    clock.advance(1)
    with opened() as store:
        assert store.append(some_lines(1), {}) > first


def test_a_crash_between_block_and_head_leaves_no_line_twice(opened, clock, folder, meters):
    with opened() as store:
        store.append(some_lines(COUNT), {})
        shutil.copytree(folder, before := folder.with_name("before"))
        maintain(store, clock)
    for path in folder.glob("head.db*"):
        path.unlink()
    for path in before.glob("head.db*"):
        shutil.copy(path, folder)
    (folder / "97-112.lines.tmp").write_bytes(b"half")
    assert survives(opened, clock, meters) == TRUTH
    assert meters.value(CORRUPTIONS) == 0
    assert not list(folder.glob("*.tmp"))


def test_a_full_disk_stores_nothing_by_halves(opened, folder, meters):
    """
    Neither in memory; it goes on when there is room.
    """
    with opened() as store:
        store.append(some_lines(20), {"source": "20"})
        with full(4000):
            for _ in range(3):
                with pytest.raises(StoreError, match=r"logs: writing head\.db"):
                    store.append(some_lines(30, 20), {"source": "50"})
            assert len(found(store)) == 20
            assert store.cursor("source") == "20"
        assert store.append(some_lines(30, 20), {"source": "50"}) == 21
        assert read(store) == {number: TRUTH[number] for number in range(1, 51)}
    assert meters.value(FAILURES) == 3
    with opened() as store:
        assert read(store) == {number: TRUTH[number] for number in range(1, 51)}


def test_a_seal_that_fails_leaves_the_head_unchanged(opened, folder, clock):
    with opened() as store:
        store.append(some_lines(COUNT), {})
        with full(4000), pytest.raises(StoreError, match="logs: maintenance"):
            maintain(store, clock)
        assert not list(folder.glob("*.lines*"))
        assert read(store) == TRUTH
        maintain(store, clock)
        assert len(list(folder.glob("*.lines"))) == 3
        assert read(store) == TRUTH


def test_a_locked_head_is_reported(opened, folder):
    with opened() as store:
        store.append(some_lines(1), {})
        other = sqlite3.connect(folder / "head.db", isolation_level=None)
        other.execute("begin immediate")
        with pytest.raises(StoreError, match=r"head\.db: database is locked"):
            store.append(some_lines(1, 1), {})
        other.close()
        assert store.append(some_lines(1, 1), {}) == 2


def test_a_head_that_is_damaged_while_open_is_set_aside(filled, opened, clock, meters):
    with opened() as store:
        data = bytearray((filled / "head.db").read_bytes())
        data[4096:] = b"\xff" * (len(data) - 4096)
        (filled / "head.db").write_bytes(data)
        (filled / "head.db-wal").write_bytes(b"")
        store._head.file._connection.execute("pragma shrink_memory")
        numbers = []
        for number in range(20):
            try:
                numbers.append(store.append(some_lines(1, COUNT + number), {}))
            except StoreError:
                continue
        assert numbers
        assert min(numbers) > COUNT
        assert len(read(store)) >= 96 + len(numbers)


def test_a_damaged_cursor_is_reported_and_forgotten(filled, opened, meters):
    connection = sqlite3.connect(filled / "head.db", isolation_level=None)
    connection.execute("update cursors set value = '200'")
    connection.close()
    for _ in range(2):
        with opened() as store:
            assert store.cursor("source") == ""
    assert meters.value(CORRUPTIONS) == 1


def test_a_folder_that_cannot_be_opened_is_named(folder, opened):
    folder.write_text("in the way")
    with pytest.raises(StoreError, match=r"logs: opening .*logs"), opened():
        pass
