"""Keys of age: whom a file is encrypted to, and who can decrypt it. https://age-encryption.org/v1"""

import base64
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr

from toban.core import bech32
from toban.core.config_types import Text

FILE_KEY_BYTES: Final = 16
ZERO_NONCE: Final = bytes(12)
"""Each of these keys encrypts once, so the nonce may be the same."""

WORK: Final = 15
"""
The binary logarithm of scrypt's work for new files: 32 MiB of memory, where the program `age` takes 256.

A machine for a small shop has no more. A recipient's key needs no work at all.
"""
MAX_WORK: Final = 18
"""The most work that is done for a file: 256 MiB."""

X25519_LABEL: Final = b"age-encryption.org/v1/X25519"
SCRYPT_LABEL: Final = b"age-encryption.org/v1/scrypt"


class AgeError(ValueError):
    """A file is not what age writes, is damaged, or can't be decrypted with these keys."""


class NoKeyError(AgeError):
    """The file is encrypted to somebody else."""


@dataclass(frozen=True, slots=True)
class Stanza:
    """A part of a file's header: the file's key, encrypted to one recipient."""

    arguments: Sequence[str]
    body: bytes


# Libraries of cryptography cost some 10 MB: they are imported when something is encrypted.


class Cipher:
    """ChaCha20-Poly1305 with one key."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._cipher = ChaCha20Poly1305(key)

    def encrypt(self, data: bytes, nonce: bytes = ZERO_NONCE) -> bytes:
        """Return some bytes encrypted, with their tag."""
        return self._cipher.encrypt(nonce, data, None)

    def decrypt(self, data: bytes, nonce: bytes = ZERO_NONCE) -> bytes | None:
        """Return some bytes decrypted; None where they are not what was encrypted with this key."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(nonce, data, None)
        except InvalidTag:
            return None


class Recipient(ABC):
    """Somebody to whom files are encrypted."""

    @abstractmethod
    def wrap(self, file_key: bytes) -> Stanza:
        """Return a file's key, encrypted."""


class Identity(ABC):
    """Somebody who can decrypt."""

    @abstractmethod
    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return a file's key, or None where it is not encrypted to this identity. Raises ``AgeError``."""


class X25519Recipient(Recipient):
    """A public key, like age1…"""

    def __init__(self, text: str) -> None:
        """Raises ``ValueError`` for a text that is no public key."""
        prefix, self._key = bech32.decode(text.strip())
        if prefix != "age" or len(self._key) != 32:
            raise ValueError("it is no public key of age: it begins with age1")

    def wrap(self, file_key: bytes) -> Stanza:
        """Return a file's key, encrypted."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

        ephemeral = X25519PrivateKey.generate()
        share = ephemeral.public_key().public_bytes_raw()
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(self._key))
        key = derive(shared, share + self._key, X25519_LABEL)
        return Stanza(("X25519", encode(share)), Cipher(key).encrypt(file_key))


class X25519Identity(Identity):
    """A private key, like AGE-SECRET-KEY-1…"""

    def __init__(self, text: str) -> None:
        """Raises ``ValueError`` for a text that is no private key; its message has nothing of it."""
        prefix, data = bech32.decode(text.strip())
        if prefix != "age-secret-key-" or len(data) != 32:
            raise ValueError("it is no private key of age: it begins with AGE-SECRET-KEY-1")
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        self._key = X25519PrivateKey.from_private_bytes(data)
        self._public = self._key.public_key().public_bytes_raw()

    @property
    def recipient(self) -> str:
        """Its public key."""
        return bech32.encode("age", self._public)

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return a file's key."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        for stanza in stanzas:
            if stanza.arguments[0] != "X25519":
                continue
            share = decode(stanza.arguments[1]) if len(stanza.arguments) == 2 else b""
            if len(share) != 32 or len(stanza.body) != FILE_KEY_BYTES + 16:
                raise AgeError("its header is damaged")
            try:
                shared = self._key.exchange(X25519PublicKey.from_public_bytes(share))
            except ValueError as error:
                raise AgeError("its header is damaged") from error
            key = derive(shared, share + self._public, X25519_LABEL)
            if found := Cipher(key).decrypt(stanza.body):
                return found
        return None


class Passphrase(Recipient, Identity):
    """A passphrase: a file that is encrypted by one has no other recipient."""

    def __init__(self, secret: SecretStr, work: int = WORK) -> None:
        self._secret = secret.get_secret_value().encode()
        self._work = work

    def wrap(self, file_key: bytes) -> Stanza:
        """Return a file's key, encrypted; it takes a tenth of a second."""
        salt = os.urandom(16)
        key = self._key(salt, self._work)
        arguments = ("scrypt", encode(salt), str(self._work))
        return Stanza(arguments, Cipher(key).encrypt(file_key))

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """Return a file's key; it takes up to a second."""
        if not any(it.arguments[0] == "scrypt" for it in stanzas):
            return None
        stanza, *others = stanzas
        if others:
            raise AgeError("its header is damaged: a passphrase and something else open it")
        _, salt, work = stanza.arguments if len(stanza.arguments) == 3 else ("", "", "")
        if not work.isascii() or not work.isdigit() or work.startswith("0") or len(work) > 2:
            raise AgeError("its header is damaged")
        if int(work) > MAX_WORK:
            raise AgeError(f"its passphrase wants 2^{work} of scrypt's work, at most 2^{MAX_WORK} is done")
        decoded = decode(salt)
        if len(decoded) != 16 or len(stanza.body) != FILE_KEY_BYTES + 16:
            raise AgeError("its header is damaged")
        if found := Cipher(self._key(decoded, int(work))).decrypt(stanza.body):
            return found
        raise NoKeyError("the passphrase is wrong")

    def _key(self, salt: bytes, work: int) -> bytes:
        memory = 128 * 8 * 2**work + 2**20
        return hashlib.scrypt(
            self._secret, salt=SCRYPT_LABEL + salt, n=2**work, r=8, p=1, dklen=32, maxmem=memory + 2**20
        )


def identities(text: str) -> Sequence[Identity]:
    """Return the identities of a file of keys; lines that begin with # are comments. Raises ``ValueError``."""
    lines = [it.strip() for it in text.splitlines()]
    found = [X25519Identity(it) for it in lines if it and not it.startswith("#")]
    if not found:
        raise ValueError("it has no private key of age")
    return found


def derive(secret: bytes, salt: bytes, label: bytes) -> bytes:
    """Derive a key of 32 bytes (HKDF with SHA-256)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt, label).derive(secret)


def encode(data: bytes) -> str:
    """Return base64 without padding."""
    return base64.b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of canonical base64 without padding. Raises ``AgeError``."""
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise AgeError("its header is damaged") from error
    if encode(found) != text:
        raise AgeError("its header is damaged")
    return found


def _public_key(text: str) -> str:
    if text.upper().startswith("AGE-SECRET-KEY-"):
        raise ValueError("it is a private key: set the public one, which `age-keygen -y` prints")
    try:
        X25519Recipient(text)
    except ValueError as error:
        raise ValueError(f"invalid public key of age: {error}") from error
    return text


AgeRecipient = Annotated[Text, AfterValidator(_public_key)]
"""A setting with a public key of age."""
