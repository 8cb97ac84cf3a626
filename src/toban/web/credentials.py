"""Reads the credentials of a request: a token, the cookie of a session, an address."""

import base64
import hmac
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from toban.access.permissions import EVERYTHING, MACHINE, PUBLIC, Permission
from toban.access.principal import Principal
from toban.access.service import AccessService
from toban.core.actor import ANONYMOUS, TOKEN_HOLDER, Actor
from toban.web.endpoint import SAFE
from toban.web.settings import WebSettings, is_loopback, split

COOKIE: Final = "toban_session"
SECURE_COOKIE: Final = "__Host-toban"
"""The name of the cookie under an https address: browsers accept it with `Secure`, for this host and from it alone."""

API_TOKEN: Final = "tbn_"  # noqa: S105  # how every API token begins


BROWSERS: Final = frozenset({"origin", "sec-fetch-site"})
"""Headers that only browsers send."""


class Credentials:
    """Establishes the principal of a request of the network."""

    def __init__(self, settings: WebSettings, access: AccessService | None, address: str) -> None:
        """
        ``access`` is nothing where everybody may read, as on the socket of `web.metrics`.

        ``address`` is the URL at which people reach toban.
        """
        self._access = access
        self._token = settings.token.get_secret_value().encode() if settings.token else b""
        self._is_local = is_loopback(split(settings.listen)[0])
        self._proxies = [ipaddress.ip_network(it) for it in settings.trusted_proxies]
        self._forwarded = settings.client_address_header
        parts = urlsplit(address)
        self._secure_host = (parts.hostname or "") if parts.scheme == "https" else ""

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything: only this machine reaches toban, and there is no token and no user."""
        if self._token:
            return False
        return self._access is None or (self._is_local and not self._access.has_users)

    def cookie_name(self, host: str) -> str:
        """Return the name of the session's cookie under a host name."""
        return SECURE_COOKIE if host and host == self._secure_host else COOKIE

    def principal(
        self, scope: Scope, headers: Headers, host: str, *, is_same_origin: bool, is_use: bool = True
    ) -> Principal:
        """
        Return who sends a request.

        ``is_same_origin``: a browser says that one of toban's own pages sends it. Without that, a cookie counts for
        requests that change nothing only. ``is_use``: it counts as a use of the session, which then ends later.
        """
        address = self.client_address(scope, headers)
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        # A browser that was once given name and password sends them with requests of other pages too.
        is_of_page = not (is_same_origin or scope["method"] in SAFE) and not BROWSERS.isdisjoint(headers.keys())
        is_basic = scheme.lower() == "basic" and not is_of_page
        token = shown.strip() if is_bearer else _password(shown) if is_basic else ""
        if token and (found := self._bearer(token, address)):
            return found
        if not is_bearer and self._access and (is_same_origin or scope["method"] in SAFE):
            secret = _cookie(headers, self.cookie_name(host))
            if secret and (signed_in := self._signed_in(self._access, secret, address, is_use=is_use)):
                return signed_in
        anonymous = Actor(ANONYMOUS.name, ANONYMOUS.via, address)
        is_refused = token.startswith(API_TOKEN)  # revoked or expired: it must not go on by being nobody
        granted = EVERYTHING if self.is_open and not is_refused else PUBLIC
        return Principal(anonymous, granted, is_authenticated=False)

    def _bearer(self, token: str, address: str) -> Principal | None:
        if self._token and hmac.compare_digest(token.encode(errors="replace"), self._token):
            return Principal(Actor(TOKEN_HOLDER.name, TOKEN_HOLDER.via, address), MACHINE)
        if self._access and token.startswith(API_TOKEN) and (found := self._access.token(token)):
            is_limited = Permission.CONFIGURE not in found.scopes
            return Principal(Actor(found.name, "API token", address, is_limited), found.scopes)
        return None

    @staticmethod
    def _signed_in(access: AccessService, secret: str, address: str, *, is_use: bool) -> Principal | None:
        found = access.session(secret, is_use=is_use)
        if not found:
            return None
        session, user = found
        granted = user.role.permissions
        must_confirm = Permission.ADMIN in granted and not access.is_confirmed(session)
        return Principal(
            Actor(user.name, "session", address, Permission.CONFIGURE not in granted),
            granted - {Permission.ADMIN} if must_confirm else granted,
            user,
            session,
            must_confirm=must_confirm,
        )

    def client_address(self, scope: Scope, headers: Headers) -> str:
        """Return the address of a client: that of the connection, or the one that a trusted proxy names."""
        client = scope.get("client")
        peer = str(client[0]) if client else ""
        if not self._is_proxy(peer):
            return peer
        named = ",".join(headers.getlist(self._forwarded)).split(",")
        for entry in reversed([it.strip() for it in named]):
            if parse_ip(entry) is None:
                return peer
            if not self._is_proxy(entry):
                return entry
        return peer

    def _is_proxy(self, address: str) -> bool:
        found = parse_ip(address)
        return found is not None and any(found in network for network in self._proxies)


def _password(shown: str) -> str:
    """
    Return the password of HTTP's Basic scheme (RFC 7617), whatever the name; empty where it is not valid.

    Many programs that push or query can send a name and a password only: their password is a token. Another one, like
    that of a reverse proxy, is of no use here.
    """
    try:
        return base64.b64decode(shown.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _cookie(headers: Headers, name: str) -> str:
    """Return the value of a cookie; empty where there is none, or several that differ: one of them is forged."""
    values = {
        value
        for header in headers.getlist("cookie")
        for part in header.split(";")
        for key, value in cookie_parser(part).items()
        if key == name
    }
    return values.pop() if len(values) == 1 else ""


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an IP address; an IPv4 address that is written as IPv6 is that IPv4 address."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
