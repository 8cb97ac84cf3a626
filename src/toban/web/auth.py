"""Who asks, and from where: what comes before every route."""

import hmac
import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter
from toban.web.endpoint import SAFE, Permission
from toban.web.request_bodies import BodyBuffer
from toban.web.settings import WebSettings, split

REJECTED: Final = counter("toban_http_requests_rejected_total", "HTTP requests that were refused, by reason.")

REASONS: Final = {
    401: "token",
    403: "cross_site",
    408: "too_slow",
    413: "body_too_large",
    415: "media_type",
    421: "host",
}
"""Which statuses are counted as refusals, and under which reason."""

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

EVERYTHING: Final = frozenset(Permission)
PUBLIC: Final = frozenset({Permission.PUBLIC})

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
"""What every answer says to a browser, unless its page says it otherwise."""


class TrustedAccess:
    """Lets everybody do everything: who can open the socket in the data folder can read all that lies beside it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._room = BodyBuffer()

    def configure(self, app: ASGIApp, settings: WebSettings, hosts: Iterable[str] = ()) -> None:
        """Pass requests on to another; who asks is nothing to it."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        scope["state"] = {**scope.get("state", {}), "permissions": EVERYTHING, "room": self._room}
        await self.app(scope, receive, send)


class NetworkAccess:
    """
    Decides what whoever comes over the network may do, and turns away what a page of somebody else's sends.

    Everybody may do everything while no token is set, for toban listens on loopback then; else who shows it. That a
    request comes from loopback, or from nowhere, is no proof of anything. On loopback too, and with a token, browsers
    are kept from being used: by a name that leads here without being toban's (DNS rebinding, 421), and by a page of
    another origin (403, as Go's ``http.CrossOriginProtection``).
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

    def configure(self, app: ASGIApp, settings: WebSettings, hosts: Iterable[str] = ()) -> None:
        """Decide by other settings from now on, for what answers now."""
        self.app = app
        self._token = settings.token.get_secret_value().encode() if settings.token else b""
        self._further = frozenset(name.lower() for name in (*settings.hosts, *hosts))
        self._hosts = self._further | LOOPBACK | {split(settings.listen)[0].lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            raise TypeError(f"nobody answers {scope['type']}")
        headers = Headers(scope=scope)
        granted = EVERYTHING if not self._token or self._shows_token(headers) else PUBLIC
        scope["state"] = {**scope.get("state", {}), "permissions": granted, "room": self._room}

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found.setdefault(name, value)
                if reason := REASONS.get(message["status"]):
                    self._meters.add(REJECTED, 1, reason=reason)
            await send(message)

        refusal = self._refused(scope, headers)
        await (refusal or self.app)(scope, receive, secured)

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.getlist("host")
        if len(host) > 1 or (not host and scope["http_version"] != "1.0"):
            return PlainTextResponse("A request names one Host.\n", 400)
        # No browser leaves it out; checks of load balancers do.
        if host and not self._is_ours(host[0], scope):
            return PlainTextResponse(
                "toban is not known by this name. If it is reached by it, add the name to `web.hosts` in toban.yaml.\n",
                421,
            )
        if scope["method"] not in SAFE and self._is_foreign(scope, headers, host[0] if host else ""):
            return PlainTextResponse("A page of another origin may not do this.\n", 403)
        return None

    def _is_ours(self, host: str, scope: Scope) -> bool:
        name, _ = parse_authority(host)
        if name in self._hosts:
            return True
        # An address, not a name, leads where the connection went: to one of this machine's own.
        server = scope.get("server")
        return bool(name and server and _address(name) is not None and _address(name) == _address(server[0]))

    def _is_foreign(self, scope: Scope, headers: Headers, host: str) -> bool:
        """Tell whether a browser sends something for a page that is not toban's."""
        site, origin = headers.getlist("sec-fetch-site"), headers.getlist("origin")
        if site:
            return any(it not in {"same-origin", "none"} for it in site)
        return any(not self._is_own_origin(it, scope["scheme"], host) for it in origin)

    def _is_own_origin(self, origin: str, scheme: str, host: str) -> bool:
        of, _, rest = origin.partition("://")
        # Behind a proxy the browser speaks TLS, and toban does not.
        if of not in {scheme, "https"}:
            return False
        name, port = parse_authority(rest)
        if name and name in self._further:
            return True
        default = 443 if of == "https" else 80
        own, own_port = parse_authority(host)
        return bool(name) and (name, port or default) == (own, own_port or default)

    def _shows_token(self, headers: Headers) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.encode(), self._token)


def parse_authority(text: str) -> tuple[str, int]:
    """Read HOST or HOST:PORT as a browser writes it: the name in lower case, and 0 for no port; no name when wrong."""
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname or "", parts.port or 0
    except ValueError:
        return "", 0
    return (name, port) if parts.netloc == text and "@" not in text else ("", 0)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
