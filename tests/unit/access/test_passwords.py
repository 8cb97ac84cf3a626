"""Hashes of passwords."""

import asyncio
import threading
import unicodedata

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from toban.access import passwords
from toban.access.passwords import MAX_WAITING, UNKNOWN_USER, BusyError, Passwords, checked_password
from toban.core.errors import InvalidCommandError


@pytest.fixture
def hashing():
    found = Passwords()
    yield found
    found.close()


def test_hashes_are_argon2id_with_the_minimum_that_owasp_gives():
    """
    Also the one that the password of an unknown user is compared to: it takes the same time.
    """
    found = extract_parameters(UNKNOWN_USER)
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 19_456, 2, 1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x" * 11, "password: has 11 characters: at least 12 are required"),
        ("x" * 129, "password: has 129 characters: at most 128"),
        ("x" * 12 + "\0", "invalid character"),
        ("x" * 12 + "\ud800", "invalid character"),
    ],
)
def test_a_password_has_12_to_128_characters(text, error):
    with pytest.raises(InvalidCommandError, match=error):
        checked_password(text)


def test_nothing_else_is_demanded_of_a_password():
    for text in ("x" * 12, "パスワードは長いほうがよい", "a b c d e f g", "x" * 128):
        assert checked_password(text) == text


async def test_a_password_is_the_same_however_its_characters_are_composed(hashing):
    composed = "パスワードが長い、とても長い é"
    stored = await hashing.hash(composed)
    assert await hashing.verify(stored, unicodedata.normalize("NFD", composed))
    assert not await hashing.verify(stored, composed + "x")


@pytest.mark.parametrize("password", ["", "x" * 129, "x" * 1_000_000, "\0", "\ud800", "no password"])
async def test_nothing_fits_a_user_who_is_unknown_or_has_no_password(hashing, password):
    assert not await hashing.verify("", password)


async def test_a_stored_hash_that_is_none_fits_nothing(hashing):
    assert not await hashing.verify("$argon2id$rubbish", "correct horse battery")


async def test_a_hash_with_other_parameters_is_made_anew(hashing):
    assert hashing.needs_rehash(PasswordHasher(1, 16, 1).hash("x"))
    assert not hashing.needs_rehash(await hashing.hash("x"))


async def test_one_hash_is_computed_at_a_time_and_five_wait(hashing, monkeypatch):
    """
    Whether those who asked still wait for the result or not: 200 sign-ins at once stay within the memory of one.
    """
    running, most, go = [], [], threading.Event()

    class Slow:
        def verify(self, stored, password):
            running.append(1)
            most.append(len(running))
            go.wait(10)
            running.pop()
            return True

    monkeypatch.setattr(passwords, "_hasher", Slow)
    tasks = [asyncio.create_task(hashing.verify("x", "y")) for _ in range(200)]
    await asyncio.sleep(0)
    assert hashing.is_busy
    tasks[0].cancel()  # this client has gone, its hash is being computed nevertheless
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="retry in 2 seconds"):
        await hashing.verify("x", "y")
    go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results.count(True) == MAX_WAITING
    assert sum(isinstance(it, BusyError) for it in results) == 200 - MAX_WAITING - 1
    assert max(most) == 1
    assert not hashing.is_busy
