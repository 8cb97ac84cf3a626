"""Who a request comes from, by what it shows."""

from functools import partial

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from tests.unit.access.conftest import PASSWORD, ROOT, access, clock, meters, migrated, quick_hashes, state
from toban.access.accounts import CONFIRMED_FOR, IDLE
from toban.access.permissions import EVERYTHING, MACHINE, PUBLIC, Permission, Role
from toban.access.sessions import Client
from toban.core.metric_registry import MetricRegistry
from toban.web.application import _application
from toban.web.auth import NetworkAccess, TrustedAccess
from toban.web.credentials import COOKIE, SECURE_COOKIE, Credentials
from toban.web.endpoint import FORM, Endpoint, principal
from toban.web.live_updates import LiveUpdates
from toban.web.settings import WebSettings

__all__ = ["access", "clock", "meters", "migrated", "quick_hashes", "state"]

HERE = Client("192.0.2.7")
READ = Permission.READ
BROWSER = {"accept": "text/html,*/*;q=0.8"}


async def who(request):
    found = principal(request)
    return PlainTextResponse(f"{found.actor} from {found.actor.address}: {', '.join(sorted(found.permissions))}")


def app() -> Starlette:
    """A route for each permission, as pages and as forms."""
    return _application(
        [Endpoint(f"/{permission}", who, permission, methods=["GET", "POST"], takes=FORM) for permission in Permission]
    )


def client(access, address="http://localhost", peer="192.0.2.7", public="", **settings):
    guarded = NetworkAccess(app(), WebSettings(), MetricRegistry())
    guarded.configure(app(), WebSettings(**settings), ["toban.example"], access and access.service, public)
    transport = httpx2.ASGITransport(guarded, client=(peer, 5000))
    return httpx2.AsyncClient(transport=transport, base_url=address, follow_redirects=False)


@pytest.fixture
async def sessions(access):
    """The cookie's value of a user with each role."""
    for role in Role:
        await access.users.add_user(f"the-{role}", role, PASSWORD, ROOT)
    return {role: await access.sign_in.sign_in(f"the-{role}", PASSWORD, HERE) for role in Role}


def cookie(value, name=COOKIE, **headers):
    return {"cookie": f"{name}={value}", **headers}


async def test_nobody_may_do_everything_on_loopback_until_there_is_a_user(access):
    async with client(access) as http:
        assert (await http.get("/admin")).text.startswith("anonymous (loopback) from 192.0.2.7: act, admin")
        await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
        assert (await http.get("/public")).text == "anonymous (loopback) from 192.0.2.7: public"
        for permission in EVERYTHING - PUBLIC:
            response = await http.get(f"/{permission}")
            assert (response.status_code, response.headers["www-authenticate"]) == (401, 'Bearer realm="toban"')


async def test_nobody_may_do_anything_where_other_machines_reach_toban(access):
    """
    Also before there is a user, and from this machine too.
    """
    async with client(access, "http://0.0.0.0:9119", "127.0.0.1", listen="0.0.0.0:9119") as http:
        assert (await http.get("/public")).status_code == 200
        for permission in EVERYTHING - PUBLIC:
            assert (await http.get(f"/{permission}")).status_code == 401


@pytest.mark.parametrize("role", Role)
async def test_a_session_grants_what_the_role_of_its_user_grants(access, sessions, role):
    async with client(access) as http:
        for permission in Permission:
            response = await http.get(f"/{permission}", headers=cookie(sessions[role]))
            assert response.status_code == (200 if permission in role.permissions else 403)
            if response.status_code == 403:
                assert response.text == f"the-{role} (session) has no permission to {permission} here\n"


async def test_roles_include_each_other():
    assert PUBLIC < Role.VIEWER.permissions < Role.OPERATOR.permissions < Role.ADMIN.permissions == EVERYTHING
    assert READ in Role.VIEWER.permissions
    assert Permission.ADMIN not in Role.OPERATOR.permissions | MACHINE


