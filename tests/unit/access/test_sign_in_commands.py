"""Signing in and out, and one-time links."""

import asyncio

import pytest

from tests.unit.access.conftest import PASSWORD, ROOT
from toban.access import passwords
from toban.access.accounts import LINK_VALID
from toban.access.passwords import UNKNOWN_USER, BusyError
from toban.access.permissions import Role
from toban.access.sessions import MAX_SESSIONS, Client
from toban.access.sign_in_commands import SIGN_INS, SignInError, ThrottledError
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.state import audit_log

HERE = Client("192.0.2.7", "Firefox")
ELSEWHERE = Client("198.51.100.1")


@pytest.fixture
async def ann(access):
    return await access.users.add_user("Ann", Role.OPERATOR, PASSWORD, ROOT)


async def audit(state):
    return [(str(it.actor), it.actor.address, it.action) for it in await state.transaction(audit_log.recent)][::-1]


async def test_a_sign_in_begins_a_session(access, ann, state, meters):
    secret = await access.sign_in.sign_in(" ANN ", PASSWORD, HERE)
    session, user = access.service.session(secret)
    assert (user.name, user.role, session.address, session.agent) == ("ann", Role.OPERATOR, "192.0.2.7", "Firefox")
    assert secret not in repr(access.service.accounts)
    assert user.last_sign_in == session.created
    assert (await audit(state))[-1] == ("ann (session)", "192.0.2.7", "signed in")
    assert meters.value(SIGN_INS, result="success") == 1


async def test_every_sign_in_has_a_session_of_its_own_and_ends_the_one_that_the_browser_had(access, ann):
    first = await access.sign_in.sign_in("ann", PASSWORD, HERE)
    other = await access.sign_in.sign_in("ann", PASSWORD, ELSEWHERE)
    session, _ = access.service.session(first)
    second = await access.sign_in.sign_in("ann", PASSWORD, HERE, session.id)
    assert access.service.session(first) is None
    assert len({first, second, other}) == 3
    assert {it.address for it in access.service.accounts.sessions_of(ann.id)} == {"192.0.2.7", "198.51.100.1"}


async def test_an_unknown_user_costs_the_same_work_and_gets_the_same_words(access, ann, state, monkeypatch):
    """
    Also one who is disabled or has no password yet: counted are the hashes that are computed.
    """
    await access.users.add_user("bob", Role.ADMIN, PASSWORD, ROOT)
    await access.users.disable("ann", ROOT)
    await access.users.add_user("new", Role.VIEWER, None, ROOT)
    hasher, calls = passwords._hasher(), []

    class Counting:
        def verify(self, stored, password):
            calls.append(stored)
            return hasher.verify(stored, password)

    monkeypatch.setattr(passwords, "_hasher", Counting)
    words = set()
    for name in ("bob", "ann", "new", "nobody", "x" * 100_000, "\0"):
        with pytest.raises(SignInError) as error:
            await access.sign_in.sign_in(name, "a wrong password", Client(f"192.0.2.{len(calls)}"))
        words.add(str(error.value))
    assert len(words) == 1
    assert len(calls) == 6
    assert calls[1:] == [UNKNOWN_USER] * 5
    assert calls[0] != UNKNOWN_USER


async def test_failures_are_in_the_audit_log_of_known_users_alone(access, ann, state):
    """
    What is typed as a name may be a password.
    """
    for name in ("ann", PASSWORD):
        with pytest.raises(SignInError):
            await access.sign_in.sign_in(name, "a wrong password", HERE)
    assert (await audit(state))[1:] == [("ann (failed sign-in)", "192.0.2.7", "failed to sign in")]


async def test_after_five_failures_the_right_password_waits_too(access, ann, clock, meters):
    for _ in range(5):
        with pytest.raises(SignInError):
            await access.sign_in.sign_in("ann", "a wrong password", HERE)
    with pytest.raises(ThrottledError, match="retry in 1 seconds"):
        await access.sign_in.sign_in("ann", PASSWORD, HERE)
    clock.advance(1)
    assert await access.sign_in.sign_in("ann", PASSWORD, HERE)
    assert meters.value(SIGN_INS, result="throttled") == 1
    assert meters.value(SIGN_INS, result="failed") == 5


