"""Users, sessions, API tokens and one-time links on both databases."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.fakes import FakeClock
from toban.access import repository
from toban.access.accounts import IDLE, ApiToken, Passkey, Session, SignInLink, User
from toban.access.permissions import Permission, Role
from toban.core.actor import Actor
from toban.core.metric_registry import MetricRegistry
from toban.state import audit_log, quarantine
from toban.state.audit_log import AuditEntry
from toban.state.database import State
from toban.state.schema_version import migrate

AT = datetime(2026, 11, 25, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
ANN = User(0, "ann", Role.OPERATOR, AT, password="$argon2id$…")
TOKEN = ApiToken("abc", "ci", frozenset({Permission.PUBLIC, Permission.PUSH}), "d" * 64, AT, "root", LATER)


async def test_what_is_stored_is_loaded(state):
    def work(connection):
        user = replace(ANN, id=repository.add_user(connection, ANN))
        disabled = replace(user, enabled=False, last_sign_in=LATER, role=Role.ADMIN)
        repository.save_user(connection, disabled)
        session = Session("s" * 64, user.id, AT, AT, AT, "2001:db8::1", "Firefox" * 100)
        repository.save_session(connection, session)
        repository.save_session(connection, replace(session, last_used=LATER))
        repository.add_token(connection, TOKEN)
        for link in (SignInLink("1", None, LATER), SignInLink("2", user.id, LATER), SignInLink("3", user.id, LATER)):
            repository.add_link(connection, link)
        repository.add_identity(connection, "https://login.example", "248289", user.id)
        found = repository.load(connection)
        assert found.identities == {("https://login.example", "248289"): user.id}
        assert found.users == {user.id: disabled}
        assert found.sessions == {"s" * 64: replace(session, last_used=LATER, agent=session.agent[:200])}
        assert found.tokens == {"abc": TOKEN}
        assert sorted(found.links) == ["1", "3"]
        repository.touch(connection, {"s" * 64: LATER + IDLE}, {"abc": LATER}, LATER + IDLE)
        found = repository.load(connection)
        assert (len(found.sessions), found.tokens["abc"].last_used, found.links) == (1, LATER, {})
        repository.touch(connection, {}, {}, LATER + 2 * IDLE)
        repository.delete_token(connection, "abc")
        found = repository.load(connection)
        assert (found.sessions, found.tokens) == ({}, {})

    await state.transaction(work)


async def test_a_name_is_unique_and_an_id_is_never_used_again(state):
    first = await state.transaction(lambda connection: repository.add_user(connection, ANN))
    with pytest.raises(IntegrityError):
        await state.transaction(lambda connection: repository.add_user(connection, ANN))

    def work(connection):
        connection.execute(text("DELETE FROM users"))
        return repository.add_user(connection, ANN)

    assert await state.transaction(work) > first


async def test_a_row_that_can_not_be_read_grants_nothing(state):
    """
    It is kept, and the others are read.
    """

    def broken(connection):
        for name in ("ann", "bob"):
            repository.add_user(connection, replace(ANN, name=name))
        connection.execute(text("UPDATE users SET role = 'emperor' WHERE name = 'ann'"))
        for place in ("a", "b"):
            repository.add_token(connection, replace(TOKEN, id=place))
        connection.execute(text("""UPDATE api_tokens SET scopes = '["everything"]' WHERE id = 'a'"""))
        if connection.dialect.name == "sqlite":
            connection.execute(text("UPDATE users SET created = 'x' WHERE name = 'ann'"))

    await state.transaction(broken)
    found = await state.transaction(repository.load)
    assert [it.name for it in found.users.values()] == ["bob"]
    assert list(found.tokens) == ["b"]
    assert await state.transaction(quarantine.counts) == {"users": 1, "api_tokens": 1}


async def test_rows_of_the_audit_log_from_before_have_no_address(opening, monkeypatch):
    def older(connection):
        migrate(connection, "0013")
        facts = "CAST('{}' AS JSON)" if connection.dialect.name == "postgresql" else "'{}'"
        at = round(AT.timestamp() * 1000)
        values = f"({at}, 'ann', 'expired a silence', {facts}, 'token')"
        connection.execute(text(f"INSERT INTO audit_log (at, actor, action, facts, via) VALUES {values}"))

    with monkeypatch.context() as patched:
        patched.setattr("toban.state.backends.upgrade_schema", lambda _: None)
        async with State(opening(), FakeClock(), MetricRegistry()) as state:
            await state.transaction(older)

    entry = AuditEntry(AT, Actor("ann", "session", "2001:db8::1"), "signed in")
    async with State(opening(), FakeClock(), MetricRegistry()) as state:
        await state.transaction(lambda connection: audit_log.record(connection, entry))
        newest, oldest = await state.transaction(audit_log.recent)
        assert (newest.actor, oldest.actor) == (entry.actor, Actor("ann", "token", ""))
        assert AuditEntry.from_dict(newest.as_dict()).actor == entry.actor


async def test_passkeys_are_stored_used_and_deleted(state):
    def work(connection):
        user = replace(ANN, id=repository.add_user(connection, ANN))
        passkey = Passkey("k" * 1364, user.id, "phone", "p" * 700, 2**32 - 1, AT)
        other = replace(passkey, id="other")
        for it in (passkey, other):
            repository.add_passkey(connection, it)
        used = replace(passkey, uses=7, last_used=LATER)
        repository.use_passkey(connection, used)
        assert repository.load(connection).passkeys == {passkey.id: used, "other": other}
        repository.delete_passkey(connection, "other")
        assert repository.load(connection).passkeys_of(user.id) == [used]
        repository.save_password(connection, user, "$argon2id$", keep_passkeys=True)
        assert repository.load(connection).passkeys
        repository.save_password(connection, user, "$argon2id$")
        assert repository.load(connection).passkeys == {}

    await state.transaction(work)
