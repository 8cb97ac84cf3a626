"""The service that reads log files."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol, TypeVar

import structlog

from toban.core.errors import StoreError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import raise_if_cancelled
from toban.core.ports import Clock, HealthStatus, LineSink
from toban.core.samples import counter, gauge
from toban.core.worker_thread import WorkerThread
from toban.logs.settings import LogFiles
from toban.logs.tail.found_files import SkippedFiles, SkipReason
from toban.logs.tail.position import PREFIX
from toban.logs.tail.reader import Batch, LogFileReader

T = TypeVar("T")

log = structlog.get_logger("toban.logs")

LINES: Final = counter(
    "toban_log_tail_lines_total", "Lines that were read from log files, by format.", labels=("format",)
)
CUT: Final = counter("toban_log_tail_cut_lines_total", "Lines longer than 1 MiB, of which only the beginning was read.")
REPLACED: Final = counter(
    "toban_log_tail_replaced_lines_total", "Lines that are not valid UTF-8, of which bytes were replaced."
)
REPEATED: Final = counter(
    "toban_log_tail_repeated_lines_total",
    "Lines that may be stored twice, because it was not sure how far their file was read.",
)
FILES: Final = gauge("toban_log_tail_files", "Log files that are read.")
LAG: Final = gauge("toban_log_tail_lag_bytes", "Bytes of log files that are not read yet.", "bytes")
SKIPPED: Final = gauge(
    "toban_log_tail_skipped_files", "Files that match a pattern and are not read, by reason.", labels=("reason",)
)

COUNTS: Final = {"cut": CUT, "replaced": REPLACED, "repeated": REPEATED}

POLL_INTERVAL: Final = 1.0
"""Seconds between two looks at files that nothing was written to."""

MAX_RETRY: Final = 30.0
"""Seconds between two attempts to store lines, at most."""

HANGS_AFTER: Final = 60.0
"""Seconds after which reading one batch counts as hanging."""

SHOWN: Final = 20
"""Skipped files that are logged or shown at a time."""


class LineCursors(Protocol):
    """The cursors that are stored with lines. Both methods raise ``StoreError``."""

    async def cursors(self, prefix: str) -> Mapping[str, str]:
        """Return all cursors whose names begin with a prefix."""
        ...

    async def forget_cursors(self, names: Sequence[str]) -> None:
        """Delete cursors."""
        ...


class FileTail:
    """
    Reads log files as they grow, and stores their lines together with the positions in the files.

    So no line is lost or stored twice when the process is killed. While lines can't be stored, none are read.
    """

    name = "log files"

    def __init__(
        self,
        settings: Sequence[LogFiles],
        instance: str,
        lines: LineSink,
        cursors: LineCursors,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._lines = lines
        self._cursors = cursors
        self._clock = clock
        self._meters = meters
        self._failure = FailureLog(log, "log files not read", "log files read again")
        self._skipped = SkippedFiles()
        self._files, self._lag = 0, 0
        self._reading_since: float | None = None
        for family in COUNTS.values():
            meters.add(family, 0)

    async def run(self) -> None:
        """Read lines until cancelled."""
        found = await self._retried(lambda: self._cursors.cursors(PREFIX))
        thread = WorkerThread("log files", StoreError)
        reader = LogFileReader(self._settings, self._instance, found)
        try:
            while True:
                raise_if_cancelled()
                self._reading_since = self._clock.monotonic()
                batch = await self._retried(
                    lambda: thread.run(lambda: reader.read(self._clock.monotonic(), self._clock.now()))
                )
                self._reading_since = None
                self._report(reader)
                await self._store(batch)
                if not batch.has_more:
                    await self._clock.sleep(POLL_INTERVAL)
        finally:
            reader.close()

    def health(self) -> HealthStatus:
        """Return whether all files can be read and their lines be stored."""
        if self._failure.error:
            return HealthStatus(False, self._failure.error)
        if self._reading_since is not None and self._clock.monotonic() - self._reading_since > HANGS_AFTER:
            return HealthStatus(False, "reading log files hangs: does their disk answer?")
        if errors := self._skipped.errors:
            some = ", ".join(f"{path}: {error}" for path, error in islice(errors.items(), SHOWN))
            return HealthStatus(False, f"{len(errors)} log files can't be read: {some}")
        if not self._files:
            return HealthStatus(True, f"no log file matches {', '.join(one.path for one in self._settings)}")
        return HealthStatus(True, f"{self._files} log files are read, {self._lag} bytes are not read yet")

    async def _store(self, batch: Batch) -> None:
        """Store a batch, however long that takes; its lines are counted once they are stored."""
        if batch.lines or batch.cursors:
            await self._retried(lambda: self._lines.append(batch.lines, batch.sources, batch.cursors))
        if batch.forgotten:
            await self._retried(lambda: self._cursors.forget_cursors(batch.forgotten))
        for name, amount in batch.counts.items():
            self._meters.add(COUNTS[name], amount)
        for format_name, amount in batch.formats.items():
            self._meters.add(LINES, amount, format=format_name)

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a call, which is repeated until the store can be read and written."""
        wait = POLL_INTERVAL
        while True:
            try:
                result = await call()
            except StoreError as error:
                self._failure.failed(str(error))
                await self._clock.sleep(wait)
                wait = min(2 * wait, MAX_RETRY)
                raise_if_cancelled()
            else:
                self._failure.succeeded()
                return result

    def _report(self, reader: LogFileReader) -> None:
        """Keep what `health` and the metrics say, and log what is skipped since."""
        self._files, self._lag = reader.files, reader.lag
        self._meters.set(FILES, self._files)
        self._meters.set(LAG, self._lag)
        if reader.skipped == self._skipped:
            return
        before = self._skipped
        # A copy: the thread goes on with its own.
        skipped = SkippedFiles(dict(reader.skipped.reasons), dict(reader.skipped.errors))
        self._skipped = skipped
        new = (path for path, reason in skipped.reasons.items() if before.reasons.get(path) is not reason)
        for path in islice(new, SHOWN):
            reason = skipped.reasons[path]
            show = log.info if reason in {SkipReason.OLD, SkipReason.COPY} else log.warning
            show("log file skipped", path=path, reason=reason.value, error=skipped.errors.get(path, ""))
        for reason in SkipReason:
            amount = sum(one is reason for one in skipped.reasons.values())
            self._meters.set(SKIPPED, amount, reason=reason.value)