async def test_of_many_sign_ins_at_once_six_are_verified(access, ann, meters):
    """
    The rest is told to retry, and holds no memory.
    """
    attempts = [access.sign_in.sign_in("ann", PASSWORD, Client(f"192.0.2.{place}")) for place in range(200)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    signed_in = [it for it in results if isinstance(it, str)]
    assert 1 <= len(signed_in) <= 6
    assert all(isinstance(it, str | BusyError | ThrottledError) for it in results)
    assert len(access.service.accounts.sessions) == len(signed_in)


async def test_attempts_of_many_users_at_once_do_not_share_a_result(access):
    """
    CVE-2022-46146: there is no cache in which one's success becomes another's.
    """
    await access.users.add_user("one", Role.VIEWER, "the password of one", ROOT)
    await access.users.add_user("two", Role.ADMIN, "the password of two", ROOT)
    results = await asyncio.gather(
        access.sign_in.sign_in("one", "the password of one", HERE),
        access.sign_in.sign_in("two", "the password of one", ELSEWHERE),
        access.sign_in.sign_in("on", "ethe password of one", Client("192.0.2.9")),
        return_exceptions=True,
    )
    assert [type(it) for it in results] == [str, SignInError, SignInError]


async def test_a_password_that_changes_while_it_is_verified_begins_no_session(access, ann, monkeypatch):
    verify = access.sign_in._passwords.verify

    async def slow(stored, password):
        await access.users.set_password("ann", "another password", ROOT)
        return await verify(stored, password)

    monkeypatch.setattr(access.sign_in._passwords, "verify", slow)
    with pytest.raises(SignInError):
        await access.sign_in.sign_in("ann", PASSWORD, HERE)
    assert access.service.accounts.sessions == {}


async def test_a_hash_of_older_parameters_is_replaced_at_the_next_sign_in(access, ann, monkeypatch):
    monkeypatch.setattr(passwords, "TIME_COST", 2)
    passwords._hasher.cache_clear()
    await access.sign_in.sign_in("ann", PASSWORD, HERE)
    assert "t=2," in access.service.accounts.user("ann").password
    assert await access.sign_in.sign_in("ann", PASSWORD, HERE)


async def test_a_user_has_a_limited_number_of_sessions(access, ann, clock):
    secrets = []
    for _ in range(MAX_SESSIONS + 2):
        secrets.append(await access.sign_in.sign_in("ann", PASSWORD, HERE))
        clock.advance(60)
    assert [access.service.session(it) is None for it in secrets] == [True] * 2 + [False] * MAX_SESSIONS


async def test_signing_out_ends_the_session(access, ann, state):
    secret = await access.sign_in.sign_in("ann", PASSWORD, HERE)
    session, _ = access.service.session(secret)
    await access.sign_in.sign_out(session, Actor("ann", "session", "192.0.2.7"))
    assert access.service.session(secret) is None
    assert (await audit(state))[-1][2] == "signed out"


async def test_a_one_time_link_sets_the_password_once(access, ann, state):
    old = await access.sign_in.sign_in("ann", PASSWORD, HERE)
    link = await access.users.link("ann", ROOT)
    assert access.sign_in.link_user(link) == "ann"
    secret = await access.sign_in.redeem(link, "", "a new password", HERE)
    assert access.service.session(secret)[1].name == "ann"
    assert access.service.session(old) is None
    with pytest.raises(NotFoundError, match="used already"):
        await access.sign_in.redeem(link, "", "a new password", HERE)
    with pytest.raises(SignInError):
        await access.sign_in.sign_in("ann", PASSWORD, HERE)
    assert await access.sign_in.sign_in("ann", "a new password", HERE)
    assert ("ann (one-time link)", "192.0.2.7", "set the password of a user") in await audit(state)


async def test_one_link_redeemed_twice_at_once_counts_once(access, ann):
    link = await access.users.link("ann", ROOT)
    attempts = [access.sign_in.redeem(link, "", f"a new password {place}", HERE) for place in range(2)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(it).__name__ for it in results) == ["NotFoundError", "str"]


async def test_a_link_ends_after_15_minutes_and_by_the_next_one_and_with_its_user(access, ann, clock):
    await access.users.add_user("root", Role.ADMIN, PASSWORD, ROOT)
    first = await access.users.link("ann", ROOT)
    second = await access.users.link("ann", ROOT)
    await access.users.disable("ann", ROOT)
    await access.users.enable("ann", ROOT)
    third = await access.users.link("ann", ROOT)
    clock.advance(LINK_VALID.total_seconds())
    for link in (first, second, third, ""):
        with pytest.raises(NotFoundError):
            await access.sign_in.redeem(link, "", "a new password", HERE)


async def test_the_first_admin_is_made_by_a_link(access, state):
    link = await access.users.first_admin_link(ROOT)
    with pytest.raises(InvalidCommandError, match="name"):
        await access.sign_in.redeem(link, "toban", PASSWORD, HERE)
    with pytest.raises(InvalidCommandError, match="password"):
        await access.sign_in.redeem(link, "ann", "short", HERE)
    secret = await access.sign_in.redeem(link, "ann", PASSWORD, HERE)
    _, user = access.service.session(secret)
    assert (user.name, user.role) == ("ann", Role.ADMIN)
    assert [it[2] for it in await audit(state)] == [
        "created a one-time link for the first admin",
        "added a user",
        "signed in",
    ]


async def test_the_link_for_the_first_admin_is_worthless_once_there_is_a_user(access):
    link = await access.users.first_admin_link(ROOT)
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    with pytest.raises(NotFoundError):
        await access.sign_in.redeem(link, "eve", PASSWORD, HERE)
    other = await access.users.first_admin_link(ROOT)
    with pytest.raises(NotFoundError):
        await access.sign_in.redeem(other, "eve", PASSWORD, HERE)


async def test_changing_the_own_password_takes_the_current_one_and_ends_all_other_sessions(access, ann):
    secret = await access.sign_in.sign_in("ann", PASSWORD, HERE)
    other = await access.sign_in.sign_in("ann", PASSWORD, ELSEWHERE)
    session, _ = access.service.session(secret)
    with pytest.raises(SignInError):
        await access.sign_in.change_own_password(session, "a wrong password", "a new password", HERE)
    with pytest.raises(InvalidCommandError, match="at least 12"):
        await access.sign_in.change_own_password(session, PASSWORD, "short", HERE)
    left = await access.sign_in.change_own_password(session, PASSWORD, "a new password", HERE)
    assert access.service.session(secret) is access.service.session(other) is None
    assert access.service.session(left)[1].name == "ann"


async def test_nobody_ends_the_session_of_another_user(access, ann):
    bob = await access.users.add_user("bob", Role.VIEWER, PASSWORD, ROOT)
    secret = await access.sign_in.sign_in("ann", PASSWORD, HERE)
    session, _ = access.service.session(secret)
    with pytest.raises(NotFoundError, match="may have ended"):
        await access.sign_in.end_session(session.short_id, ROOT, bob.id)
    await access.sign_in.end_session(session.short_id, ROOT, ann.id)
    assert access.service.session(secret) is None
