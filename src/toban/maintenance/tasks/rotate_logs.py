"""Compress log files that are a week old, and delete those that are a month old."""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Annotated, ClassVar, Final, Literal, TypeVar

from pydantic import AfterValidator

from toban.core.config_types import Duration, FilePattern
from toban.core.errors import ActionError
from toban.core.number_format import format_bytes
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance import log_rotation
from toban.maintenance.log_rotation import LogFile
from toban.maintenance.task import Finding, Mode, Severity, Step, StepContext, StepResult, Task, TaskPlan, TaskTools
from toban.shop.settings import ShopSettings

T = TypeVar("T")

BYTES: Final = gauge("toban_rotate_logs_bytes", "Size of all files of the patterns.", "bytes", labels=("task",))
DUE: Final = gauge("toban_rotate_logs_due", "Log files that are to be compressed or deleted.", labels=("task",))

NO_FILES: Final = "`files` of this task is not set: name the log files to rotate, like [/app/logs/*.log]"
TELL_SECONDS: Final = 2.0
NAMED: Final = 10


def _absolute(pattern: str) -> str:
    if not pattern.startswith("/") or pattern.endswith("/"):
        raise ValueError("it names no files: write it like /app/logs/*.log")
    return pattern


class RotateLogs(Task):
    """
    Compress log files that nobody has written to for a week, and delete them after a month.

    Files of its own patterns only. One that a process has open for writing, that toban has not read to its end, or that
    a symbolic link leads to is left alone. A crash at any moment leaves one complete copy.
    """

    kind: Literal["rotate_logs"] = "rotate_logs"
    target: ClassVar[str] = "log files"
    metrics: ClassVar[Sequence[MetricFamily]] = (BYTES, DUE)

    cron: Schedule = "40 3 * * *"

    mode: Mode = Mode.DRY

    files: tuple[Annotated[FilePattern, AfterValidator(_absolute)], ...] = ()
    """Patterns of the log files, like `/app/logs/*.log`; `**` stands for folders of any depth."""

    compress_after: Duration = timedelta(days=7)
    """How long nobody has written to a file that is compressed."""

    delete_after: Duration = timedelta(days=30)
    """How long nobody has written to a compressed file that is deleted."""

    def not_configured(self, settings: ShopSettings) -> str:
        """It needs to be told which files."""
        return "" if self.files else NO_FILES

    async def missing(self, tools: TaskTools) -> str:
        """Return which folders it can't change. Raises ``ActionError``."""

        def look() -> list[str]:
            folders = {
                str(Path(it.path).parent) for pattern in self.files for it in log_rotation.find(pattern, _ignore)
            }
            return [it for it in sorted(folders) if not os.access(it, os.W_OK | os.X_OK)]

        closed = await asyncio.to_thread(look)
        return f"toban may not write to {', '.join(closed[:NAMED])}" if closed else ""

    async def clean(self, tools: TaskTools) -> str:
        """Delete copies that an interrupted run has not finished: their originals are there."""

        def remove() -> int:
            found = [path for pattern in self.files for path in log_rotation.unfinished(pattern)]
            for path in found:
                Path(path).unlink(missing_ok=True)
            return len(found)

        removed = await _in_thread(remove)
        return f"deleted {removed} unfinished copies" if removed else ""

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Choose the files. Raises ``ActionError``."""
        unread_of = await tools.unread_logs() if tools.unread_logs else (lambda _: 0)
        now = tools.clock.now().timestamp()
        errors: dict[str, str] = {}

        def look() -> list[tuple[LogFile, int]]:
            def note(path: str, error: OSError) -> None:
                errors[path] = error.strerror or str(error)

            found = {it.path: it for pattern in self.files for it in log_rotation.find(pattern, note)}
            return [(it, unread_of(it.found)) for it in sorted(found.values(), key=lambda it: it.found.st_mtime)]

        found = await asyncio.to_thread(look)
        steps, waiting = list[Step](), list[str]()
        for file, unread in found:
            age = timedelta(seconds=max(0, now - file.found.st_mtime))
            limit = self.delete_after if file.is_compressed else self.compress_after
            if age <= limit:
                continue
            if unread:
                waiting.append(file.path)
                continue
            act = "delete" if file.is_compressed else "compress"
            text = f"{act} {file.path} ({format_bytes(file.found.st_size)}): nobody wrote to it for {age.days} days"
            steps.append(Step(file.path, text, {"act": act, "found": file.found}))
        findings = []
        if waiting:
            text = f"toban has not read them to their end: {', '.join(waiting[:NAMED])}"
            findings.append(Finding("unread", text, Severity.WARNING, "they wait until their lines are stored"))
        if errors:
            text = "; ".join(f"{path}: {error}" for path, error in list(errors.items())[:NAMED])
            findings.append(Finding("unreadable", text, Severity.WARNING, "let toban's user read these folders"))
        size = float(sum(file.found.st_size for file, _ in found))
        figures = {BYTES.name: size, DUE.name: float(len(steps))}
        return TaskPlan(steps, findings, f"{len(steps)} of {len(found)} files are old ({format_bytes(size)})", figures)

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Compress or delete one file. Raises ``ActionError``, ``StepSkippedError``."""
        file = LogFile(step.name, step.facts["found"])
        if tools.unread_logs and (unread := (await tools.unread_logs())(file.found)):
            raise ActionError(f"toban has {unread:,} bytes of it to read")
        if step.facts["act"] == "delete":
            await _in_thread(lambda: log_rotation.delete(file))
            return StepResult(f"deleted, {format_bytes(file.found.st_size)}")
        loop, ended, told = asyncio.get_running_loop(), Event(), tools.clock.monotonic()

        def goes_on(read: int) -> bool:
            nonlocal told
            if tools.clock.monotonic() - told > TELL_SECONDS:
                told = tools.clock.monotonic()
                text = f"{format_bytes(read)} of {format_bytes(file.found.st_size)}"
                loop.call_soon_threadsafe(context.tell, text)
            return not ended.is_set()

        try:
            size = await _in_thread(lambda: log_rotation.compress(file, goes_on))
        except asyncio.CancelledError:
            ended.set()
            raise
        return StepResult(f"compressed: {format_bytes(file.found.st_size)} before, {format_bytes(size)} after")


def _ignore(_path: str, _error: OSError) -> None:
    """Folders that can't be listed are findings of the plan."""


async def _in_thread(work: Callable[[], T]) -> T:
    """Do something in a thread. Raises ``ActionError`` where the disk fails."""
    try:
        return await asyncio.to_thread(work)
    except (OSError, EOFError) as error:
        raise ActionError(f"{error.strerror or error}" if isinstance(error, OSError) else str(error)) from error
