"""What the store of log lines keeps, and for how long."""

import asyncio

from toban.core.ports import RetentionReport
from toban.logs.line_store import LineStore
from toban.logs.pipeline import LogPipeline
from toban.logs.settings import LogSettings


class LogRetention:
    """Applies the retention of log lines, and reports what is kept: a ``RetainedStore``."""

    name = "logs"

    def __init__(self, store: LineStore, pipeline: LogPipeline, settings: LogSettings) -> None:
        self._store = store
        self._pipeline = pipeline
        self._settings = settings

    async def apply_retention(self) -> None:
        """Remove what is too old or too much. Raises ``StoreError``."""
        await self._pipeline.apply_retention()

    async def retention_report(self) -> RetentionReport:
        """Return what is kept. Raises ``StoreError``."""
        found = await asyncio.to_thread(self._store.report)
        since = await asyncio.to_thread(self._store.kept_since)
        return RetentionReport(
            since if found.lines else None,
            found.newest,
            self._settings.retention,
            found.bytes,
            self._settings.retention_size,
            f"{found.lines:,} lines",
        )
