"""Reads a calendar that is a layer of the schedule, and goes on with the last good copy while that fails."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import httpx2
import structlog

from toban.core.errors import ResponseTooLargeError
from toban.core.failure_log import FailureLog
from toban.core.http_client import error_reason, follow_redirects, read_body, request_timeout
from toban.oncall.calendar_source import MAX_BYTES, CalendarCopy, CalendarError, CalendarShifts, read_calendar
from toban.oncall.rotation import Shift
from toban.oncall.schedule_settings import Layer
from toban.oncall.settings import Person

log = structlog.get_logger("toban.oncall")

TIMEOUT: Final = 20.0
"""Seconds that a calendar may take."""
BACK: Final = timedelta(days=40)
AHEAD: Final = timedelta(days=200)
"""How far the shifts of a calendar are read."""
EXPANSION: Final = timedelta(days=1)
"""How often they are computed again from the same copy, as time passes."""
LATE: Final = timedelta(hours=1)
"""After so long without a good copy people are told."""
STALE: Final = timedelta(days=3)
"""After so long the copy does not count any more, if there is a layer below that does."""


class CalendarReader:
    """One calendar: its last good copy, the shifts of that, and what keeps it from being read."""

    def __init__(
        self, name: str, layer: Layer, people: Mapping[str, Person], zone: ZoneInfo, *, has_layer_below: bool
    ) -> None:
        self.name = name
        self._url = layer.calendar.get_secret_value() if layer.calendar else ""
        self._interval = layer.interval
        self._people = people
        self._zone = zone
        self._has_layer_below = has_layer_below
        self._found = CalendarShifts()
        self._expanded: datetime | None = None
        self._due: datetime | None = None
        self._failure = FailureLog(log, "calendar not read", "calendar read again", layer=name)
        self.copy: CalendarCopy | None = None

    @property
    def key(self) -> str:
        """The key of its copy; it says nothing of the address, which is a secret."""
        return hashlib.sha256(self._url.encode()).hexdigest()

    @property
    def error(self) -> str:
        """Why it was not read the last time; empty if it was."""
        return self._failure.error

    @property
    def warnings(self) -> Sequence[str]:
        """What in it is not understood."""
        return self._found.warnings

    def is_stale(self, now: datetime) -> bool:
        """Tell whether its copy is so old that the layer below counts in its place."""
        return self.copy is not None and self._has_layer_below and now - self.copy.read > STALE

    def shifts(self, now: datetime) -> tuple[Shift, ...]:
        """Return its shifts; none when its copy is too old."""
        return () if self.is_stale(now) else self._found.shifts

    def problem(self, now: datetime) -> str:
        """Return why its shifts can't be relied on; empty if they can."""
        if not self.error:
            return ""
        if self.copy is None:
            return f"calendar {self.name!r} was never read: {self.error}"
        age = now - self.copy.read
        if age < LATE:
            return ""
        instead = "the layers below count" if self.is_stale(now) else "its last copy counts"
        return f"calendar {self.name!r} was last read {self.copy.read:%Y-%m-%d %H:%M} UTC, {instead}: {self.error}"

    async def restore(self, copy: CalendarCopy, now: datetime) -> None:
        """Go on with a copy that was stored."""
        if self.copy is None or copy.read > self.copy.read:
            is_new = self.copy is None or self.copy.content != copy.content
            self.copy = copy
            if is_new:
                await self._expand(copy.content, now)

    async def read(self, http: httpx2.AsyncClient, now: datetime) -> bool:
        """Read it if that is due; return whether there is a copy to store."""
        if self._due is not None and now < self._due:
            if self.copy and self._expanded and now - self._expanded > EXPANSION:
                await self._expand(self.copy.content, now)
            return False
        self._due = now + self._interval
        try:
            content, etag = await fetch_calendar(http, self._url, self.copy.etag if self.copy else "")
            if self.copy and content in {None, self.copy.content}:
                self.copy = replace(self.copy, read=now, etag=etag or self.copy.etag)
            elif content is not None:
                self._found = await asyncio.to_thread(self._parse, content, now)
                self._expanded = now
                self.copy = CalendarCopy(self.key, now, etag, content)
        except CalendarError as error:
            self._failure.failed(str(error))
            return False
        self._failure.succeeded()
        return self.copy is not None

    async def _expand(self, content: str, now: datetime) -> None:
        self._expanded = now
        try:
            self._found = await asyncio.to_thread(self._parse, content, now)
        except CalendarError as error:
            self._failure.failed(str(error))

    def _parse(self, content: str, now: datetime) -> CalendarShifts:
        return read_calendar(content, self._people, self._zone, now - BACK, now + AHEAD)


async def fetch_calendar(http: httpx2.AsyncClient, url: str, etag: str = "") -> tuple[str | None, str]:
    """
    Return the content of a calendar, nothing if it is as ``etag`` says, and its new etag.

    Raises ``CalendarError``; the address is not part of the message: whoever has it can read the calendar.
    """
    headers = {"accept": "text/calendar, */*;q=0.5", **({"if-none-match": etag} if etag else {})}
    try:
        async with (
            request_timeout(TIMEOUT) as progress,
            follow_redirects(
                http, "GET", url, headers=headers, timeout=progress.timeout, extensions={"trace": progress.trace}
            ) as response,
        ):
            if response.status_code == httpx2.codes.NOT_MODIFIED and etag:
                return None, etag
            if response.status_code != httpx2.codes.OK:
                raise CalendarError(f"its server responds with HTTP {response.status_code}")
            body = await read_body(response, MAX_BYTES)
            return body.decode("utf-8", "replace"), response.headers.get("etag", "")[:1000]
    except ResponseTooLargeError as error:
        raise CalendarError("it has more than 1 MiB") from error
    except (httpx2.HTTPError, OSError) as error:
        raise CalendarError(error_reason(error)) from error
