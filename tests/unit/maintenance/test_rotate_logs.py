"""Log files are compressed and deleted: only those meant, unread by nobody, and one copy is whole at any moment."""

import asyncio
import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Event

import pytest
from pydantic import ValidationError

from tests.fakes import FakeClock
from tests.maintenance_tools import act, names, perform, tools_for
from toban.core.errors import ActionError
from toban.logs.settings import LogFiles
from toban.logs.tail.position import Position
from toban.logs.tail.read_progress import ReadProgress
from toban.maintenance import log_rotation
from toban.maintenance.log_rotation import LogFile
from toban.maintenance.run import StepOutcome
from toban.maintenance.task import StepContext, StepSkippedError, TaskTools
from toban.maintenance.tasks.rotate_logs import BYTES, DUE, RotateLogs
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

NOW = datetime(2026, 3, 10, 3, 40, tzinfo=UTC)
TEXT = b"2026-03-01 info an order was placed\n" * 5_000


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> TaskTools:
    return tools_for(ShopConnections(), tmp_path, FakeClock(NOW))


def put(path: Path, days: float, content: bytes = TEXT, mode: int = 0o640) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    at = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (at, at))
    return path


def task(logs: Path, pattern: str = "*.log") -> RotateLogs:
    return RotateLogs(files=(f"{logs}/{pattern}",))


def contents(folder: Path) -> set[str]:
    return {str(it.relative_to(folder)) for it in folder.rglob("*") if not it.is_dir()}


def found(path: Path) -> LogFile:
    return LogFile(str(path), path.lstat())


async def test_files_are_compressed_after_a_week_and_deleted_after_a_month(logs: Path, tools: TaskTools):
    put(logs / "new.log", 1)
    put(logs / "old.log", 8)
    put(logs / "older.log.gz", 29, gzip.compress(b"a"))
    put(logs / "oldest.log.gz", 31, gzip.compress(b"b"))
    put(logs / "other.txt", 100)
    before = (logs / "old.log").stat()
    plan, done = await perform(task(logs), tools)
    assert [it.description.partition(" (")[0] for it in plan.steps] == [
        f"delete {logs}/oldest.log.gz",
        f"compress {logs}/old.log",
    ]
    assert plan.figures[DUE.name] == 2
    assert plan.figures[BYTES.name] > 2 * len(TEXT)
    assert {outcome for outcome, _ in done.values()} == {StepOutcome.DONE}
    assert contents(logs) == {"new.log", "old.log.gz", "older.log.gz", "other.txt"}
    after = (logs / "old.log.gz").stat()
    assert gzip.decompress((logs / "old.log.gz").read_bytes()) == TEXT
    assert (after.st_mtime_ns, after.st_mode, after.st_uid, after.st_gid) == (
        *(before.st_mtime_ns, before.st_mode, before.st_uid, before.st_gid),
    )
    assert (await task(logs).plan(tools)).steps == []


async def test_a_dry_plan_changes_nothing(logs: Path, tools: TaskTools):
    put(logs / "old.log", 8)
    assert len((await task(logs).plan(tools)).steps) == 1
    assert contents(logs) == {"old.log"}


