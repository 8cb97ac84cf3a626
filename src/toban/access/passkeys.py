"""Passkeys (WebAuthn Level 3): the options that a browser is given, and the checks of what it returns."""

import base64
import hashlib
import hmac
import importlib.util
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from toban.access.accounts import Passkey, User
from toban.core.errors import TobanError
from toban.core.ports import Clock

CHALLENGE_SECONDS: Final = 300
"""How long somebody may take with the browser."""
MAX_CHALLENGES: Final = 1_000
"""Challenges within that time that are remembered, so that none counts twice."""

_EXPIRY_BYTES, _RANDOM_BYTES = 8, 24


class PasskeyError(TobanError):
    """What a browser sent proves no passkey. The message is for the log, not for the page."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """For whom a browser keeps passkeys: a host name, and the origin of the pages that may use them."""

    id: str
    origin: str


def is_installed() -> bool:
    """Tell whether the extra `passkeys` is installed."""
    return importlib.util.find_spec("webauthn") is not None


class Challenges:
    """
    Challenges that a browser signs; each counts once, and only for what it was made for.

    They carry their expiry and a MAC, so that asking for many costs no memory.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._used: dict[bytes, int] = {}

    def new(self, purpose: str) -> bytes:
        """Return a new challenge; ``purpose`` says what for, and whose."""
        expires = self._now() + CHALLENGE_SECONDS
        body = expires.to_bytes(_EXPIRY_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        return body + self._mac(body, purpose)

    def redeem(self, challenge: bytes, purpose: str) -> None:
        """Use a challenge up. Raises ``PasskeyError`` unless it was made here, lately, for this purpose."""
        body, mac = challenge[: _EXPIRY_BYTES + _RANDOM_BYTES], challenge[_EXPIRY_BYTES + _RANDOM_BYTES :]
        if not hmac.compare_digest(mac, self._mac(body, purpose)):
            raise PasskeyError("the challenge is of another page, or of another start of toban")
        expires, now = int.from_bytes(body[:_EXPIRY_BYTES], "big"), self._now()
        self._used = {used: until for used, until in self._used.items() if until > now}
        if expires <= now or body in self._used:
            raise PasskeyError("the challenge has expired, or was used already")
        if len(self._used) >= MAX_CHALLENGES:
            raise PasskeyError("too many people use their passkeys")
        self._used[body] = expires

    def _now(self) -> int:
        return round(self._clock.now().timestamp())

    def _mac(self, body: bytes, purpose: str) -> bytes:
        return hmac.digest(self._key, body + purpose.encode(), "sha256")


@dataclass(frozen=True, slots=True)
class Response:
    """What a browser returned, as far as it is needed before it is checked."""

    document: dict[str, Any]
    id: str
    """The credential's id, in base64url."""
    challenge: bytes

    @classmethod
    def of(cls, text: str) -> "Response":
        """Read a response. Raises ``PasskeyError``."""
        try:
            document = orjson.loads(text)
            client_data = orjson.loads(_decoded(document["response"]["clientDataJSON"]))
            return cls(document, _encoded(_decoded(document["rawId"])), _decoded(client_data["challenge"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PasskeyError("the browser's response can't be read") from error


def creation_options(party: RelyingParty, user: User, existing: Iterable[Passkey], challenge: bytes) -> str:
    """Return the options by which a browser makes a passkey for a user, as JSON."""
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=party.id,
        rp_name="toban",
        user_name=user.name,
        # Names nobody, and stays the same, so that an authenticator replaces a passkey of the same user.
        user_id=hashlib.sha256(f"{user.id} {user.created.isoformat()}".encode()).digest(),
        challenge=challenge,
        timeout=CHALLENGE_SECONDS * 1_000,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(_decoded(it.id)) for it in existing],
    )
    return options_to_json(options)


def request_options(party: RelyingParty, challenge: bytes) -> str:
    """Return the options by which a browser signs in with whichever passkey somebody chooses, as JSON."""
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=party.id,
        challenge=challenge,
        timeout=CHALLENGE_SECONDS * 1_000,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def verify_creation(response: Response, party: RelyingParty) -> tuple[str, str, int]:
    """Return the id, the public key and the use count of a new passkey. Raises ``PasskeyError``."""
    from webauthn import verify_registration_response
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        found = verify_registration_response(
            credential=response.document,
            expected_challenge=response.challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise PasskeyError(f"the new passkey is not accepted: {error}") from error
    return _encoded(found.credential_id), _encoded(found.credential_public_key), found.sign_count


def verify_use(response: Response, party: RelyingParty, passkey: Passkey) -> int:
    """Return the new use count of a passkey. Raises ``PasskeyError``, also where the count says that it was copied."""
    from webauthn import verify_authentication_response
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        found = verify_authentication_response(
            credential=response.document,
            expected_challenge=response.challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=_decoded(passkey.public_key),
            credential_current_sign_count=passkey.uses,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise PasskeyError(f"the passkey is not accepted: {error}") from error
    return found.new_sign_count


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
