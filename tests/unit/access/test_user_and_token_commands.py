"""Commands on users and API tokens."""

from datetime import timedelta

import pytest

from tests.unit.access.conftest import PASSWORD, ROOT
from toban.access import token_commands, user_commands
from toban.access.accounts import TOKEN_FORM
from toban.access.permissions import Permission, Role
from toban.access.sessions import Client
from toban.access.sign_in_commands import SignInError
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.state import audit_log

HERE = Client("192.0.2.7")
WEEK = timedelta(days=7)


async def actions(state):
    return [(it.actor, it.action, it.facts) for it in await state.transaction(audit_log.recent)][::-1]


async def test_every_change_of_a_user_has_its_row_of_the_audit_log(access, state):
    await access.users.add_user("root", Role.ADMIN, PASSWORD, ROOT)
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    await access.users.set_role("ann", Role.OPERATOR, ROOT)
    await access.users.disable("ann", ROOT)
    await access.users.enable("ann", ROOT)
    await access.users.set_password("ann", "a new password", ROOT)
    link = await access.users.link("ann", ROOT)
    found = await actions(state)
    assert [action for _, action, _ in found[1:]] == [
        "added a user",
        "changed the role of a user",
        "disabled a user",
        "enabled a user",
        "set the password of a user",
        "created a one-time link",
    ]
    assert {actor for actor, _, _ in found} == {ROOT}
    assert {facts["user"] for _, _, facts in found[1:]} == {"ann"}
    assert found[1][2]["role"] == "viewer"
    assert not any(secret in str(found) for secret in (PASSWORD, "a new password", link, "argon2"))


async def test_a_name_that_could_be_taken_for_another_is_refused(access):
    """
    None looks like a part of toban, or like another user, or breaks a line of a log.
    """
    parts = ("toban", "TOBAN", "web.token", "anonymous", "SIGHUP", "drill")
    for name in ("", " ", "a b", "a\nb", "a" * 65, "<img>", "名", "-x", "ａｎｎ", *parts):
        with pytest.raises(InvalidCommandError, match="name"):
            await access.users.add_user(name, Role.VIEWER, PASSWORD, ROOT)


async def test_two_users_never_have_the_same_name(access, monkeypatch):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    with pytest.raises(InvalidCommandError, match="user ann exists already"):
        await access.users.add_user("ANN", Role.ADMIN, None, ROOT)
    monkeypatch.setattr(user_commands, "MAX_USERS", 1)
    with pytest.raises(InvalidCommandError, match="there are 1 users already"):
        await access.users.add_user("bob", Role.ADMIN, None, ROOT)


async def test_the_last_admin_stays_admin(access):
    await access.users.add_user("ann", Role.ADMIN, PASSWORD, ROOT)
    await access.users.add_user("bob", Role.ADMIN, PASSWORD, ROOT)
    await access.users.disable("bob", ROOT)
    for attempt in (access.users.disable("ann", ROOT), access.users.set_role("ann", Role.VIEWER, ROOT)):
        with pytest.raises(InvalidCommandError, match="ann is the only admin: make somebody else admin first"):
            await attempt
    await access.users.enable("bob", ROOT)
    await access.users.set_role("ann", Role.VIEWER, ROOT)
    with pytest.raises(InvalidCommandError, match="bob is the only admin"):
        await access.users.disable("bob", ROOT)


@pytest.mark.parametrize("change", ["disable", "set_role", "set_password"])
async def test_sessions_end_when_a_user_is_disabled_or_gets_another_role_or_password(access, change):
    await access.users.add_user("root", Role.ADMIN, PASSWORD, ROOT)
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    secret = await access.sign_in.sign_in("ann", PASSWORD, HERE)
    other = await access.sign_in.sign_in("root", PASSWORD, HERE)
    arguments = {"disable": (), "set_role": (Role.OPERATOR,), "set_password": ("a new password",)}[change]
    await getattr(access.users, change)("ann", *arguments, ROOT)
    assert access.service.session(secret) is None
    assert access.service.session(other)
    await access.users.enable("ann", ROOT)
    assert access.service.session(secret) is None


