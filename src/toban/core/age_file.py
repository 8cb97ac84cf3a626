"""
Files in the format of age, encrypted and decrypted piece by piece. https://age-encryption.org/v1

The program `age` decrypts what is encrypted here, and the other way round.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Final

from toban.core.age_keys import (
    FILE_KEY_BYTES,
    AgeError,
    Cipher,
    Identity,
    NoKeyError,
    Recipient,
    Stanza,
    decode,
    derive,
    encode,
)

MAGIC: Final = b"age-encryption.org/v1\n"
CHUNK: Final = 65_536
"""Bytes of a chunk before it is encrypted."""
TAG: Final = 16
"""Bytes that a chunk is longer when it is encrypted."""
NONCE: Final = 16
COLUMNS: Final = 64
"""Characters of a line of a stanza's body; the last line has fewer."""
MAX_HEADER: Final = 64 * 2**10
"""Bytes that a header may have."""
CUT_OFF: Final = "it is cut off: its last part is missing"


class CutOffError(AgeError):
    """The end of a file is missing."""


class Encryptor:
    """Encrypts a stream of pieces of any length."""

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        """It takes a tenth of a second where a recipient is a passphrase."""
        file_key, nonce = os.urandom(FILE_KEY_BYTES), os.urandom(NONCE)
        header = MAGIC + b"".join(_written(it.wrap(file_key)) for it in recipients) + b"---"
        self._begin = header + b" " + encode(_mac(file_key, header)).encode() + b"\n" + nonce
        self._chunks = _Chunks(file_key, nonce)
        self._rest = bytearray()

    def update(self, data: bytes) -> bytes:
        """Return what can be written after another piece."""
        self._rest += data
        found, self._begin = [self._begin], b""
        # A full chunk is kept: it may be the last one, which is marked as such.
        while len(self._rest) > CHUNK:
            found.append(self._chunks.encrypt(bytes(self._rest[:CHUNK]), last=False))
            del self._rest[:CHUNK]
        return b"".join(found)

    def finish(self) -> bytes:
        """Return the end of the file."""
        return self._begin + self._chunks.encrypt(bytes(self._rest), last=True)


class Decryptor:
    """Decrypts a stream of pieces of any length; what it returns is authentic."""

    def __init__(self, identities: Sequence[Identity]) -> None:
        self._identities = identities
        self._chunks: _Chunks | None = None
        self._rest = bytearray()

    def update(self, data: bytes) -> bytes:
        """
        Return what another piece contains.

        Raises ``NoKeyError``, and ``AgeError`` as soon as damage is found. It takes up to a second where an identity is
        a passphrase.
        """
        self._rest += data
        if self._chunks is None and not self._read_header():
            return b""
        found = []
        while self._chunks and len(self._rest) > CHUNK + TAG:
            found.append(self._chunks.decrypt(bytes(self._rest[: CHUNK + TAG]), last=False))
            del self._rest[: CHUNK + TAG]
        return b"".join(found)

    def finish(self) -> bytes:
        """Return the end. Raises ``AgeError`` where it is missing."""
        if self._chunks is None:
            raise CutOffError(CUT_OFF)
        return self._chunks.decrypt(bytes(self._rest), last=True)

    def _read_header(self) -> bool:
        """Read the header as soon as it is there; return whether it was."""
        if not self._rest.startswith(MAGIC[: len(self._rest)]):
            raise AgeError("it is not in the format of age")
        begin = self._rest.find(b"\n---")
        end = self._rest.find(b"\n", begin + 1) if begin >= 0 else -1
        if end < 0 or len(self._rest) < end + 1 + NONCE:
            if len(self._rest) > MAX_HEADER:
                raise AgeError("its header is damaged")
            return False
        header, nonce = bytes(self._rest[: begin + 4]), bytes(self._rest[end + 1 : end + 1 + NONCE])
        mac_line = bytes(self._rest[begin + 4 : end])
        stanzas = _stanzas(header)
        file_key = self._file_key(stanzas)
        if mac_line[:1] != b" " or not hmac.compare_digest(decode(_ascii(mac_line[1:])), _mac(file_key, header)):
            raise AgeError("its header is damaged")
        self._chunks = _Chunks(file_key, nonce)
        del self._rest[: end + 1 + NONCE]
        return True

    def _file_key(self, stanzas: Sequence[Stanza]) -> bytes:
        for identity in self._identities:
            if found := identity.unwrap(stanzas):
                return found
        raise NoKeyError("it is encrypted to a key that is not here")


class _Chunks:
    """The chunks of one file: each is encrypted with its number, and whether it is the last one."""

    def __init__(self, file_key: bytes, nonce: bytes) -> None:
        self._cipher = Cipher(derive(file_key, nonce, b"payload"))
        self._number = 0

    def encrypt(self, chunk: bytes, *, last: bool) -> bytes:
        return self._cipher.encrypt(chunk, self._nonce(last=last))

    def decrypt(self, chunk: bytes, *, last: bool) -> bytes:
        number = self._number
        found = self._cipher.decrypt(chunk, self._nonce(last=last))
        if found is None:
            if last and self._cipher.decrypt(chunk, _nonce(number, last=False)) is not None:
                raise CutOffError(CUT_OFF)
            if last and len(chunk) < CHUNK + TAG:
                raise CutOffError("it is cut off, or its end is damaged")
            raise AgeError(f"it is damaged in its {number + 1}. part of 64 KiB")
        if last and number and not found:
            raise AgeError("it is damaged: its last part is empty")
        return found

    def _nonce(self, *, last: bool) -> bytes:
        self._number += 1
        return _nonce(self._number - 1, last=last)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")


def _written(stanza: Stanza) -> bytes:
    body = encode(stanza.body)
    lines = [body[at : at + COLUMNS] for at in range(0, len(body) + 1, COLUMNS)]
    return f"-> {' '.join(stanza.arguments)}\n{''.join(f'{it}{chr(10)}' for it in lines)}".encode()


def _stanzas(header: bytes) -> list[Stanza]:
    """Return the stanzas of a header. Raises ``AgeError``."""
    lines = _ascii(header).split("\n")[1:-1]
    found, at = [], 0
    while at < len(lines):
        begin, *arguments = lines[at].split(" ")
        if begin != "->" or not arguments or not all(arguments):
            raise AgeError("its header is damaged")
        at += 1
        body = ""
        while True:
            if at == len(lines) or len(lines[at]) > COLUMNS:
                raise AgeError("its header is damaged")
            line = lines[at]
            body, at = body + line, at + 1
            if len(line) < COLUMNS:
                break
        found.append(Stanza(tuple(arguments), decode(body)))
    if not found:
        raise AgeError("its header is damaged")
    return found


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise AgeError("its header is damaged") from error


def _mac(file_key: bytes, header: bytes) -> bytes:
    return hmac.digest(derive(file_key, b"", b"header"), header, hashlib.sha256)
