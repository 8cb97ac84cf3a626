"""Files in the format of age: what is written can be read, and whatever was changed in between is found."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.needs import need
from toban.core import bech32
from toban.core.age_file import CHUNK, TAG, CutOffError, Decryptor, Encryptor
from toban.core.age_keys import AgeError, Identity, NoKeyError, Passphrase, Recipient, X25519Recipient, identities

KEY = bech32.encode("age-secret-key-", bytes(range(32))).upper()
(IDENTITY,) = identities(f"# created: today\n{KEY}\n")
RECIPIENT = X25519Recipient(IDENTITY.recipient)
(STRANGER,) = identities(bech32.encode("age-secret-key-", bytes(32)))
HEADER_LINES = 4
"""Lines of a header with one public key."""


def encrypted(data: bytes, piece: int = 10_000, recipients: tuple[Recipient, ...] = (RECIPIENT,)) -> bytes:
    encryptor = Encryptor(recipients)
    pieces = [encryptor.update(data[at : at + piece]) for at in range(0, len(data), piece)]
    return b"".join([*pieces, encryptor.finish()])


def decrypted(data: bytes, piece: int = 10_000, identity: Identity = IDENTITY) -> bytes:
    decryptor = Decryptor([identity])
    pieces = [decryptor.update(data[at : at + piece]) for at in range(0, len(data), piece)]
    return b"".join([*pieces, decryptor.finish()])


def payload_begin(data: bytes) -> int:
    return len(b"\n".join(data.split(b"\n", HEADER_LINES)[:HEADER_LINES])) + 1 + 16


SIZES = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 3 * CHUNK), st.integers(1, 3 * CHUNK))
def test_what_is_encrypted_in_pieces_comes_back_in_pieces_of_any_length(size: int, writes: int, reads: int):
    writes, reads = max(writes, size // 50), max(reads, size // 50)
    data = bytes(it % 251 for it in range(size))
    assert decrypted(encrypted(data, writes), reads) == data


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0, 10, CHUNK, CHUNK + 10]), st.data())
def test_a_changed_byte_anywhere_is_found(size: int, data: st.DataObject):
    changed = bytearray(encrypted(b"x" * size))
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.sampled_from([1, 0x80, 0xFF]))
    with pytest.raises(AgeError):
        decrypted(bytes(changed))


@pytest.mark.parametrize("size", [0, 10, CHUNK, CHUNK + 10, 3 * CHUNK])
@pytest.mark.parametrize("cut", [1, TAG, TAG + 1, 30])
def test_a_file_that_is_cut_off_is_said_to_be(size: int, cut: int):
    with pytest.raises(CutOffError, match="cut off"):
        decrypted(encrypted(b"x" * size)[:-cut])


def test_a_file_that_is_cut_off_between_two_chunks_is_said_to_be():
    data = encrypted(b"x" * (2 * CHUNK + 10))
    begin = payload_begin(data)
    with pytest.raises(CutOffError, match="its last part is missing"):
        decrypted(data[: begin + CHUNK + TAG])
    with pytest.raises(CutOffError, match="its last part is missing"):
        decrypted(data[: begin - 20])


def test_chunks_can_not_change_places_nor_be_repeated_or_added():
    data = encrypted(bytes(CHUNK) + b"x" * CHUNK + b"y" * 10)
    begin, chunk = payload_begin(data), CHUNK + TAG
    one, two, last = data[begin : begin + chunk], data[begin + chunk : begin + 2 * chunk], data[begin + 2 * chunk :]
    assert decrypted(data[:begin] + one + two + last)
    for parts in (two + one + last, one + one + two + last, one + two + last + last, one + last):
        with pytest.raises(AgeError):
            decrypted(data[:begin] + parts)


def test_only_the_keys_that_it_is_encrypted_to_open_a_file():
    data = encrypted(b"secret", recipients=(RECIPIENT, X25519Recipient(STRANGER.recipient)))
    assert decrypted(data) == decrypted(data, identity=STRANGER) == b"secret"
    with pytest.raises(NoKeyError, match="it is encrypted to a key that is not here"):
        decrypted(encrypted(b"secret"), identity=STRANGER)
    with pytest.raises(NoKeyError):
        decrypted(encrypted(b"secret"), identity=Passphrase(SecretStr("x")))


def test_only_its_own_passphrase_opens_a_file():
    quick = Passphrase(SecretStr("correct horse"), work=2)
    data = encrypted(b"secret", recipients=(quick,))
    assert decrypted(data, identity=quick) == b"secret"
    with pytest.raises(NoKeyError, match="the passphrase is wrong"):
        decrypted(data, identity=Passphrase(SecretStr("wrong")))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b" 2\n", b" 31\n", "its passphrase wants 2\\^31 of scrypt's work, at most 2\\^18 is done"),
        (b" 2\n", b" 02\n", "its header is damaged"),
        (b" 2\n", b" +2\n", "its header is damaged"),
        (b" 2\n", b"\n", "its header is damaged"),
        (b" 2\n", b" 2 2\n", "its header is damaged"),
    ],
)
def test_the_work_that_a_file_wants_is_limited_and_well_formed(old: bytes, new: bytes, said: str):
    quick = Passphrase(SecretStr("x"), work=2)
    with pytest.raises(AgeError, match=said):
        decrypted(encrypted(b"secret", recipients=(quick,)).replace(old, new, 1), identity=quick)


@pytest.mark.parametrize(
    "header",
    [
        b"age-encryption.org/v2\n-> X25519 x\n",
        b"age-encryption.org/v1\n--- x\n",
        b"age-encryption.org/v1\n->\n\n--- x\n",
        b"age-encryption.org/v1\n-> X25519  x\n\n--- x\n",
        b"age-encryption.org/v1\n-> X25519 x=\nAAAA\n--- x\n",
        b"age-encryption.org/v1\n-> X25519 " + b"A" * 43 + b"\n" + b"A" * 70 + b"\n--- x\n",
        b"age-encryption.org/v1\n-> X25519 " + b"A" * 43 + b"\n--- x\n",
        b"age-encryption.org/v1\n-> \xff\n\n--- x\n",
        b"age-encryption.org/v1\n" + b"-> grease x\n\n" * 10_000,
    ],
)
def test_a_header_that_is_not_well_formed_is_refused(header: bytes):
    with pytest.raises(AgeError):
        decrypted(header + bytes(100))


@pytest.mark.parametrize(
    "text",
    [
        "", "age1", "AGE1QQQ", KEY[:-1], KEY[:-1] + "Q", KEY.lower()[:-3] + KEY[-3:], IDENTITY.recipient,
        bech32.encode("age-secret-key-", bytes(31)), KEY.replace("1", "b", 1),
    ],
)  # fmt: skip
def test_a_text_that_is_no_private_key_is_refused_without_showing_it(text: str):
    with pytest.raises(ValueError, match=r"^it") as raised:
        identities(text)
    assert not text or len(text) < 10 or text not in str(raised.value)


def test_the_program_age_and_toban_read_each_other(tmp_path: Path):
    age = need("age", shutil.which("age"))
    (tmp_path / "key").write_text(KEY)
    for size in (0, 1, CHUNK, CHUNK + 1, 3 * CHUNK):
        data = bytes(it % 251 for it in range(size))
        run = {"capture_output": True, "check": True}
        command = [age, "--decrypt", "--identity", tmp_path / "key"]
        assert subprocess.run(command, input=encrypted(data), **run).stdout == data
        written = subprocess.run([age, "--recipient", IDENTITY.recipient], input=data, **run).stdout
        assert decrypted(written) == data
