"""Tells open pages what has changed, by server-sent events: a page then asks for itself again."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from secrets import token_hex
from typing import Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from toban.access.permissions import Permission
from toban.core.ports import Clock
from toban.web.endpoint import Endpoint, is_navigation, is_still_permitted

INTERVAL: Final = 1.0
"""Seconds between two looks at what is shown."""

KEEP_ALIVE: Final = 15.0
"""Seconds after which a comment is sent, so that no proxy ends the connection."""

MAX_STREAMS: Final = 100
"""Streams that may be open at once."""

LOGS: Final = "logs"
"""The topic of log lines, and the event that says that there are new ones."""

LIVE_STATE: Final = "live_state"
"""Where the state of a request holds what its page shows."""

HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class LiveUpdates:
    """
    Streams the names of what has changed.

    ``versions`` returns, by topic (``alerts``, ``targets``), a value that differs whenever what is shown differs; it
    is asked once in an interval, however many pages are open, and never while none is. A stream starts from the state
    that its page shows: what changed between the request for the page and that for the stream is sent at once.
    """

    def __init__(self, versions: Callable[[], Mapping[str, object]], clock: Clock) -> None:
        self._versions = versions
        self._clock = clock
        self._latest: tuple[float, Mapping[str, object]] | None = None
        self._start, self._changes = token_hex(4), 0
        self._streams = 0
        self._ended = False

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/live", self.stream, Permission.READ)]

    def end(self) -> None:
        """End all streams, for other services take the place of these; browsers connect again."""
        self._ended = True

    async def stream(self, request: Request) -> Response:
        """Return the stream of changes."""
        if self._streams >= MAX_STREAMS:
            return PlainTextResponse(f"{MAX_STREAMS} streams are open\n", 503, {"retry-after": "30"})
        return StreamingResponse(self._events(request), media_type="text/event-stream", headers=HEADERS)

    async def _events(self, request: Request) -> AsyncIterator[str]:
        self._streams += 1
        try:
            is_current = request.query_params.get("since") in {None, self.state()}
            seen, sent = self._current(), self._clock.monotonic()
            yield "retry: 2000\n\n"
            if not is_current:
                yield _changed(seen)
            while not self._ended:
                await self._clock.sleep(INTERVAL)
                if not is_still_permitted(request, Permission.READ):
                    return
                current, now = self._current(), self._clock.monotonic()
                changed = [topic for topic, version in current.items() if version != seen.get(topic)]
                seen = current
                if changed:
                    yield _changed(changed)
                elif now - sent >= KEEP_ALIVE:
                    yield ":\n\n"
                else:
                    continue
                sent = now
        finally:
            self._streams -= 1

    def state(self) -> str:
        """Return the name of what is shown now; a page that was rendered under another one may be out of date."""
        self._current()
        return f"{self._start}-{self._changes}"

    def _current(self) -> Mapping[str, object]:
        now = self._clock.monotonic()
        if self._latest is None or now - self._latest[0] >= INTERVAL / 2:
            versions = self._versions()
            if self._latest is None or versions != self._latest[1]:
                self._changes += 1
            self._latest = now, versions
        return self._latest[1]


class PageState:
    """Notes, at the begin of each request for a page, the state that the page will show, or one before it."""

    def __init__(self, app: ASGIApp, live: LiveUpdates) -> None:
        self._app = app
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and is_navigation(HTTPConnection(scope)):
            scope["state"][LIVE_STATE] = self._live.state()
        await self._app(scope, receive, send)


def live_state(request: Request) -> str:
    """Return the state that a page shows, or one before it."""
    state: str = request.scope["state"].get(LIVE_STATE, "")
    return state


def _changed(topics: Iterable[str]) -> str:
    """Return the events of topics: log lines have one of their own, for they change all the time."""
    by_event: dict[str, list[str]] = {}
    for topic in topics:
        by_event.setdefault(LOGS if topic == LOGS else "changed", []).append(topic)
    return "".join(f"event: {event}\ndata: {' '.join(them)}\n\n" for event, them in by_event.items())
