"""Challenges and names of passkeys; that whole passkeys work is shown in a real browser (tests/browser)."""

import base64
import json

import pytest
from starlette.requests import Request

from tests.unit.access.conftest import PASSWORD, ROOT
from toban.access import passkeys, repository
from toban.access.accounts import Passkey
from toban.access.passkey_commands import MAX_PASSKEYS
from toban.access.passkeys import CHALLENGE_SECONDS, MAX_CHALLENGES, Challenges, PasskeyError, RelyingParty, Response
from toban.access.permissions import Role
from toban.access.sessions import Client
from toban.access.sign_in_commands import SIGN_INS, ThrottledError
from toban.access.throttle import FREE_FAILURES
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.state import audit_log
from toban.web.pages.relying_party import relying_party

PARTY = RelyingParty("localhost", "http://localhost:9119")
HERE = Client("192.0.2.7")


def encoded(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def response(challenge, key=b"key"):
    """What a browser returns, without a valid signature."""
    client_data = json.dumps({"type": "webauthn.get", "challenge": encoded(challenge), "origin": PARTY.origin})
    fields = {"clientDataJSON": encoded(client_data.encode()), "authenticatorData": "", "signature": ""}
    return json.dumps({"id": encoded(key), "rawId": encoded(key), "type": "public-key", "response": fields})


@pytest.fixture
async def session(access):
    await access.users.add_user("ann", Role.ADMIN, PASSWORD, ROOT)
    return access.service.session(await access.sign_in.sign_in("ann", PASSWORD, HERE))[0]


async def store(access, session, key=b"key", name="phone"):
    """Store a passkey that no device has."""
    passkey = Passkey(encoded(key), session.user, name, encoded(b"public"), 0, session.created)
    await access.service.change(lambda connection: repository.add_passkey(connection, passkey))
    return passkey


def test_a_challenge_counts_once_and_for_its_purpose(clock):
    challenges = Challenges(clock)
    challenge = challenges.new("sign in")
    with pytest.raises(PasskeyError, match="of another page"):
        challenges.redeem(challenge, "add to somebody")
    challenges.redeem(challenge, "sign in")
    with pytest.raises(PasskeyError, match="used already"):
        challenges.redeem(challenge, "sign in")
    with pytest.raises(PasskeyError, match="another start"):
        Challenges(clock).redeem(challenges.new("sign in"), "sign in")


@pytest.mark.parametrize("forged", [b"", b"x", b"\0" * 64, b"\xff" * 100])
def test_a_challenge_can_not_be_made_up(clock, forged):
    with pytest.raises(PasskeyError):
        Challenges(clock).redeem(forged, "sign in")


def test_a_challenge_expires_and_is_forgotten(clock, monkeypatch):
    challenges = Challenges(clock)
    old = challenges.new("sign in")
    clock.advance(CHALLENGE_SECONDS)
    with pytest.raises(PasskeyError, match="expired"):
        challenges.redeem(old, "sign in")
    for _ in range(MAX_CHALLENGES):
        challenges.redeem(challenges.new("sign in"), "sign in")
    with pytest.raises(PasskeyError, match="too many"):
        challenges.redeem(challenges.new("sign in"), "sign in")
    clock.advance(CHALLENGE_SECONDS)
    challenges.redeem(challenges.new("sign in"), "sign in")
    assert len(challenges._used) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '"x"', '{"response": 1}', '{"response": {"clientDataJSON": "e30"}, "rawId": "a"}', "\0"],
)
def test_what_is_no_response_of_a_browser_is_refused(text):
    with pytest.raises(PasskeyError, match="can't be read"):
        Response.of(text)


async def test_a_passkey_without_a_valid_signature_signs_nobody_in(access, session):
    """
    Whether it is known or not; the failures make the next attempt wait, and each is counted.
    """
    await store(access, session)
    for key in (b"key", b"other", b"key", b"other", b"key"):
        options = json.loads(await access.passkeys.request_options(PARTY))
        challenge = base64.urlsafe_b64decode(options["challenge"] + "==")
        with pytest.raises(PasskeyError):
            await access.passkeys.sign_in(response(challenge, key), PARTY, HERE)
    with pytest.raises(ThrottledError):
        await access.passkeys.sign_in("", PARTY, HERE)
    assert FREE_FAILURES == 5
    assert len(access.service.accounts.sessions) == 1


async def test_a_new_passkey_must_be_made_by_the_session_that_asked(access, session):
    options = json.loads(await access.passkeys.creation_options(session, PARTY))
    assert options["user"]["name"] == "ann"
    assert options["authenticatorSelection"] | {"requireResidentKey": True} == options["authenticatorSelection"]
    assert options["authenticatorSelection"]["userVerification"] == "required"
    challenge = base64.urlsafe_b64decode(options["challenge"] + "==")
    other = access.service.session(await access.sign_in.sign_in("ann", PASSWORD, HERE))[0]
    with pytest.raises(PasskeyError, match="of another page"):
        await access.passkeys.add(other, "phone", response(challenge), PARTY, ROOT)
    with pytest.raises(PasskeyError, match="is not accepted"):
        await access.passkeys.add(session, "phone", response(challenge), PARTY, ROOT)
    with pytest.raises(PasskeyError, match="used already"):
        await access.passkeys.add(session, "phone", response(challenge), PARTY, ROOT)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61, "\ud800"])
