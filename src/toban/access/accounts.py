"""Users, sessions, API tokens and one-time links, and the secrets that prove them."""

import hashlib
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from toban.access.permissions import Permission, Role
from toban.core import actor
from toban.core.errors import InvalidCommandError

IDLE: Final = timedelta(hours=12)
"""A session ends after so long without a request,"""
ABSOLUTE: Final = timedelta(days=14)
"""and so long after the sign-in in any case."""
CONFIRMED_FOR: Final = timedelta(minutes=15)
"""For how long after the password was given a session may change who uses toban."""
LINK_VALID: Final = timedelta(minutes=15)
"""How long a one-time link is valid."""

USER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
RESERVED: Final = frozenset(it.name.lower() for it in actor.FIXED)

BASE62: Final = string.digits + string.ascii_letters
TOKEN_PREFIX: Final = "tbn"  # noqa: S105  # by which scanners of repositories recognise a token
TOKEN_FORM: Final = re.compile(r"tbn_([0-9A-Za-z]{8})_([0-9A-Za-z]{40})")


def user_name(text: str) -> str:
    """Return the name of a user as it is stored: `Ann` and `ann` are the same user."""
    return text.strip().lower()


def checked_user_name(text: str) -> str:
    """Return the name for a new user. Raises ``InvalidCommandError``."""
    name = user_name(text)
    if not USER_NAME.fullmatch(name):
        raise InvalidCommandError(
            "has 1 to 64 letters (a to z), digits and . _ @ + -, and begins with a letter or digit", "name"
        )
    if name in RESERVED:
        raise InvalidCommandError(f"{name!r} is the name of a part of toban: choose another", "name")
    return name


def new_secret() -> str:
    """Return 256 random bits, as text."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret, which is stored in its place; it is random, so that it needs no salt."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class User:
    """A person who signs in."""

    id: int
    name: str
    role: Role
    created: datetime
    enabled: bool = True
    password: str = field(default="", repr=False)
    """The hash of the password; empty before one was chosen."""
    last_sign_in: datetime | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """What a sign-in began: a browser that shows its secret is its user."""

    id: str
    """The digest of the secret in the cookie."""
    user: int
    created: datetime
    last_used: datetime
    confirmed: datetime
    """When the password was given last."""
    address: str = ""
    agent: str = ""
    """The User-Agent of the browser."""

    @property
    def short_id(self) -> str:
        """By which lists and commands call it."""
        return self.id[:16]

    @property
    def expires(self) -> datetime:
        """When it ends, unless it is used before."""
        return min(self.created + ABSOLUTE, self.last_used + IDLE)

    def is_confirmed(self, now: datetime) -> bool:
        """Tell whether the password was given so lately that the session may change who uses toban."""
        return now < self.confirmed + CONFIRMED_FOR


@dataclass(frozen=True, slots=True)
class Passkey:
    """A key pair in a user's device: toban has the public key, and what is signed with the other proves the user."""

    id: str
    """The credential's id, in base64url."""
    user: int
    name: str
    """As the user calls it."""
    public_key: str
    """In COSE's form, in base64url."""
    uses: int
    """The signature counter; 0 where the device has none."""
    created: datetime
    last_used: datetime | None = None

    @property
    def short_id(self) -> str:
        """By which lists and commands call it."""
        return digest(self.id)[:16]


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What a program shows: it may do what its scopes say."""

    id: str
    name: str
    scopes: frozenset[Permission]
    digest: str = field(repr=False)
    created: datetime
    created_by: str
    expires: datetime | None = None
    last_used: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        """Tell whether it has expired."""
        return self.expires is not None and self.expires <= now


def new_token_text() -> tuple[str, str]:
    """Return the id of a new API token, and its text."""
    token_id, secret = ("".join(secrets.choice(BASE62) for _ in range(length)) for length in (8, 40))
    return token_id, f"{TOKEN_PREFIX}_{token_id}_{secret}"


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A link that lets its holder choose a password once; without a user it makes the first admin."""

    digest: str = field(repr=False)
    user: int | None
    expires: datetime


@dataclass(frozen=True, slots=True)
class Accounts:
    """All of them at one time."""

    users: Mapping[int, User] = field(default_factory=dict)
    sessions: Mapping[str, Session] = field(default_factory=dict)
    """By the digest of their secret."""
    tokens: Mapping[str, ApiToken] = field(default_factory=dict)
    links: Mapping[str, SignInLink] = field(default_factory=dict)
    """By the digest of their secret."""
    identities: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The users of identities of an OpenID Connect provider, by issuer and subject."""
    passkeys: Mapping[str, Passkey] = field(default_factory=dict)
    """By the id of their credential."""

    def user(self, name: str) -> User | None:
        """Return a user by name."""
        wanted = user_name(name)
        return next((it for it in self.users.values() if it.name == wanted), None)

    def sessions_of(self, user: int) -> list[Session]:
        """Return the sessions of a user, the one used last first."""
        found = [it for it in self.sessions.values() if it.user == user]
        return sorted(found, key=lambda it: it.last_used, reverse=True)

    def passkeys_of(self, user: int) -> list[Passkey]:
        """Return the passkeys of a user, the oldest first."""
        return sorted((it for it in self.passkeys.values() if it.user == user), key=lambda it: it.created)
