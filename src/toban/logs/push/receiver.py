"""Receives pushed lines and stores them."""

import asyncio
from datetime import timedelta

from toban.core.log_line import LogLine
from toban.core.ports import Clock, LineSink
from toban.logs.push.json_lines import JsonLines, read_json_lines
from toban.logs.push.loki_request import MAX_AHEAD, AcceptedTimes, PushedLines, PushError, read_json


class LogPushReceiver:
    """
    Receives lines by Loki's push API and by toban's own; bodies are read in a worker thread, one at a time.

    All methods return when the lines are durable. They raise ``StoreError`` when nothing of a request was stored.
    """

    def __init__(self, sink: LineSink, retention: timedelta, clock: Clock) -> None:
        """``retention`` is how long lines are kept: older ones are rejected."""
        self.retention = retention
        self._sink = sink
        self._clock = clock
        self._reading = asyncio.Lock()

    async def loki_json(self, body: bytes) -> None:
        """Store the lines of a request in JSON. Raises ``PushError``, also when some lines were rejected."""
        async with self._reading:
            found = await asyncio.to_thread(read_json, body, self._times())
        await self._store(found)

    async def loki_protobuf(self, body: bytes, limit: int) -> None:
        """Store the lines of a request in protobuf, of at most ``limit`` bytes. Raises like ``loki_json``."""
        from toban.logs.push.loki_protobuf import read_protobuf

        async with self._reading:
            found = await asyncio.to_thread(read_protobuf, body, limit, self._times())
        await self._store(found)

    async def json_lines(self, body: bytes) -> JsonLines:
        """Store lines in JSON; return them with the errors of others. Raises ``JsonLinesError``."""
        async with self._reading:
            found = await asyncio.to_thread(read_json_lines, body, self._clock.now())
        await self._append(found.lines, "api")
        return found

    async def _store(self, found: PushedLines) -> None:
        await self._append(found.lines, "loki")
        if found.rejected:
            raise PushError(found.error())

    async def _append(self, lines: list[LogLine], source: str) -> None:
        if lines:
            await self._sink.append(lines, source)

    def _times(self) -> AcceptedTimes:
        now = self._clock.now()
        return AcceptedTimes(now - self.retention, now + MAX_AHEAD)
