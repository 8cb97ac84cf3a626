"""The status page: what customers read, and where operators write it."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.ports import Clock
from toban.status_page.posts import PostStatus
from toban.web.api.status_page import PublishRequest, StatusPageApi, UpdateRequest
from toban.web.compression import accepts_gzip
from toban.web.endpoint import Endpoint
from toban.web.pages.forms import FormEndpoint, FormState
from toban.web.pages.preferences import Preferences
from toban.web.pages.rendering import page

CACHE_SECONDS: Final = 15.0
"""Seconds for which a rendered page is served again: an outage brings many readers."""

LONG_SECONDS: Final = 3_600
"""Seconds after which a day of a component is shown as one that was disturbed for long."""


class StatusPages:
    """Shows the status page to customers, and its editor to operators."""

    def __init__(self, api: StatusPageApi, clock: Clock, address: str) -> None:
        """``address`` is the URL at which people reach toban; empty where that is how they reach this page."""
        self._api = api
        self._clock = clock
        self._address = address.rstrip("/")
        self._cached: dict[tuple[object, ...], tuple[float, Response]] = {}

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/status", self.show, Permission.PUBLIC),
            Endpoint("/status.atom", self.feed, Permission.PUBLIC),
            Endpoint("/status-page", self.edit, Permission.READ),
            FormEndpoint(
                "/status-page/publish",
                self._api.publish,
                PublishRequest,
                lambda fields: {
                    "title": fields.get("title", ""),
                    "text": fields.get("text", ""),
                    "components": [name.removeprefix("affects-") for name in fields if name.startswith("affects-")],
                },
                lambda *_: "/status-page",
                self.edit,
            ),
            FormEndpoint(
                "/status-page/update",
                self._api.update,
                UpdateRequest,
                lambda fields: {name: fields.get(name, "") for name in ("id", "status", "text")},
                lambda *_: "/status-page",
                self.edit,
            ),
        ]

    async def show(self, request: Request) -> Response:
        """Show the page that customers read; there is none unless it is enabled."""
        return await self._published(request, "status.html", "text/html; charset=utf-8")

    async def feed(self, request: Request) -> Response:
        """Show the posts as an Atom feed (RFC 4287), an entry for each, which changes with each of its messages."""
        return await self._published(request, "status_feed.xml", "application/atom+xml; charset=utf-8")

    async def _published(self, request: Request, template: str, media_type: str) -> Response:
        preferences, now = Preferences.of(request), self._clock.monotonic()
        base = self._address or str(request.base_url).rstrip("/")
        key = template, base, preferences.language, preferences.timezone, accepts_gzip(request)
        if key in self._cached and now - self._cached[key][0] < CACHE_SECONDS:
            return self._cached[key][1]
        content = await self._api.content(preferences.zone)
        if not content.enabled:
            return page(request, "not_found.html", 404)
        checked = self._clock.now()
        updated = max((it.updates[-1].at for it in content.posts), default=checked)
        response = page(
            request, template, content=content, checked=checked, updated=updated, base=base, long_seconds=LONG_SECONDS
        )
        response.headers["content-type"] = media_type
        response.headers["cache-control"] = f"public, max-age={CACHE_SECONDS:.0f}"
        if len(self._cached) >= 100:  # of as many zones
            self._cached.clear()
        self._cached[key] = now, response
        return response

    async def edit(self, request: Request, form: FormState | None = None) -> Response:
        """Show the editor."""
        return page(
            request,
            "status_editor.html",
            form.status if form else 200,
            content=await self._api.content(Preferences.of(request).zone),
            statuses=[it.value for it in PostStatus],
            form=form or FormState(),
        )
