"""Who may ask."""

import hmac
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from toban.web.settings import WebSettings, is_loopback, split

OPEN: Final = frozenset({"/health", "/health/readiness", "/health/liveness", "/-/healthy", "/-/ready"})
"""What answers without a token, in short."""


class Access:
    """
    Lets in who comes over the socket or shows the token; where toban listens on loopback, everybody.

    What is open to all answers the others too, but says less to them (`is_trusted`).
    """

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self.app = app
        self._token = settings.token.get_secret_value().encode() if settings.token else b""
        self._everybody = is_loopback(split(settings.listen)[0])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trusted = self._everybody or scope.get("client") is None or self._shows_token(HTTPConnection(scope))
        scope.setdefault("state", {})["trusted"] = trusted
        if trusted or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "Show the token of toban's web.token as `Authorization: Bearer ...`.\n",
            401,
            {"www-authenticate": 'Bearer realm="toban"'},
        )
        await refusal(scope, receive, send)

    def _shows_token(self, connection: HTTPConnection) -> bool:
        scheme, _, shown = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and bool(self._token) and hmac.compare_digest(shown.encode(), self._token)


def is_trusted(connection: HTTPConnection) -> bool:
    """Tell whether who asks may see details."""
    return bool(connection.scope.get("state", {}).get("trusted"))