async def test_symbolic_and_hard_links_are_not_followed(logs: Path, tools: TaskTools, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    put(outside / "secret.log", 50)
    (logs / "link.log").symlink_to(outside / "secret.log")
    (logs / "folder").symlink_to(outside)
    (logs / "real").mkdir()
    put(logs / "real" / "a.log", 8)
    put(logs / "two.log", 8)
    os.link(logs / "two.log", tmp_path / "second-name")
    both = RotateLogs(files=(f"{logs}/*.log", f"{logs}/*/*.log"))
    plan, done = await perform(both, tools)
    assert sorted(names(plan.steps)) == [f"{logs}/real/a.log", f"{logs}/two.log"]
    assert done[f"{logs}/two.log"] == (StepOutcome.SKIPPED, "it has 2 names (hard links)")
    assert (outside / "secret.log").exists()
    assert (logs / "real" / "a.log.gz").exists()


async def test_a_file_that_a_process_has_open_for_writing_is_left_alone(logs: Path, tools: TaskTools):
    path = put(logs / "quiet.log", 8)
    writer = "import sys; f = open(sys.argv[1], 'a'); print(1, flush=True); sys.stdin.read()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", writer, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    await process.stdout.readline()
    _, done = await perform(task(logs), tools)
    assert done[str(path)] == (StepOutcome.SKIPPED, "a process has it open for writing")
    await process.communicate(b"")
    _, done = await perform(task(logs), tools)
    assert done[str(path)][0] is StepOutcome.DONE


async def test_a_file_that_changed_since_the_plan_is_left_alone(logs: Path, tools: TaskTools):
    path = put(logs / "old.log", 8)
    plan = await task(logs).plan(tools)
    path.write_bytes(TEXT + b"one more\n")
    assert await act(task(logs), plan, tools) == {
        str(path): (StepOutcome.SKIPPED, "it has changed since it was looked at")
    }
    path.unlink()
    assert (await act(task(logs), plan, tools))[str(path)] == (StepOutcome.SKIPPED, "it is gone")


def test_a_file_that_is_written_while_it_is_compressed_stays(logs: Path):
    path = put(logs / "old.log", 8, b"x" * 3 * log_rotation.CHUNK)

    def write(read: int) -> bool:
        if read:
            with path.open("ab") as file:
                file.write(b"late\n")
        return True

    with pytest.raises(StepSkippedError, match="its copy is not the same"):
        log_rotation.compress(found(path), write)
    assert contents(logs) == {"old.log"}


class KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "fsync-folder", "unlink"])
def test_a_crash_at_any_moment_leaves_a_whole_copy_and_the_next_run_ends_it(
    logs: Path, call: str, monkeypatch: pytest.MonkeyPatch
):
    """What a killed process has no time for: nothing is tidied up after the call that it dies in."""
    path, log_file = logs / "old.log", found(put(logs / "old.log", 8))
    undone: list[str] = []
    calls = 0

    def die(*_arguments: object, **_options: object) -> None:
        nonlocal calls
        calls += 1
        if call != "fsync-folder" or calls == 2:
            undone.append(call)
            raise KilledError

    target = {"write": (os, "fchmod"), "fsync-folder": (os, "fsync")}.get(call, (os, call))
    real_unlink = os.unlink
    with monkeypatch.context() as patch:
        patch.setattr(*target, die)
        # After its death, its own tidying does not run either.
        patch.setattr(
            os, "unlink", die if call == "unlink" else lambda *a, **o: None if undone else real_unlink(*a, **o)
        )
        with pytest.raises(KilledError):
            log_rotation.compress(log_file, lambda _: True)
    whole = [path] if path.exists() else []
    packed = logs / "old.log.gz"
    whole += [packed] if packed.exists() and gzip.decompress(packed.read_bytes()) == TEXT else []
    assert whole
    for left in log_rotation.unfinished(f"{logs}/*.log"):
        Path(left).unlink()
    if path.exists():
        log_rotation.compress(found(path), lambda _: True)
    assert contents(logs) == {"old.log.gz"}
    assert gzip.decompress(packed.read_bytes()) == TEXT


async def test_a_run_that_is_cancelled_leaves_the_file_and_no_half_of_a_copy(logs: Path, tools: TaskTools):
    content = os.urandom(4 * log_rotation.CHUNK)
    path = put(logs / "old.log", 8, content)
    rotate, finished, looks = task(logs), Event(), count()
    plan = await rotate.plan(tools)
    loop, clock = asyncio.get_running_loop(), tools.clock

    def later() -> float:
        """Return a time that is minutes later at each look; after the first chunk, wait until the step is cancelled."""
        if (look := next(looks)) > 2:
            assert finished.wait(30)
        return 60.0 * look

    clock.monotonic = later  # type: ignore[method-assign]  # of this test only
    acting = loop.create_task(rotate.act(plan.steps[0], StepContext(1, lambda _: acting.cancel()), tools))
    acting.add_done_callback(lambda _: finished.set())
    await asyncio.wait([acting])
    assert acting.cancelled()
    await loop.shutdown_default_executor()  # the thread ends at its next chunk
    assert contents(logs) == {"old.log"}
    assert path.read_bytes() == content


