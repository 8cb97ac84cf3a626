"""OpenID Connect: the authorization code flow with PKCE, and the checks of ID tokens."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx2
import orjson

from toban.access.settings import OidcSettings
from toban.core.errors import ResponseTooLargeError, TobanError
from toban.core.http_client import error_reason, read_body
from toban.core.ports import Clock

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
"""Signatures with a private key: not `none`, and not HS256, whose key would be public."""

SCOPE: Final = "openid email profile"
LEEWAY: Final = 60
"""Seconds that the clocks may differ."""

TIMEOUT: Final = 10.0
MAX_BYTES: Final = 2**20
DISCOVERY_VALID: Final = 3_600.0
"""Seconds after which the provider's metadata is read again."""
KEYS_INTERVAL: Final = 60.0
"""Seconds between two readings of the provider's keys: an unknown key may be a new one, or an attack."""

PENDING_SECONDS: Final = 600
"""How long somebody may take at the provider."""


MAX_PENDING: Final = 1_000
"""Sign-ins within that time that are remembered, so that none counts twice."""


class OidcError(TobanError):
    """The provider can't be reached, or what it says is not accepted. The message is for the log, not for the page."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, as the provider knows them: by issuer and subject; e-mail addresses change hands."""

    issuer: str
    subject: str
    email: str = ""
    """In lower case; empty unless the provider has verified it."""
    groups: frozenset[str] = frozenset()
    authenticated: datetime | None = None
    """When the person gave credentials to the provider."""


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that was begun: what comes back from the provider must fit it. The browser keeps it in a cookie."""

    state: str
    nonce: str
    verifier: str
    next: str
    expires: int
    again: bool = False


class PendingSignIns:
    """Writes and reads the cookie of a pending sign-in; each counts once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._used: dict[str, int] = {}

    def begin(self, next_path: str, *, again: bool) -> PendingSignIn:
        """Return a new one."""
        expires = round(self._clock.now().timestamp()) + PENDING_SECONDS
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return PendingSignIn(state, nonce, verifier, next_path[:2_000], expires, again)

    def seal(self, pending: PendingSignIn) -> str:
        """Return the value of its cookie, which nobody else can write."""
        body = base64.urlsafe_b64encode(orjson.dumps(asdict(pending))).decode().rstrip("=")
        return f"{body}.{self._mac(body)}"

    def redeem(self, cookie: str, state: str) -> PendingSignIn:
        """Return the one of a cookie, once. Raises ``OidcError`` unless it was begun here, lately, with this state."""
        body, _, mac = cookie.partition(".")
        if not hmac.compare_digest(mac.encode(errors="replace"), self._mac(body).encode()):
            raise OidcError("there is no pending sign-in in this browser")
        pending = PendingSignIn(**orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
        now = round(self._clock.now().timestamp())
        self._used = {used: until for used, until in self._used.items() if until > now}
        if pending.expires <= now or pending.state in self._used:
            raise OidcError("the pending sign-in has expired, or was used already")
        if not hmac.compare_digest(pending.state.encode(), state.encode(errors="replace")):
            raise OidcError("the provider's response has another state")
        if len(self._used) >= MAX_PENDING:
            raise OidcError("too many people are signing in")
        self._used[pending.state] = pending.expires
        return pending

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, body.encode(errors="replace"), hashlib.sha256).hexdigest()


