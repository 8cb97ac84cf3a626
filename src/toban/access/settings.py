"""How people sign in, beside names and passwords."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from toban.access.permissions import Role
from toban.core.config_types import Address, Secret, Section


def _domain(text: str) -> str:
    domain = text.strip().lower().removeprefix("@")
    if not domain or "@" in domain or "." not in domain:
        raise ValueError(f"{text[:50]!r} is not a domain: write it like example.com")
    return domain


def _issuer(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError("the issuer must begin with https://: over http anybody on the way could sign in as anybody")
    return url


class OidcSettings(Section):
    """An OpenID Connect provider, like Google, Microsoft Entra, Okta, Keycloak."""

    issuer: Annotated[Address, AfterValidator(_issuer)]
    """The issuer, exactly as the provider says it at `/.well-known/openid-configuration`."""

    client_id: str
    """The client's id at the provider. Its redirect URI is `notify.address` with `/sign-in/oidc/callback`."""

    client_secret: Secret | None = None
    """The client's secret; none for a public client."""

    name: str = "OpenID Connect"
    """The provider's name on the page for signing in."""

    groups_claim: str = "groups"
    """The claim of the ID token that lists a person's groups."""

    groups: dict[str, Role] = Field(default_factory=dict)
    """The role that each group grants; of several the highest counts. With it, a person's role follows the groups at
    each sign-in, and whoever is in none of them can't sign in."""

    allow_domains: tuple[Annotated[str, AfterValidator(_domain)], ...] = ()
    """Domains of verified e-mail addresses: whoever has one becomes a user at the first sign-in, a viewer unless
    `groups` says otherwise. Without it, only users who were added under their e-mail address can sign in."""


class SignInSettings(Section):
    """How people sign in, beside names and passwords."""

    oidc: OidcSettings | None = None
    """Sign in through an OpenID Connect provider."""