async def test_an_unfinished_copy_of_a_killed_run_is_deleted(logs: Path, tools: TaskTools):
    put(logs / "old.log", 8)
    put(logs / ".old.log.toban-gz", 0, b"half")
    put(logs / ".other.txt.toban-gz", 0, b"not ours")
    assert await task(logs).clean(tools) == "deleted 1 unfinished copies"
    assert contents(logs) == {"old.log", ".other.txt.toban-gz"}


async def test_a_compressed_file_with_another_content_is_not_overwritten(logs: Path, tools: TaskTools):
    path = put(logs / "app.log", 8)
    put(logs / "app.log.gz", 9, gzip.compress(b"another day\n"))
    _, done = await perform(task(logs), tools)
    assert done[str(path)] == (StepOutcome.SKIPPED, "app.log.gz is there, with another content")
    put(logs / "app.log.gz", 9, gzip.compress(b"cut off\n")[:-4])
    _, done = await perform(task(logs), tools)
    assert "app.log.gz is there and can't be read" in done[str(path)][1]
    assert path.exists()


async def test_a_file_that_toban_has_not_read_to_its_end_waits(logs: Path, tools: TaskTools):
    read, behind, unknown = (put(logs / f"{name}.log", 8) for name in ("read", "behind", "unknown"))
    settings = LogFiles(path=f"{logs}/*.log", ignore_older=timedelta(days=30))
    cursors = {}
    for path, offset in ((read, len(TEXT)), (behind, 100)):
        it = path.stat()
        position = Position(it.st_dev, it.st_ino, str(path), settings.path, offset)
        cursors[position.cursor] = position.encoded(0)

    async def unread() -> Callable[[os.stat_result], int]:
        return ReadProgress([settings], cursors, NOW.timestamp()).unread

    given = tools_for(ShopConnections(), tools.data, tools.clock)
    given = type(given)(*(unread if name == "unread_logs" else getattr(given, name) for name in given.__slots__))
    plan = await task(logs).plan(given)
    assert names(plan.steps) == [str(read)]
    (finding,) = plan.findings
    assert str(behind) in finding.text
    assert str(unknown) in finding.text
    steps = await task(logs).plan(tools)
    late = next(it for it in steps.steps if it.name == str(behind))
    with pytest.raises(ActionError, match="toban has 179,900 bytes of it to read"):
        await task(logs).act(late, StepContext(1, lambda _: None), given)


def test_what_toban_never_reads_does_not_wait_for_it(logs: Path):
    old, other = put(logs / "old.log", 8), put(logs / "other.txt", 8)
    progress = ReadProgress([LogFiles(path=f"{logs}/*.log")], {}, NOW.timestamp())
    assert progress.unread(old.stat()) == 0  # older than `ignore_older` when it was seen first
    assert progress.unread(other.stat()) == 0
    it = old.stat()
    removed = Position(it.st_dev, it.st_ino, str(old), "/elsewhere/*.log", 1)
    assert ReadProgress([], {removed.cursor: removed.encoded(0)}, NOW.timestamp()).unread(it) == 0


async def test_a_folder_that_can_not_be_written_to_is_named(logs: Path, tools: TaskTools, monkeypatch):
    put(logs / "old.log", 8)
    assert await task(logs).missing(tools) == ""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert await task(logs).missing(tools) == f"toban may not write to {logs}"


def test_without_patterns_it_is_not_configured_and_a_relative_one_is_refused():
    assert "`files` of this task is not set" in RotateLogs().not_configured(ShopSettings())
    assert RotateLogs(files=("/app/logs/*.log",)).not_configured(ShopSettings()) == ""
    for pattern in ("logs/*.log", "/app/logs/"):
        with pytest.raises(ValidationError):
            RotateLogs(files=(pattern,))


def test_the_command_of_the_first_design_compresses_what_is_written_and_never_deletes_it(logs: Path):
    """`gzip` keeps the time, but a process goes on writing to the file that is gone: its lines are lost."""
    path = put(logs / "app.log", 8, b"one\n")
    with path.open("ab") as writer:
        os.utime(path, ((NOW - timedelta(days=8)).timestamp(),) * 2)
        subprocess.run(["find", str(logs), "-name", "*.log", "-mtime", "+7", "-exec", "gzip", "{}", ";"], check=True)
        writer.write(b"two\n")
    assert gzip.decompress((logs / "app.log.gz").read_bytes()) == b"one\n"