async def test_the_token_of_the_settings_does_everything_but_let_others_in(access):
    async with client(access, token="hush") as http:
        for permission in Permission:
            response = await http.get(f"/{permission}", headers={"authorization": "Bearer hush"})
            assert response.status_code == (403 if permission is Permission.ADMIN else 200)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),  # a program
        ({"origin": "http://toban.example"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://toban.example:8000"}, 401),
        ({"sec-fetch-site": "none"}, 401),
    ],
)
async def test_a_password_that_a_browser_sends_by_itself_lets_no_page_of_others_act(access, headers, code):
    """
    Under one name another program may serve pages at another port. What those only read the browser keeps from them.
    """
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    async with client(access, "http://toban.example", token="hush", hosts=["toban.example"]) as http:
        basic = {"authorization": "Basic YW55Omh1c2g="}  # any:hush
        assert (await http.post("/act", headers={**basic, **headers})).status_code == code
        assert (await http.get("/act", headers={**basic, **headers})).status_code == 200


async def test_an_api_token_grants_its_scopes(access, sessions):
    """
    And nothing once it is revoked: a browser's session beside it does not count.
    """
    token, text = await access.tokens.create("ci", {Permission.PUSH}, None, ROOT)
    shown = {"authorization": f"Bearer {text}"}
    async with client(access) as http:
        assert (await http.get("/push", headers=shown)).text == "ci (API token) from 192.0.2.7: public, push"
        response = await http.get("/read", headers=shown)
        assert (response.status_code, response.text) == (403, "ci (API token) has no permission to read here\n")
        await access.tokens.revoke(token.id, ROOT)
        assert (await http.get("/push", headers=shown)).status_code == 401
        assert (await http.get("/read", headers=shown | cookie(sessions[Role.ADMIN]))).status_code == 401


async def test_a_revoked_token_is_nobody_also_where_everybody_may_do_everything(access):
    _, text = await access.tokens.create("ci", {Permission.PUSH}, None, ROOT)
    async with client(access) as http:
        assert (await http.get("/act", headers={"authorization": f"Bearer {text}x"})).status_code == 401
        assert (await http.get("/act", headers={"authorization": "Bearer of-something-else"})).status_code == 200


async def test_tokens_count_in_the_header_alone(access, sessions):
    """
    Not in addresses, which logs keep.
    """
    _, text = await access.tokens.create("ci", {READ}, None, ROOT)
    async with client(access) as http:
        for query in (f"token={text}", f"access_token={text}", f"{COOKIE}={sessions[Role.ADMIN]}"):
            assert (await http.get(f"/read?{query}")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://localhost"}, 200),
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, 200),
        ({}, 401),
        ({"sec-fetch-site": "none"}, 401),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "none", "origin": "http://localhost"}, 401),
        ({"origin": "http://localhost:8080"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://toban.example:8080"}, 401),
        ({"origin": "https://toban.example"}, 200),
    ],
)
async def test_a_cookie_counts_for_changes_only_where_toban_s_own_page_sends_them(access, sessions, headers, status):
    """
    Other programs at other ports of a name get the same cookies.
    """
    async with client(access) as http:
        response = await http.post("/act", headers=cookie(sessions[Role.OPERATOR], **headers))
        assert response.status_code == status


@pytest.mark.parametrize("forged", ["x-forwarded-host", "x-forwarded-proto", "forwarded", "x-real-ip", "remote-user"])
async def test_forwarded_headers_are_believed_by_nobody(access, sessions, forged):
    """
    Uptime Kuma believed `X-Forwarded-Host`.
    """
    async with client(access) as http:
        headers = {"origin": "http://evil.example", forged: "evil.example"}
        assert (await http.post("/act", headers=cookie(sessions[Role.ADMIN], **headers))).status_code == 403
        assert (await http.get("/read", headers={forged: "the-admin"})).status_code == 401