class OidcProvider:
    """Leads people to the provider, and checks what comes back."""

    def __init__(self, settings: OidcSettings, http: httpx2.AsyncClient, clock: Clock) -> None:
        self.settings = settings
        self._http = http
        self._clock = clock
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._reading = asyncio.Lock()

    async def authorization_url(self, pending: PendingSignIn, redirect_uri: str) -> str:
        """Return the address at the provider where somebody signs in. Raises ``OidcError``."""
        metadata = await self._provider_metadata()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(pending.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            # The provider asks for credentials also where it knows the browser, and says when it did.
            **({"max_age": "0", "prompt": "login"} if pending.again else {}),
        }
        endpoint = str(metadata["authorization_endpoint"])
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    async def identity(self, code: str, issuer: str, pending: PendingSignIn, redirect_uri: str) -> Identity:
        """
        Exchange a code for an ID token, check it, and return who it is.

        ``issuer`` is the parameter ``iss`` of the response, where there is one (RFC 9207). Raises ``OidcError``.
        """
        if issuer and issuer != self.settings.issuer:
            raise OidcError(f"the response is of another issuer: {issuer[:200]!r}")
        metadata = await self._provider_metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.settings.client_id,
            "code_verifier": pending.verifier,
        }
        secret = self.settings.client_secret
        # Both are encoded first (RFC 6749, section 2.3.1).
        auth = (quote_plus(self.settings.client_id), quote_plus(secret.get_secret_value())) if secret else None
        response = await self._request("POST", str(metadata["token_endpoint"]), data=form, auth=auth)
        token = response.get("id_token")
        if not isinstance(token, str):
            raise OidcError("the provider's response has no ID token")
        return self._identity_of(await self._claims(token, pending.nonce))

    async def _claims(self, token: str, nonce: str) -> Mapping[str, Any]:
        """Return the claims of an ID token. Raises ``OidcError`` unless it is signed, current, and meant for toban."""
        # Imported when somebody signs in by OpenID Connect.
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        try:
            try:
                decoded = jwt.decode(token, await self._key_set(), algorithms=[*ALGORITHMS])
            except InvalidKeyIdError:  # the provider may have changed its keys
                decoded = jwt.decode(token, await self._key_set(renew=True), algorithms=[*ALGORITHMS])
            now = round(self._clock.now().timestamp())
            client_id = self.settings.client_id
            jwt.JWTClaimsRegistry(
                now=now,
                leeway=LEEWAY,
                iss={"essential": True, "value": self.settings.issuer},
                aud={"essential": True, "value": client_id},
                nonce={"essential": True, "value": nonce},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
            ).validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise OidcError(f"the ID token is not accepted: {type(error).__name__}: {error}") from error
        claims = decoded.claims
        party, has_others = claims.get("azp"), claims["aud"] not in (client_id, [client_id])
        if party != client_id and (has_others or party is not None):
            raise OidcError("the ID token was issued to another client")
        return claims

    def _identity_of(self, claims: Mapping[str, Any]) -> Identity:
        subject, email, groups = claims["sub"], claims.get("email"), claims.get(self.settings.groups_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise OidcError("the ID token has no valid subject")
        is_verified = claims.get("email_verified") is True and isinstance(email, str)
        at = claims.get("auth_time")
        return Identity(
            self.settings.issuer,
            subject,
            str(email).strip().lower() if is_verified else "",
            frozenset(it for it in groups if isinstance(it, str)) if isinstance(groups, list) else frozenset(),
            datetime.fromtimestamp(at, UTC) if isinstance(at, int) and 0 <= at < 2**32 else None,
        )

    async def _provider_metadata(self) -> Mapping[str, Any]:
        """Return what the provider says about itself (OpenID Connect Discovery). Raises ``OidcError``."""
        now = self._clock.monotonic()
        if self._metadata and now - self._metadata[0] < DISCOVERY_VALID:
            return self._metadata[1]
        issuer = self.settings.issuer
        found = await self._request("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise OidcError(f"it says that its issuer is {str(found.get('issuer'))[:200]!r}, not {issuer!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if urlsplit(str(found.get(name))).scheme != urlsplit(issuer).scheme:
                raise OidcError(f"its {name} is {str(found.get(name))[:200]!r}: the scheme must be that of the issuer")
        self._metadata = now, found
        return found

    async def _key_set(self, *, renew: bool = False) -> "KeySet":
        from joserfc.jwk import KeySet

        async with self._reading:
            now = self._clock.monotonic()
            if self._keys and (not renew or now - self._keys[0] < KEYS_INTERVAL):
                return self._keys[1]
            metadata = await self._provider_metadata()
            found = await self._request("GET", str(metadata["jwks_uri"]))
            self._keys = now, KeySet.import_key_set(found)  # type: ignore[arg-type]  # whatever it is, it raises
            return self._keys[1]

    async def _request(self, method: str, url: str, **sent: Any) -> dict[str, Any]:
        """Return the JSON object of a response; redirects are not followed. Raises ``OidcError``."""
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._http.stream(method, url, headers={"accept": "application/json"}, **sent) as response,
            ):
                body = await read_body(response, MAX_BYTES)
        except (httpx2.HTTPError, TimeoutError, ResponseTooLargeError) as error:
            raise OidcError(f"{method} {url}: {error_reason(error)}") from error
        try:
            found = orjson.loads(body)
        except ValueError:
            found = None
        if response.status_code != 200 or not isinstance(found, dict):
            # The body may have what was sent: only the code of the error is shown.
            code = found.get("error") if isinstance(found, dict) else ""
            raise OidcError(f"{method} {url} answered {response.status_code} {str(code)[:100]}".rstrip())
        return found
