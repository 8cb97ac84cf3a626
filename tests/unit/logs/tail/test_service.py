"""The service: what it waits for, what it says, and when it ends."""

import asyncio
import threading
from contextlib import asynccontextmanager, suppress

import pytest
from pydantic import ValidationError

from tests.fakes import FakeClock
from tests.unit.logs.tail.tailing import FakeLineStore
from toban.core.config_types import readable_error
from toban.core.metric_registry import MetricRegistry
from toban.logs.settings import LogFiles, LogSettings
from toban.logs.tail.found_files import SkipReason
from toban.logs.tail.preflight import check_files
from toban.logs.tail.reader import LogFileReader
from toban.logs.tail.service import CUT, FILES, LAG, LINES, SKIPPED, FileTail


class TickingClock(FakeClock):
    """A clock that tells whenever somebody has slept."""

    def __init__(self) -> None:
        super().__init__()
        self._ticked = asyncio.Event()

    async def sleep(self, seconds):
        await super().sleep(seconds)
        self._ticked.set()

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                self._ticked.clear()
                await self._ticked.wait()


class StuckStore(FakeLineStore):
    """Never stores anything, and never says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = asyncio.Event()

    async def append(self, lines, source, cursors=None):
        self.waits.set()
        await asyncio.Event().wait()


class Running:
    def __init__(self, folder, store, **settings):
        self.folder = folder
        self.meters = MetricRegistry()
        files = LogFiles.model_validate({"path": str(folder / "*.log"), "format": "plain", **settings})
        self.store = store
        self.clock = TickingClock()
        self.service = FileTail([files], "here", store, store, self.clock, self.meters)

    async def has(self, count):
        """Wait until so many lines are stored, and return their messages."""
        await self.clock.until(lambda: len(self.store.lines) >= count)
        return self.store.messages

    @asynccontextmanager
    async def run(self):
        task = asyncio.create_task(self.service.run())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_lines_are_stored_with_their_cursors_and_counted(tmp_path):
    store = FakeLineStore()
    (tmp_path / "a.log").write_text(f"one\n{'x' * 1_100_000}\n")
    async with Running(tmp_path, store).run() as running:
        await running.has(2)
        (tmp_path / "b.log").write_text("two\n")
        assert "two" in await running.has(3)
        meters = running.meters
        await running.clock.until(lambda: meters.value(LINES, format="plain") == 3)
        assert (meters.value(CUT), meters.value(FILES), meters.value(LAG)) == (1, 2, 0)
    assert sum(":" in name for name in store.values if "/pattern/" not in name) == 2


async def test_nothing_is_lost_or_repeated_while_lines_can_not_be_stored(tmp_path):
    """
    It waits, says why, and goes on.
    """
    store = FakeLineStore()
    (tmp_path / "a.log").write_text("one\n")
    async with Running(tmp_path, store).run() as running:
        await running.has(1)
        store.error = "logs: no space left on device"
        with (tmp_path / "a.log").open("a") as file:
            file.write("two\n")
        await running.clock.until(lambda: not running.service.health().ok)
        assert "no space left" in running.service.health().message
        store.error = ""
        assert await running.has(2) == ["one", "two"]
        await running.clock.until(lambda: running.service.health().ok)


async def test_a_service_that_was_cancelled_while_it_stored_lines_repeats_none(tmp_path):
    """
    Nothing of a batch is stored, or all of it with its cursors.
    """
    (tmp_path / "a.log").write_text("one\n")
    stuck = StuckStore()
    async with Running(tmp_path, stuck).run():
        await asyncio.wait_for(stuck.waits.wait(), 20)
    store = FakeLineStore()
    for _ in range(3):
        async with Running(tmp_path, store).run() as running:
            assert await running.has(1) == ["one"]
            await running.clock.until(lambda: running.meters.value(FILES) == 1)


async def test_health_names_what_can_not_be_read(tmp_path):
    (tmp_path / "loop.log").symlink_to("loop.log")
    async with Running(tmp_path, FakeLineStore()).run() as running:
        await running.clock.until(lambda: not running.service.health().ok)
        assert f"{tmp_path}/loop.log: Too many levels of symbolic links" in running.service.health().message
        assert running.meters.value(SKIPPED, reason=SkipReason.UNREADABLE.value) == 1
        (tmp_path / "loop.log").unlink()
        (tmp_path / "a.log").write_text("one\n")
        await running.has(1)
        await running.clock.until(lambda: running.service.health().ok)


async def test_health_tells_when_reading_hangs(tmp_path, monkeypatch):
    """
    A disk that does not answer holds the thread, and nothing else.
    """
    (tmp_path / "a.log").write_text("one\n")
    begun, released = threading.Event(), threading.Event()
    read = LogFileReader.read

    def hang(*arguments):
        begun.set()
        released.wait(20)
        return read(*arguments)

    monkeypatch.setattr(LogFileReader, "read", hang)
    async with Running(tmp_path, FakeLineStore()).run() as running:
        assert await asyncio.to_thread(begun.wait, 20)
        assert running.service.health().ok
        running.clock.advance(100)
        assert "hangs" in running.service.health().message
        assert not running.service.health().ok
        released.set()
        assert await running.has(1) == ["one"]


def test_health_names_a_pattern_without_files(tmp_path):
    service = Running(tmp_path, FakeLineStore()).service
    assert service.health().ok
    assert service.health().message == f"no log file matches {tmp_path}/*.log"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "path: is missing"),
        ({"path": "/app/logs/"}, "path: it names no files: write it like /app/logs/*.log"),
        ({"path": "a", "format": "winson"}, "format: unknown log format 'winson': did you mean winston?"),
        ({"path": "a", "timezone": "Tokyo"}, "timezone: unknown time zone 'Tokyo': write it like UTC or Asia/Tokyo"),
        ({"path": "a", "read_from": "middle"}, "read_from: must be 'beginning' or 'end'"),
        ({"path": "a", "pattern": "b"}, "pattern: unknown setting"),
    ],
)
def test_mistakes_in_settings_are_named(settings, error):
    with pytest.raises(ValidationError) as raised:
        LogFiles.model_validate(settings)
    assert [f"{details['loc'][0]}: {readable_error(details)}" for details in raised.value.errors()] == [error]


def test_a_pattern_is_given_once():
    """
    The position of a file belongs to one pattern.
    """
    with pytest.raises(ValidationError, match="duplicate path /a: give each pattern once"):
        LogSettings.model_validate({"files": [{"path": "/a"}, {"path": "/b"}, {"path": "/a", "format": "plain"}]})


def test_the_preflight_check_tells_missing_from_unreadable(tmp_path):
    """
    No file is a warning, one that can't be read is an error.
    """
    (tmp_path / "a.log").write_text("one\n")
    (tmp_path / "loop.err").symlink_to("loop.err")
    patterns = [LogFiles(path=str(tmp_path / name)) for name in ("*.log", "*.txt", "*.err")]
    good, missing, bad = check_files(patterns)
    assert (good.readable, good.errors, good.message) == (1, [], "1 file readable")
    assert (missing.readable, missing.errors) == (0, [])
    assert missing.message.startswith("no file matches")
    assert (bad.readable, len(bad.errors)) == (0, 1)
    assert "loop.err: Too many levels of symbolic links" in bad.message