async def test_under_an_https_address_the_cookie_belongs_to_this_host_alone(access, sessions):
    """
    The other name does not count there, for other hosts of the domain can set it.
    """
    secret = sessions[Role.VIEWER]
    async with client(access, "http://toban.example", public="https://toban.example/") as http:
        assert (await http.get("/read", headers=cookie(secret, SECURE_COOKIE))).status_code == 200
        assert (await http.get("/read", headers=cookie(secret))).status_code == 401
    async with client(access, public="https://toban.example/") as http:
        assert (await http.get("/read", headers=cookie(secret))).status_code == 200
        assert (await http.get("/read", headers=cookie(secret, SECURE_COOKIE))).status_code == 401


async def test_two_different_cookies_are_none(access, sessions):
    async with client(access) as http:
        both = f"{COOKIE}={sessions[Role.VIEWER]}; {COOKIE}={sessions[Role.ADMIN]}"
        assert (await http.get("/read", headers={"cookie": both})).status_code == 401


@pytest.mark.parametrize("value", ["", "x", "\x80", "a" * 10_000, '"', "=;="])
async def test_a_cookie_that_is_no_session_is_nobody(access, sessions, value):
    async with client(access) as http:
        headers = [(b"cookie", f"{COOKIE}={value}".encode("latin-1"))]
        assert (await http.get("/read", headers=headers)).status_code == 401


async def test_what_only_admins_may_do_takes_a_password_of_the_last_15_minutes(access, sessions, clock):
    """
    Else 403 in words; a browser is led to the page for it. An API token is exempt.
    """
    clock.advance(CONFIRMED_FOR.total_seconds())
    shown = cookie(sessions[Role.ADMIN])
    _, text = await access.tokens.create("terraform", {Permission.ADMIN}, None, ROOT)
    async with client(access) as http:
        response = await http.get("/admin", headers=shown)
        assert response.status_code == 403
        assert "Give your password again at /sign-in?again" in response.text
        response = await http.get("/admin?x=1", headers=shown | BROWSER)
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in?again&next=%2Fadmin%3Fx%3D1")
        response = await http.post("/admin", headers=shown | BROWSER | {"sec-fetch-site": "same-origin"})
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in?again")
        assert (await http.get("/act", headers=shown)).status_code == 200
        assert (await http.get("/admin", headers={"authorization": f"Bearer {text}"})).status_code == 200


async def test_a_browser_is_led_to_the_sign_in_and_back(access, sessions):
    async with client(access) as http:
        response = await http.get("/read?range=6h&q=a%26b", headers=BROWSER)
        assert response.status_code == 303
        assert response.headers["location"] == "/sign-in?next=%2Fread%3Frange%3D6h%26q%3Da%2526b"
        assert (await http.get("/read")).status_code == 401
        part = await http.get("/read", headers=BROWSER | {"hx-request": "true"})
        assert (part.status_code, part.headers["hx-refresh"]) == (401, "true")
        forbidden = await http.get("/admin", headers=cookie(sessions[Role.VIEWER]) | BROWSER)
        assert forbidden.status_code == 403
        assert "the-viewer" in forbidden.text


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("198.51.100.1", ["192.0.2.7"], "198.51.100.1"),
        ("10.0.0.2", ["192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.0.0.2", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.2", ["192.0.2.99, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.2", ["192.0.2.99", "192.0.2.7, 10.0.0.3"], "192.0.2.7"),
        ("10.0.0.2", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.2", ["unknown"], "10.0.0.2"),
        ("10.0.0.2", ["192.0.2.99, rubbish"], "10.0.0.2"),
        ("10.0.0.2", ["10.0.0.4"], "10.0.0.2"),
        ("10.0.0.2", [], "10.0.0.2"),
    ],
)
async def test_a_trusted_proxy_names_the_client(peer, forwarded, address):
    """
    The last address that no trusted proxy has: what stands before it the client may have written.
    """
    async with client(None, peer=peer, trusted_proxies=["10.0.0.0/8"]) as http:
        headers = [("x-forwarded-for", it) for it in forwarded]
        assert f"from {address}:" in (await http.get("/public", headers=headers)).text


async def test_the_header_that_names_the_client_is_a_setting():
    async with client(
        None, peer="172.16.0.1", trusted_proxies=["172.16.0.0/12"], client_address_header="Fly-Client-IP"
    ) as http:
        headers = {"x-forwarded-for": "203.0.113.1", "fly-client-ip": "192.0.2.7"}
        assert "from 192.0.2.7:" in (await http.get("/public", headers=headers)).text


async def test_the_socket_in_the_data_folder_may_do_everything():
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(TrustedAccess(app())), base_url="http://toban"
    ) as http:
        for permission in Permission:
            assert (await http.post(f"/{permission}")).status_code == 200


