"""HTTP Strict Transport Security: RFC 6797."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toban.web.auth import parse_authority

STRICT: Final = "max-age=31536000"
"""For a year, and without subdomains: those do not belong to toban."""


class StrictTransport:
    """
    Sends `Strict-Transport-Security` in responses under toban's public name, where that is reached by https.

    A reverse proxy terminates TLS. Over plain http browsers ignore the header. Responses under other names and
    addresses, loopback among them, do not have it.
    """

    def __init__(self, app: ASGIApp, address: str) -> None:
        """``address`` is the public address of toban: `notify.address`."""
        parts = urlsplit(address)
        self._app = app
        self._name = (parts.hostname or "") if parts.scheme == "https" else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["strict-transport-security"] = STRICT
            await send(message)

        name, _ = parse_authority(Headers(scope=scope).get("host", ""))
        await self._app(scope, receive, strict if self._name and name == self._name else send)
