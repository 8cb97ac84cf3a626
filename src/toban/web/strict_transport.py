"""Browsers that came by https once come by nothing else: RFC 6797."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toban.web.auth import parse_authority

STRICT: Final = "max-age=31536000"
"""For a year, and for this name alone: what else its domain serves is not toban's."""


class StrictTransport:
    """
    Says `Strict-Transport-Security` to whoever asks under toban's public name, where that is reached by https.

    toban itself speaks no TLS: what stands before it does. Over plain http browsers ignore the header, and other names
    and addresses, loopback among them, go without.
    """

    def __init__(self, app: ASGIApp, address: str) -> None:
        """``address`` is where people reach toban: `notify.address`."""
        parts = urlsplit(address)
        self._app = app
        self._name = (parts.hostname or "") if parts.scheme == "https" else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["strict-transport-security"] = STRICT
            await send(message)

        name, _ = parse_authority(Headers(scope=scope).get("host", ""))
        await self._app(scope, receive, strict if self._name and name == self._name else send)