def test_a_connection_without_an_address_has_none():
    assert Credentials(WebSettings(), None, "").client_address({"client": None}, None) == ""


@pytest.mark.parametrize("shown", ["session", "API token", "nothing"])
async def test_a_stream_of_events_ends_with_what_it_was_opened_with(access, clock, shown):
    """
    With the session, with the token, and with the time in which everybody could read.
    """
    token, text = await access.tokens.create("wall", {READ}, None, ROOT)
    headers = Headers({"authorization": f"Bearer {text}"} if shown == "API token" else {})
    if shown == "session":
        await access.users.add_user("root", Role.ADMIN, PASSWORD, ROOT)
        await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
        headers = Headers(cookie(await access.sign_in.sign_in("ann", PASSWORD, HERE)))
    credentials = Credentials(WebSettings(), access.service, "")
    scope = {"type": "http", "method": "GET", "client": ("192.0.2.7", 1), "query_string": b""}
    authenticate = partial(credentials.principal, scope, headers, "localhost", is_same_origin=False)
    versions = {"alerts": 0}
    updates = LiveUpdates(lambda: dict(versions), clock)
    stream = updates._events(Request({**scope, "state": {"authenticate": authenticate}}))
    assert await anext(stream) == "retry: 2000\n\n"
    versions["alerts"] = 1
    assert await anext(stream) == "event: changed\ndata: alerts\n\n"
    if shown == "session":
        await access.users.set_role("ann", Role.OPERATOR, ROOT)
    elif shown == "API token":
        await access.tokens.revoke(token.id, ROOT)
    else:
        await access.users.add_user("ann", Role.ADMIN, PASSWORD, ROOT)
    versions["alerts"] = 2
    assert [event async for event in stream] == []


async def test_only_requests_of_somebody_are_a_use_of_the_session(access, sessions, clock):
    """
    What an open page sends by itself, and a stream of events, are none: the session ends beside them.
    """
    shown = cookie(sessions[Role.VIEWER])
    by_itself = [{"x-toban-background": "1"}, {"accept": "text/html, text/event-stream"}]
    async with client(access) as asked:
        for headers in by_itself:
            clock.advance(IDLE.total_seconds() / 3)
            assert (await asked.get("/read", headers=shown | headers)).status_code == 200
        assert (await asked.get("/read", headers=shown)).status_code == 200
        clock.advance(IDLE.total_seconds() / 2)
        assert (await asked.get("/read", headers=shown | by_itself[0])).status_code == 200
        clock.advance(IDLE.total_seconds() / 2)
        assert (await asked.get("/read", headers=shown)).status_code == 401


@pytest.mark.parametrize(("role", "is_limited"), [(Role.OPERATOR, True), (Role.ADMIN, False)])
async def test_who_may_not_configure_is_limited_to_what_ends_by_itself(access, sessions, clock, role, is_limited):
    """
    An admin whose password is old is not.
    """
    clock.advance(CONFIRMED_FOR.total_seconds())
    _, act = await access.tokens.create("act", {Permission.ACT}, None, ROOT)
    _, both = await access.tokens.create("both", {Permission.ACT, Permission.CONFIGURE}, None, ROOT)
    credentials = Credentials(WebSettings(), access.service, "")
    scope = {"type": "http", "method": "GET", "client": None}
    shown = {
        cookie(sessions[role])["cookie"]: is_limited,
        f"Bearer {act}": True,
        f"Bearer {both}": False,
    }
    for value, expected in shown.items():
        headers = Headers({"authorization" if value.startswith("Bearer") else "cookie": value})
        found = credentials.principal(scope, headers, "localhost", is_same_origin=False)
        assert found.actor.is_limited is expected
