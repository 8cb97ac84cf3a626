"""A strict OpenID Connect provider: it accepts only what the specifications allow."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit

from joserfc import jws, jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ISSUER = "https://login.example/realm"
CLIENT = "toban"
SECRET = "hush: with a colon"
CALLBACK = "http://localhost/sign-in/oidc/callback"


def plain(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


class FakeOidc:
    """The provider; ``claims`` are those of whoever signs in, ``now`` returns its time in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.claims: dict[str, Any] = {"sub": "248289", "email": "Ann@Example.com", "email_verified": True}
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
        }
        self.key = ECKey.generate_key("P-256", {"kid": "1", "use": "sig"})
        self.forge: Callable[[dict[str, Any]], str] | None = None
        """Makes the ID token in the provider's place."""
        self.requests: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.app = Starlette(
            routes=[
                Route("/realm/.well-known/openid-configuration", self._discovery),
                Route("/realm/keys", self._keys),
                Route("/realm/token", self._token, methods=["POST"]),
            ]
        )

    def authorize(self, url: str) -> str:
        """Sign somebody in at the address where toban leads, and return the address that leads back."""
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query, strict_parsing=True))
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == self.metadata["authorization_endpoint"]
        assert (parameters["response_type"], parameters["client_id"], parameters["redirect_uri"]) == (
            "code",
            CLIENT,
            CALLBACK,
        )
        assert "openid" in parameters["scope"].split()
        assert parameters["code_challenge_method"] == "S256"
        assert min(len(parameters[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        if parameters.get("max_age") == "0":
            self.claims["auth_time"] = int(self._now())
        code = f"code{len(self._codes)}"
        self._codes[code] = parameters
        return f"{parameters['redirect_uri']}?{urlencode({'code': code, 'state': parameters['state'], 'iss': ISSUER})}"

    async def _discovery(self, request: Request) -> Response:
        self.requests.append("discovery")
        return JSONResponse(self.metadata)

    async def _keys(self, request: Request) -> Response:
        self.requests.append("keys")
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def _token(self, request: Request) -> Response:
        self.requests.append("token")
        form = dict(parse_qsl((await request.body()).decode()))
        parameters = self._codes.pop(form["code"], None)  # each counts once
        basic = base64.b64encode(f"{CLIENT}:{quote_plus(SECRET)}".encode()).decode()
        is_right = (
            parameters
            and request.headers.get("authorization") == f"Basic {basic}"
            and form["grant_type"] == "authorization_code"
            and form["redirect_uri"] == parameters["redirect_uri"]
            and plain(hashlib.sha256(form["code_verifier"].encode()).digest()) == parameters["code_challenge"]
        )
        if not parameters or not is_right:
            return JSONResponse({"error": "invalid_grant", "error_description": SECRET}, 400)
        now = int(self._now())
        claims = {
            "iss": ISSUER,
            "aud": CLIENT,
            "nonce": parameters["nonce"],
            "iat": now,
            "exp": now + 300,
            **self.claims,
        }
        token = self.forge(claims) if self.forge else self.sign(claims)
        return JSONResponse({"id_token": token, "access_token": "x", "token_type": "Bearer"})

    def sign(self, claims: dict[str, Any], key: ECKey | None = None, kid: str = "1") -> str:
        """Return a signed token."""
        return jwt.encode({"alg": "ES256", "kid": kid}, claims, key or self.key)

    def sign_anything(self, content: object) -> str:
        """Return a signed token whose content need not be claims."""
        return jws.serialize_compact({"alg": "ES256", "kid": "1"}, json.dumps(content), self.key)

    def unsigned(self, claims: dict[str, Any]) -> str:
        """Return a token with the algorithm `none`."""
        header = plain(b'{"alg":"none"}')
        return f"{header}.{plain(json.dumps(claims).encode())}."

    def signed_with_the_public_key(self, claims: dict[str, Any]) -> str:
        """Return a token whose signature anybody can make."""
        header = plain(b'{"alg":"HS256","kid":"1"}')
        body = f"{header}.{plain(json.dumps(claims).encode())}"
        public = self.key.as_pem(private=False)
        return f"{body}.{plain(hmac.new(public, body.encode(), hashlib.sha256).digest())}"