async def test_a_passkey_has_a_name_in_one_line(access, session, name):
    with pytest.raises(InvalidCommandError) as error:
        await access.passkeys.add(session, name, "", PARTY, ROOT)
    assert error.value.field == "name"


async def test_a_passkey_is_removed_by_its_user_and_by_admins_alone(access, session):
    passkey = await store(access, session)
    bob = await access.users.add_user("bob", Role.VIEWER, PASSWORD, ROOT)
    with pytest.raises(NotFoundError):
        await access.passkeys.remove(passkey.short_id, ROOT, bob.id)
    await access.passkeys.remove(passkey.short_id, ROOT, session.user)
    assert access.service.accounts.passkeys == {}
    again = await store(access, session)
    await access.passkeys.remove(again.short_id, ROOT)
    assert access.service.accounts.passkeys == {}


async def test_whoever_resets_a_password_removes_the_passkeys_too(access, session):
    """
    They may be of whoever had the account; changing one's own password keeps them.
    """
    await store(access, session)
    await access.sign_in.change_own_password(session, PASSWORD, f"{PASSWORD} 2", HERE)
    assert len(access.service.accounts.passkeys) == 1
    await access.users.set_password("ann", PASSWORD, ROOT)
    assert access.service.accounts.passkeys == {}


@pytest.fixture
def signed(access, monkeypatch):
    """Return a function that makes a response whose signature is valid, used for so many times."""

    async def make(key=b"key", uses=1):
        monkeypatch.setattr(passkeys, "verify_use", lambda read, party, passkey: uses)
        options = json.loads(await access.passkeys.request_options(PARTY))
        return response(base64.urlsafe_b64decode(options["challenge"] + "=="), key)

    return make


async def test_a_passkey_begins_a_session_as_a_password_does(access, session, state, clock, meters, signed):
    """
    It counts as given lately; the session that the browser had ends.
    """
    await store(access, session)
    clock.advance(3_600)
    secret = await access.passkeys.sign_in(await signed(), PARTY, Client("192.0.2.9", "Firefox"), session.id)
    [begun] = access.service.accounts.sessions.values()
    assert access.service.session(secret)[1].name == "ann"
    assert (begun.address, begun.agent, access.service.is_confirmed(begun)) == ("192.0.2.9", "Firefox", True)
    [passkey] = access.service.accounts.passkeys.values()
    assert (passkey.uses, passkey.last_used) == (1, clock.now())
    newest = (await state.transaction(audit_log.recent))[0]
    assert (newest.actor.via, newest.action) == ("passkey", "signed in")
    assert meters.value(SIGN_INS, result="success") == 2


async def test_a_response_counts_once(access, session, signed):
    await store(access, session)
    made = await signed()
    await access.passkeys.sign_in(made, PARTY, HERE)
    with pytest.raises(PasskeyError, match="used already"):
        await access.passkeys.sign_in(made, PARTY, HERE)


async def test_a_passkey_of_a_disabled_user_signs_nobody_in(access, session, signed):
    await access.users.add_user("root", Role.ADMIN, PASSWORD, ROOT)
    await store(access, session)
    await access.users.disable("ann", ROOT)
    with pytest.raises(PasskeyError, match="disabled"):
        await access.passkeys.sign_in(await signed(), PARTY, HERE)
    assert access.service.accounts.sessions == {}


async def test_a_user_has_ten_passkeys_at_most(access, session, monkeypatch):
    for number in range(MAX_PASSKEYS):
        await store(access, session, f"key {number}".encode())
    monkeypatch.setattr(passkeys, "verify_creation", lambda read, party: ("new", "public", 0))
    options = json.loads(await access.passkeys.creation_options(session, PARTY))
    assert len(options["excludeCredentials"]) == MAX_PASSKEYS
    made = response(base64.urlsafe_b64decode(options["challenge"] + "=="))
    with pytest.raises(InvalidCommandError, match="you have 10 passkeys already"):
        await access.passkeys.add(session, "phone", made, PARTY, ROOT)


@pytest.mark.parametrize(
    ("host", "address", "found"),
    [
        ("toban.example", "https://toban.example/", ("toban.example", "https://toban.example")),
        ("TOBAN.example", "https://toban.example", ("toban.example", "https://toban.example")),
        ("toban.example:8443", "https://toban.example:8443", ("toban.example", "https://toban.example:8443")),
        ("localhost:9119", "", ("localhost", "http://localhost:9119")),
        ("localhost:9119", "https://toban.example", ("localhost", "http://localhost:9119")),
        ("toban.example", "http://toban.example", None),
        ("other.example", "https://toban.example", None),
        ("192.0.2.7", "https://192.0.2.7", None),
        ("[::1]:9119", "", None),
        ("127.0.0.1:9119", "", None),
        ("", "", None),
    ],
)
def test_passkeys_are_for_a_name_under_https_or_on_this_machine(host, address, found):
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "headers": [(b"host", host.encode())]}
    party = relying_party(Request(scope), address)
    assert (party and (party.id, party.origin)) == found
