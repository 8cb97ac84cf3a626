"""Authentication, and protection from other origins: what comes before every route."""

from collections.abc import Iterable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toban.access.permissions import EVERYTHING
from toban.access.principal import Principal
from toban.access.service import AccessService
from toban.core.actor import Actor
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter
from toban.web.credentials import Credentials, parse_ip
from toban.web.endpoint import SAFE
from toban.web.http_protocol import PEER_USER
from toban.web.request_bodies import BodyBuffer
from toban.web.settings import WebSettings, split

REJECTED: Final = counter(
    "toban_http_requests_rejected_total", "HTTP requests that were rejected, by reason.", labels=("reason",)
)

REASONS: Final = {
    401: "token",
    403: "permission",
    408: "too_slow",
    413: "body_too_large",
    415: "media_type",
    421: "host",
}
"""Which statuses are counted as rejected, and under which reason."""

BACKGROUND: Final = "x-toban-background"
"""The header of requests that an open page sends by itself: they don't keep its session from ending."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
"""The headers of every response, unless its page sets them otherwise."""


class TrustedAccess:
    """Grants everything: who can open the socket in the data folder can read the data too. The actor is the OS user."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._room = BodyBuffer()

    def configure(
        self,
        app: ASGIApp,
        settings: WebSettings,
        hosts: Iterable[str] = (),
        access: AccessService | None = None,
        address: str = "",
    ) -> None:
        """Pass requests to another application from now on."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        state = scope.get("state", {})
        actor = Actor(state.get(PEER_USER) or "unknown user", "local socket")
        client = Principal(actor, EVERYTHING)
        scope["state"] = {**state, "principal": client, "authenticate": lambda: client, "room": self._room}
        await self.app(scope, receive, send)


class NetworkAccess:
    """
    Authenticates clients of the network, and rejects requests that a browser sends for another site.

    Where only this machine reaches toban, and there is no token and no user, everybody may do everything; else
    `Credentials` says who may. That a request comes from loopback proves nothing. Also on loopback, and with
    credentials, two attacks through a browser are prevented: a foreign name that resolves to toban (DNS rebinding,
    421), and a page of another origin (403, as Go's ``http.CrossOriginProtection``).
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: WebSettings,
        meters: MetricRegistry,
        hosts: Iterable[str] = (),
        room: BodyBuffer | None = None,
    ) -> None:
        """``hosts`` are names under which toban is reached, beside those of ``web.hosts``."""
        self.configure(app, settings, hosts)
        self._room = room or BodyBuffer()
        self._meters = meters

    def configure(
        self,
        app: ASGIApp,
        settings: WebSettings,
        hosts: Iterable[str] = (),
        access: AccessService | None = None,
        address: str = "",
    ) -> None:
        """
        Use other settings and another application from now on.

        ``access`` knows users and API tokens; ``address`` is the URL at which people reach toban.
        """
        self.app = app
        self._credentials = Credentials(settings, access, address)
        self._further = frozenset(name.lower() for name in (*settings.hosts, *hosts))
        self._hosts = self._further | LOOPBACK | {split(settings.listen)[0].lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or reject it."""
        if scope["type"] not in {"http", "websocket"}:
            raise TypeError(f"{scope['type']} is not supported")
        asked = scope if scope["type"] == "http" else _as_request(scope)
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        host_name, _ = parse_authority(host)
        is_same_origin = self._is_same_origin(asked, headers, host)
        authenticate = partial(self._credentials.principal, asked, headers, host_name, is_same_origin=is_same_origin)
        scope["state"] = {
            **scope.get("state", {}),
            "principal": authenticate(is_use=not _is_background(headers)),
            "authenticate": partial(authenticate, is_use=False),
            "is_open": self._credentials.is_open,
            "cookie": self._credentials.cookie_name(host_name),
            "room": self._room,
        }

        rejection = self._rejection(asked, headers)

        async def secured(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                response_headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    response_headers.setdefault(name, value)
                reason = "cross_site" if rejection and message["status"] == 403 else REASONS.get(message["status"])
                if reason:
                    self._meters.add(REJECTED, 1, reason=reason)
            await send(message)

        await (rejection or self.app)(scope, receive, secured)

    def _rejection(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.getlist("host")
        if len(host) > 1 or (not host and scope["http_version"] != "1.0"):
            return PlainTextResponse("A request must have one Host header.\n", 400)
        # No browser omits it; health checks of load balancers do.
        if host and not self._is_own_host(host[0], scope):
            return PlainTextResponse(
                "unknown host name: if toban is reached under it, add it to `web.hosts` in toban.yaml\n",
                421,
            )
        if scope["method"] not in SAFE and self._is_cross_origin(scope, headers, host[0] if host else ""):
            return PlainTextResponse("cross-origin request rejected\n", 403)
        return None

    def _is_own_host(self, host: str, scope: Scope) -> bool:
        name, _ = parse_authority(host)
        if name in self._hosts:
            return True
        # An IP address is accepted where it is the one that the connection was made to.
        server = scope.get("server")
        return bool(name and server and parse_ip(name) is not None and parse_ip(name) == parse_ip(server[0]))

    def _is_cross_origin(self, scope: Scope, headers: Headers, host: str) -> bool:
        """Tell whether a browser sends a request for a page of another origin."""
        site, origin = headers.getlist("sec-fetch-site"), headers.getlist("origin")
        if site:
            return any(it not in {"same-origin", "none"} for it in site)
        return any(not self._is_own_origin(it, scope["scheme"], host) for it in origin)

    def _is_own_origin(self, origin: str, scheme: str, host: str) -> bool:
        origin_scheme, _, authority = origin.partition("://")
        # Behind a reverse proxy the browser uses TLS, and toban does not.
        if origin_scheme not in {scheme, "https"}:
            return False
        name, port = parse_authority(authority)
        if name and name in self._further:
            return True
        default = 443 if origin_scheme == "https" else 80
        host_name, host_port = parse_authority(host)
        return bool(name) and (name, port or default) == (host_name, host_port or default)

    def _is_same_origin(self, scope: Scope, headers: Headers, host: str) -> bool:
        """
        Tell whether a browser says that it sends a request for a page of toban's: then a cookie counts for changes.

        More is demanded than that it is not cross-origin. Under a name of `web.hosts` another program may listen at
        another port, and browsers send it the same cookies: there, the port must be the default one, as behind a proxy.
        """
        site, origin = headers.getlist("sec-fetch-site"), headers.getlist("origin")
        if site:
            return site == ["same-origin"]
        if len(origin) != 1 or not self._is_own_origin(origin[0], scope["scheme"], host):
            return False
        scheme, _, authority = origin[0].partition("://")
        default = 443 if scheme == "https" else 80
        port, host_port = parse_authority(authority)[1] or default, parse_authority(host)[1] or default
        return port in {host_port, default}


def _as_request(scope: Scope) -> Scope:
    """
    Return the request that a WebSocket is opened with, as one that changes something.

    Browsers let a page of any origin open a WebSocket, and read what it sends: it must be of toban's own.
    """
    return {**scope, "type": "http", "method": "POST", "scheme": "https" if scope["scheme"] == "wss" else "http"}


def _is_background(headers: Headers) -> bool:
    """Tell whether an open page sends a request by itself, while nobody uses it."""
    return BACKGROUND in headers or "text/event-stream" in headers.get("accept", "")


def parse_authority(text: str) -> tuple[str, int]:
    """Read HOST or HOST:PORT: the name in lower case, and 0 for no port; an empty name for an invalid text."""
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0
    return (name, port) if parts.netloc == text and "@" not in text else ("", 0)
