"""Users, sessions and tokens in memory and in state."""

from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from tests.unit.access.conftest import PASSWORD, ROOT
from toban.access.accounts import ABSOLUTE, CONFIRMED_FOR, IDLE
from toban.access.assembly import open_access
from toban.access.permissions import Permission, Role
from toban.access.service import MARKER
from toban.access.sessions import Client
from toban.core.errors import StateError

HERE = Client("192.0.2.7")


@pytest.fixture
async def secret(access):
    await access.users.add_user("ann", Role.ADMIN, PASSWORD, ROOT)
    return await access.sign_in.sign_in("ann", PASSWORD, HERE)


def fail(*_):
    raise StateError("the disk is full")


async def test_a_session_ends_twelve_hours_after_its_last_use(access, secret, clock):
    for _ in range(4):
        clock.advance(IDLE.total_seconds() - 1)
        assert access.service.session(secret)
    clock.advance(IDLE.total_seconds())
    assert access.service.session(secret) is None


async def test_a_page_that_is_left_open_does_not_keep_its_session(access, secret, clock):
    clock.advance(IDLE.total_seconds() - 1)
    assert access.service.session(secret, is_use=False)
    clock.advance(1)
    assert access.service.session(secret, is_use=False) is None


async def test_a_session_ends_after_fourteen_days_however_it_is_used(access, secret, clock):
    hours = 0
    while access.service.session(secret):
        clock.advance(3600)
        hours += 1
    assert timedelta(hours=hours) == ABSOLUTE


async def test_a_password_counts_as_given_lately_for_fifteen_minutes(access, secret, clock):
    session, _ = access.service.session(secret)
    assert session.is_confirmed(clock.now())
    clock.advance(CONFIRMED_FOR.total_seconds())
    session, _ = access.service.session(secret)
    assert not session.is_confirmed(clock.now())


async def test_sessions_and_tokens_survive_a_restart(access, secret, state, tmp_path, clock, meters):
    """
    With when they were used last, to the minute.
    """
    _, text = await access.tokens.create("ci", {Permission.PUSH}, None, ROOT)
    clock.advance(3600)
    access.service.session(secret)
    access.service.token(text)
    await access.service._write()
    async with AsyncExitStack() as stack:
        again = await open_access(stack, state, tmp_path, clock, meters)
        assert again.service.accounts == access.service.accounts
        [session] = again.service.accounts.sessions.values()
        [token] = again.service.accounts.tokens.values()
        assert session.last_used == token.last_used == clock.now()
        assert again.service.session(secret)[1].name == "ann"


async def test_a_request_writes_nothing(access, secret, state, monkeypatch):
    monkeypatch.setattr(state, "transaction", fail)
    assert access.service.session(secret)


async def test_who_is_signed_in_stays_so_while_state_is_unavailable(access, secret, state, clock, monkeypatch):
    """
    What was used in the meantime is written later.
    """
    with monkeypatch.context() as broken:
        broken.setattr(state, "transaction", fail)
        clock.advance(60)
        assert access.service.session(secret)
        await access.service._write()
        with pytest.raises(StateError):
            await access.users.disable("ann", ROOT)
        assert access.service.session(secret)
    await access.service._write()
    assert access.service._used_sessions == {}
    assert next(iter(access.service.accounts.sessions.values())).last_used == clock.now()


async def test_nothing_is_written_where_nothing_was_used(access, secret, state, monkeypatch):
    await access.service._write()
    monkeypatch.setattr(state, "transaction", fail)
    await access.service._write()


async def test_what_has_expired_is_deleted(access, secret, clock):
    await access.users.link("ann", ROOT)
    clock.advance(ABSOLUTE.total_seconds())
    await access.service._write()
    assert access.service._accounts.sessions == access.service._accounts.links == {}


async def test_where_state_is_lost_toban_still_knows_that_there_were_users(
    access, secret, tmp_path, state, clock, meters
):
    """
    A database that is created anew does not open toban to everybody.
    """
    assert (tmp_path / MARKER).is_file()
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(state, "transaction", fail)
        async with AsyncExitStack() as stack:
            again = await open_access(stack, state, tmp_path, clock, meters)
            assert again.service.has_users
            assert not again.service.can_sign_in
            assert not again.service.health().ok
            broken.undo()
            await again.service._write()
            assert again.service.session(secret)
            assert again.service.health().ok


async def test_without_users_nothing_is_marked(access, tmp_path):
    assert not access.service.has_users
    assert not (tmp_path / MARKER).exists()
    assert access.service.health().ok
