"""What the store promises beside finding lines: numbers, cursors, slices, retention."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.logs.store.conftest import DAY, EVER, START, found, lines_of
from tests.unit.logs.store.lines import log_line, some_lines
from toban.core.errors import BadQueryError
from toban.core.log_line import LogLevel, LogStream
from toban.core.samples import milliseconds
from toban.logs.line_store import Direction, LineSelection, TextFilter
from toban.logs.settings import LogSettings
from toban.logs.store import block as block_module
from toban.logs.store import block_set as block_set_module
from toban.logs.store import search as search_module
from toban.logs.store import store as store_module
from toban.logs.store.store import APPENDED, BLOCKS, BYTES, LINES, OLDEST

pytestmark = pytest.mark.usefixtures("small")


def maintain(store, clock) -> None:
    store.maintain(milliseconds(clock.now()))


def test_numbers_go_on_after_all_lines_were_deleted(opened, clock):
    with opened(retention="1d") as store:
        store.append(some_lines(50), {})
        clock.advance(86_400)
        maintain(store, clock)
        clock.advance(3 * 86_400)
        maintain(store, clock)
        assert store.report() == replace(store.report(), lines=0, oldest=None, newest=None, next_number=51)
    with opened() as store:
        assert store.append(some_lines(1), {}) == 51
        assert [it.position.number for it in store.numbered(1, 10)] == [51]


def test_lines_and_cursors_are_stored_together(opened):
    with opened() as store:
        store.append(some_lines(1), {"file a": "10", "fly": "x", "path \udcff": "5"})
        assert store.cursor("path \udcff") == "5"
        store.forget_cursors(["path \udcff"])
        store.append([], {"file b": "20"})
        store.forget_cursors(["fly", "unknown"])
    with opened() as store:
        assert store.cursors("file ") == {"file a": "10", "file b": "20"}
        assert (store.cursor("file b"), store.cursor("fly")) == ("20", "")
        assert store.report().next_number == 2


def test_a_full_block_is_sealed_at_once_and_the_rest_at_the_end_of_the_day(opened, clock, folder):
    with opened() as store:
        store.append(some_lines(40), {})
        maintain(store, clock)
        assert [path.name for path in folder.glob("*.lines")] == ["1-32.lines"]
    clock.advance(86_400)
    with opened() as store:
        maintain(store, clock)
        assert sorted(path.name for path in folder.glob("*.lines")) == ["1-32.lines", "33-40.lines"]
        assert found(store) == [f"order {number} placed" for number in range(40)]


def test_the_day_ends_while_toban_does_not_run(opened, clock, folder):
    with opened() as store:
        store.append(some_lines(3), {})
    clock.advance(86_400)
    with opened() as store:
        assert not list(folder.glob("*.lines"))
        maintain(store, clock)
        assert [path.name for path in folder.glob("*.lines")] == ["1-3.lines"]


def test_a_block_with_very_many_streams_is_sealed_early(opened, clock, folder, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_STREAMS", 10)
    with opened() as store:
        store.append([log_line(f"{number}", context=f"c{number}") for number in range(64)], {})
        clock.advance(86_400)
        maintain(store, clock)
        assert len(list(folder.glob("*.lines"))) == 8
        assert len(found(store)) == 64
        assert len(store.streams(START, START + DAY)) == 64


def test_old_blocks_are_deleted(opened, clock, folder):
    with opened(retention="2d") as store:
        store.append([log_line("old", -3 * 86_400), log_line("recent")], {})
        clock.advance(86_400)
        maintain(store, clock)
        store.append([log_line("new", 86_400)], {})
        assert found(store) == ["old", "recent", "new"]
        clock.advance(86_400)
        maintain(store, clock)
        assert found(store) == ["old", "recent", "new"]
        clock.advance(86_400)
        maintain(store, clock)
        assert found(store) == ["new"]
        assert len(list(folder.glob("*.lines"))) == 1


def test_a_line_of_the_future_does_not_keep_its_block_for_ever(opened, clock):
    with opened(retention="2d") as store:
        store.append([log_line("of 2100", 2_335_219_200)], {})
        clock.advance(86_400)
        maintain(store, clock)
        clock.advance(3 * 86_400)
        maintain(store, clock)
        assert found(store) == []


def test_a_clock_that_jumps_ahead_deletes_nothing(opened, clock):
    with opened(retention="2d") as store:
        store.append(some_lines(3), {})
        clock.set(datetime(2100, 1, 1, tzinfo=UTC))
        maintain(store, clock)
        maintain(store, clock)
        assert len(found(store)) == 3


def test_the_oldest_blocks_are_deleted_when_there_is_too_much(opened, clock, folder):
    with opened() as store:
        store.append(some_lines(32 * 5), {})
        maintain(store, clock)
        limit = store.report().bytes - (folder / "1-32.lines").stat().st_size * 3 // 2
        store._settings = LogSettings(retention_size=limit)
        maintain(store, clock)
        assert store.report().bytes <= limit
        assert found(store) == [f"order {number} placed" for number in range(64, 160)]


def test_the_store_knows_since_when_nothing_was_deleted(opened, clock, folder):
    """
    Also when a line comes late that is older than what was deleted, and after a restart.
    """
    with opened() as store:
        assert store.kept_since() is None
        store.append(some_lines(32 * 3), {})
        assert store.kept_since() == START
        maintain(store, clock)
        store._settings = LogSettings(retention_size=store.report().bytes - 1)
        maintain(store, clock)
        oldest = store.report().oldest
        assert START < store.kept_since() <= oldest
        before = store.kept_since()
        store.append(some_lines(1), {})
        assert store.kept_since() == before > store.report().oldest
    with opened() as store:
        assert store.kept_since() == before


def test_metrics_tell_what_is_stored(opened, clock, meters):
    with opened() as store:
        store.append(some_lines(40), {})
        maintain(store, clock)
        assert [meters.value(one) for one in (APPENDED, LINES, BLOCKS, OLDEST)] == [40, 40, 1, START / 1000]
        assert meters.value(BYTES) == store.report().bytes


class Ticking(FakeClock):
    """Each look takes 40 ms."""

    def monotonic(self) -> float:
        self.advance(0.04)
        return super().monotonic()


@pytest.mark.parametrize("direction", Direction)
def test_a_search_yields_slices_and_tells_how_far_it_has_come(folder, meters, direction):
    """
    All lines beyond what is reached are in the slices before; the last slice has reached the end.
    """
    clock = Ticking()
    with store_module.EmbeddedLineStore(folder, LogSettings(), clock, meters) as store:
        store.append(some_lines(400), {})
        store.maintain(milliseconds(clock.now()))
        selection = LineSelection(START, START + 400_000, filters=(TextFilter(("order 7", "order 3")),))
        slices = list(store.search(selection, 1000, direction))
        everything = lines_of(slices)
        assert len(slices) > 5
        for number, part in enumerate(slices):
            yielded = lines_of(slices[: number + 1])
            if direction is Direction.FORWARD:
                assert yielded == [it for it in everything if it.position.at < part.reached]
            else:
                assert yielded == [it for it in everything if it.position.at >= part.reached]
        assert slices[-1].reached == (selection.end if direction is Direction.FORWARD else selection.start)
        limited = list(store.search(selection, 3, direction))
        assert limited[-1].reached == lines_of(limited)[-1].position.at
        counts = list(store.count(LineSelection(START, START + 400_000), 60_000))
        assert len(counts) > 1
        assert sum(it.lines for part in counts for it in part) == 400


def test_a_search_can_be_closed(opened):
    with opened() as store:
        store.append(some_lines(400), {})
        search = store.search(EVER, 10)
        next(search)
        search.close()


def test_streams_are_asked_once_and_those_of_a_range_are_listed(opened, clock):
    asked = []

    def selects(stream: LogStream) -> bool:
        asked.append(stream)
        return stream.level == "error"

    with opened() as store:
        store.append(some_lines(100), {})
        maintain(store, clock)
        assert len(lines_of(store.search(replace(EVER, selects=selects), 100))) == 20
        assert sorted(stream.level for stream in asked) == ["error", "info"]
        store.append([log_line("late", -100, LogLevel.DEBUG)], {})
        assert [stream.level for stream in store.streams(START - 200_000, START)] == ["debug", "info"]


def test_counting_without_filters_reads_no_text(opened, clock, monkeypatch):
    with opened() as store:
        store.append(some_lines(100), {})
        maintain(store, clock)
        monkeypatch.setattr(search_module, "all_match", None)
        monkeypatch.setattr("toban.logs.store.chunk.Chunk.text", None)
        assert sum(it.lines for part in store.count(EVER, 1000) for it in part) == 100


@pytest.mark.parametrize("pattern", ["(", "a**", r"\8", "x{2000}", "[z-a]"])
def test_an_invalid_expression_is_named(opened, pattern):
    with opened() as store, pytest.raises(BadQueryError) as raised:
        store.search(replace(EVER, filters=(TextFilter((pattern,), is_regex=True),)), 10)
    assert pattern in str(raised.value)


def test_searches_are_complete_while_lines_are_appended_and_sealed(opened, clock):
    """
    Each search returns every line acknowledged before it, each once and in order, also those that move to a block.
    """
    done, failures, finished = [0], list[BaseException](), threading.Event()

    def read(store) -> None:
        try:
            while not finished.is_set():
                at_least = done[0]
                numbers = [it.position.number for it in lines_of(store.search(EVER, 100_000, Direction.FORWARD))]
                assert numbers == list(range(1, len(numbers) + 1))
                assert len(numbers) >= at_least
                assert len(store.numbered(1, 100_000)) >= at_least
                assert sum(it.lines for part in store.count(EVER, 1000) for it in part) >= at_least
        except BaseException as error:  # shown by the test
            failures.append(error)

    with opened() as store:
        threads = [threading.Thread(target=read, args=(store,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(0, 600, 6):
            store.append(some_lines(6, number), {})
            done[0] = number + 6
            maintain(store, clock)
        finished.set()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(store._block_set.blocks) > 10


def test_a_search_goes_on_while_its_lines_are_deleted(opened, clock):
    """
    Blocks stay readable for it; a chunk that was in the head then is left out.
    """
    with opened(retention="1d") as store:
        store.append(some_lines(96 + 8 + 4), {})
        maintain(store, clock)
        search = store.search(EVER, 1000)
        clock.advance(3 * 86_400)
        maintain(store, clock)
        assert len(lines_of(search)) == 96 + 4
        assert found(store) == []


def test_indexes_of_blocks_take_bounded_memory(opened, clock, monkeypatch):
    """
    What is not kept is read again.
    """
    monkeypatch.setattr(block_set_module, "INDEX_BYTES", 50_000)
    with opened() as store:
        store.append(some_lines(32 * 6), {})
        maintain(store, clock)
        assert len(found(store)) == 192
        assert len(store._block_set._cache._values) == 1


def test_a_block_of_a_newer_toban_is_named(opened, clock, folder: Path):
    with opened() as store:
        store.append(some_lines(32), {})
        maintain(store, clock)
    path = folder / "1-32.lines"
    newer = block_module.MAGIC_PREFIX + b"9"
    data = path.read_bytes()
    path.write_bytes(newer + data[8:-8] + newer)
    with pytest.raises(store_module.StoreError, match=r"1-32\.lines: written by a newer toban"), opened():
        pass
    assert path.exists()


def test_a_search_yields_a_slice_whenever_it_has_found_many_lines(opened, monkeypatch):
    """
    However quickly it finds them: the clock stands still.
    """
    monkeypatch.setattr(search_module, "SLICE_LINES", 5)
    with opened() as store:
        store.append(some_lines(40), {})
        slices = [part.lines for part in store.search(EVER, 100, Direction.FORWARD)]
    assert sum(map(len, slices)) == 40
    assert len(slices) >= 3