async def test_a_disabled_user_can_not_sign_in_nor_get_a_link(access):
    await access.users.add_user("root", Role.ADMIN, PASSWORD, ROOT)
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    await access.users.disable("ann", ROOT)
    with pytest.raises(SignInError):
        await access.sign_in.sign_in("ann", PASSWORD, HERE)
    with pytest.raises(InvalidCommandError, match="user ann is disabled"):
        await access.users.link("ann", ROOT)


async def test_unknown_users_and_tokens_are_not_found(access, state):
    for attempt in (
        access.users.disable("x", ROOT),
        access.users.enable("x", ROOT),
        access.users.set_role("x", Role.ADMIN, ROOT),
        access.users.set_password("x", PASSWORD, ROOT),
        access.users.link("x\ud800", ROOT),
        access.tokens.revoke("x", ROOT),
        access.sign_in.end_session("x", ROOT),
        access.sign_in.end_sessions_of("x", ROOT),
    ):
        with pytest.raises(NotFoundError, match="not found"):
            await attempt
    assert await actions(state) == []


async def test_a_token_grants_its_scopes_until_it_is_revoked_or_expires(access, state, clock):
    token, text = await access.tokens.create("ci", {Permission.PUSH}, WEEK, ROOT)
    assert TOKEN_FORM.fullmatch(text)[1] == token.id
    assert access.service.token(text).scopes == {Permission.PUBLIC, Permission.PUSH}
    for wrong in (text[:-1], text + "x", text[:-1] + ("a" if text[-1] != "a" else "b"), text.upper(), "", "tbn__"):
        assert access.service.token(wrong) is None
    forever, other = await access.tokens.create("grafana", {Permission.READ}, None, ROOT)
    clock.advance(WEEK.total_seconds())
    assert access.service.token(text) is None
    assert access.service.token(other).last_used is None
    assert access.service.accounts.tokens[forever.id].last_used == clock.now()
    await access.tokens.revoke(forever.id, ROOT)
    assert access.service.token(other) is None
    found = await actions(state)
    assert [action for _, action, _ in found] == [
        "created an API token",
        "created an API token",
        "revoked an API token",
    ]
    assert found[0][2] == {
        "token": token.id,
        "name": "ci",
        "scopes": ["public", "push"],
        "expires": token.expires.isoformat(),
    }
    assert text not in str(found)


@pytest.mark.parametrize(
    ("name", "scopes", "valid", "error"),
    [
        ("", {Permission.READ}, None, "name: must be the name of the program"),
        ("a\nb", {Permission.READ}, None, "name: must be the name of the program"),
        ("x" * 201, {Permission.READ}, None, "name: has 201 characters"),
        ("x\0", {Permission.READ}, None, "name: contains an invalid character"),
        ("x", set(), None, "scopes: at least one is required"),
        ("x", {Permission.PUBLIC}, None, "scopes: at least one is required"),
        ("x", {Permission.READ}, timedelta(), "expires: must be longer than nothing"),
        ("x", {Permission.READ}, timedelta(days=999_999), "expires: .* out of range"),
        ("taken", {Permission.READ}, None, "name: an API token 'taken' exists already"),
    ],
)
async def test_an_invalid_token_is_refused(access, name, scopes, valid, error):
    await access.tokens.create("taken", {Permission.READ}, None, ROOT)
    with pytest.raises(InvalidCommandError, match=error):
        await access.tokens.create(name, scopes, valid, ROOT)
    assert len(access.service.accounts.tokens) == 1


async def test_tokens_are_bounded(access, monkeypatch):
    monkeypatch.setattr(token_commands, "MAX_TOKENS", 1)
    await access.tokens.create("one", {Permission.READ}, None, ROOT)
    with pytest.raises(InvalidCommandError, match="revoke some of them first"):
        await access.tokens.create("two", {Permission.READ}, None, ROOT)
