"""Pages for signing in, for one-time links, for the own account, and for users and API tokens."""

import re
from html import unescape

import httpx2
import pytest

from tests.unit.access.conftest import PASSWORD, ROOT, access, clock, meters, migrated, quick_hashes, state
from toban.access.accounts import CONFIRMED_FOR, TOKEN_FORM
from toban.access.permissions import Permission, Role
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.web.application import _application
from toban.web.auth import NetworkAccess
from toban.web.pages.preferences import local_path
from toban.web.pages.sign_in import SignInPages
from toban.web.pages.users import UsersPages
from toban.web.settings import WebSettings
from toban.web.static_files import route

__all__ = ["access", "clock", "meters", "migrated", "quick_hashes", "state"]

BROWSER = {
    "accept": "text/html",
    "origin": "http://localhost",
    "sec-fetch-site": "same-origin",
    "user-agent": "Firefox",
}
EVIL = "<img src=x onerror=alert(1)>"


def browser(access, clock, public="", **settings):
    app = _application([*SignInPages(access).routes(), *UsersPages(access, public, clock).routes(), route()])
    guarded = NetworkAccess(app, WebSettings(), MetricRegistry())
    guarded.configure(app, WebSettings(**settings), ["toban.example"], access.service, public)
    transport = httpx2.ASGITransport(guarded, client=("192.0.2.7", 5000))
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=BROWSER)


@pytest.fixture
async def client(access, clock):
    async with browser(access, clock) as client:
        yield client


async def sign_in(client, name="ann", password=PASSWORD, query=""):
    return await client.post(f"/sign-in{query}", data={"name": name, "password": password})


@pytest.fixture
async def admin(access, client):
    """A browser that an admin has signed in with."""
    await access.users.add_user("ann", Role.ADMIN, PASSWORD, ROOT)
    assert (await sign_in(client)).status_code == 303
    return client


def shown_secret(response):
    """Return what a page shows this once."""
    return unescape(re.search(r'class="secret" value="([^"]*)"', response.text)[1])


async def test_signing_in_leads_back_and_sets_a_cookie_that_scripts_can_not_read(access, client):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    page = await client.get("/account?x=1")
    assert page.headers["location"] == "/sign-in?next=%2Faccount%3Fx%3D1"
    form = await client.get(page.headers["location"])
    assert 'action="/sign-in?next=%2Faccount%3Fx%3D1"' in form.text
    assert 'autocomplete="username"' in form.text
    assert 'autocomplete="current-password"' in form.text
    response = await sign_in(client, query="?next=%2Faccount%3Fx%3D1")
    assert (response.status_code, response.headers["location"]) == (303, "/account?x=1")
    cookie = response.headers["set-cookie"]
    assert re.fullmatch(r"toban_session=[\w-]{43}; HttpOnly; Max-Age=1209600; Path=/; SameSite=lax", cookie), cookie
    page = await client.get("/account")
    assert "Signed in as ann (viewer)." in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "cookie" in page.headers["vary"]


async def test_under_an_https_address_the_cookie_is_secure_and_of_this_host(access, clock):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    async with browser(access, clock, public="https://toban.example") as client:
        headers = {"host": "toban.example", "origin": "https://toban.example"}
        response = await client.post("/sign-in", data={"name": "ann", "password": PASSWORD}, headers=headers)
        cookie = response.headers["set-cookie"]
        assert re.fullmatch(r"__Host-toban=\S+; HttpOnly; Max-Age=1209600; Path=/; SameSite=lax; Secure", cookie)
        assert "Domain" not in cookie


@pytest.mark.parametrize(
    "target",
    [
        "//evil", "/\\evil", "/%2f%2fevil", "/%2fevil", "/%5cevil", "/%255Cevil", "/%252fevil", "https://evil", "evil",
        "", "javascript:alert(1)", "/\tevil", "/\n/evil", "\\\\evil", "http:/evil", "/a\r\nset-cookie: x=y", "/\x00",
        "///evil", "/ok\\..\\evil", "/..%5c..%5cevil", "/%0d%0aset-cookie:x",
    ],
)  # fmt: skip
async def test_signing_in_leads_to_no_other_site(target):
    """
    CVE-2021-29622, CVE-2025-4123.
    """
    assert local_path(target) == "/"


@pytest.mark.parametrize("target", ["/", "/account", "/dashboards/api?from=now-6h&query=a%2Fb%5C//x", "/x/%E3%83%9A"])
async def test_signing_in_leads_to_any_path_of_toban(target):
    assert local_path(target) == target


async def test_a_redirect_to_another_site_is_refused_before_and_after_the_sign_in(access, admin):
    for query in ("?next=%2F%2Fevil.example", "?next=https://evil.example", "?next=%2F%5Cevil.example"):
        assert (await admin.get(f"/sign-in{query}")).headers["location"] == "/"
        assert (await sign_in(admin, query=query)).headers["location"] == "/"


async def test_a_wrong_password_says_the_same_for_every_name(access, client):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    for name in ("ann", "nobody", EVIL):
        response = await sign_in(client, name, "a wrong password")
        assert response.status_code == 400
        assert "The name or the password is wrong." in response.text
        assert "<img" not in response.text
        assert "a wrong password" not in response.text
    assert client.cookies == {}


async def test_too_many_failures_are_told_when_to_retry(access, client, clock):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    for _ in range(5):
        await sign_in(client, password="a wrong password")
    clock.advance(0.5)
    response = await sign_in(client)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert "Try again in 1 seconds." in response.text


async def test_pages_speak_the_reader_s_language(access, client):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    response = await client.post("/sign-in", data={"name": "ann", "password": "x"}, headers={"accept-language": "ja"})
    assert "ユーザー名またはパスワードが正しくありません。" in response.text


async def test_while_state_is_unavailable_signing_in_says_so(access, client, state, monkeypatch):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)

    async def fail(_):
        raise StateError("the disk is full")

    monkeypatch.setattr(state, "transaction", fail)
    response = await sign_in(client)
    assert response.status_code == 503
    assert "can&#39;t read or write its database" in response.text


async def test_signing_out_ends_the_session_and_takes_the_cookie(access, admin):
    value = admin.cookies["toban_session"]
    response = await admin.post("/sign-out")
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert re.match(r'toban_session=""; .*HttpOnly; Max-Age=0; Path=/', response.headers["set-cookie"])
    assert access.service.session(value) is None
    assert (await admin.get("/account")).status_code == 303
    assert (await admin.get("/sign-out")).status_code == 405


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/account/password", "/users/add", "/welcome/x"])
async def test_forms_of_other_sites_are_refused(admin, path):
    """
    Signing somebody in under another name included.
    """
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
        response = await admin.post(path, data={"name": "eve", "password": PASSWORD}, headers=headers)
        assert response.status_code == 403
    assert (await admin.post(path, json={"name": "eve"})).status_code == 415


async def test_a_one_time_link_is_not_used_up_by_looking_at_it(access, client):
    """
    As mail scanners and previews of messengers do.
    """
    await access.users.add_user("ann", Role.VIEWER, None, ROOT)
    link = await access.users.link("ann", ROOT)
    for _ in range(3):
        page = await client.get(f"/welcome/{link}")
        assert page.status_code == 200
        assert re.search(r'name="name" type="text" value="ann"[^>]* readonly', page.text)
        assert 'autocomplete="new-password"' in page.text
        assert page.headers["referrer-policy"] == "same-origin"
    for password, repeated, words in (
        ("short", "short", "At least 12 characters"),
        (PASSWORD, PASSWORD + "x", "This is not the same password."),
    ):
        response = await client.post(f"/welcome/{link}", data={"password": password, "repeated": repeated})
        assert (response.status_code, words in response.text) == (400, True)
    response = await client.post(f"/welcome/{link}", data={"password": PASSWORD, "repeated": PASSWORD})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert "Signed in as ann" in (await client.get("/account")).text
    for response in (
        await client.get(f"/welcome/{link}"),
        await client.post(f"/welcome/{link}", data={"password": PASSWORD, "repeated": PASSWORD}),
        await client.get("/welcome/%7Bsecret%7D"),
        await client.get("/welcome/:secret"),
    ):
        assert response.status_code == 404
        assert "This link is not valid" in response.text


async def test_where_other_machines_reach_toban_the_first_admin_is_made_by_a_link(access, clock):
    link = await access.users.first_admin_link(ROOT)
    async with browser(access, clock, listen="0.0.0.0:9119") as client:
        assert (await client.get("/users")).headers["location"] == "/sign-in?next=%2Fusers"
        assert "toban has no user yet" in (await client.get("/sign-in")).text
        assert "You become the first admin" in (await client.get(f"/welcome/{link}")).text
        new = {"name": "toban", "password": PASSWORD, "repeated": PASSWORD}
        response = await client.post(f"/welcome/{link}", data=new)
        assert "is the name of a part of toban" in response.text
        response = await client.post(f"/welcome/{link}", data=new | {"name": "Ann"})
        assert response.status_code == 303
        assert "ann" in (await client.get("/users")).text


async def test_changing_the_password_takes_the_current_one(access, admin):
    wrong = {"current": "x", "password": "a new password", "repeated": "a new password"}
    response = await admin.post("/account/password", data=wrong)
    assert response.status_code == 400
    assert "The name or the password is wrong." in response.text
    response = await admin.post("/account/password", data=wrong | {"current": PASSWORD})
    assert response.headers["location"] == "/account?done=password"
    assert "The password is changed." in (await admin.get("/account?done=password")).text


async def test_own_sessions_are_listed_and_ended(access, clock, admin):
    async with browser(access, clock) as other:
        other.headers["user-agent"] = EVIL
        await sign_in(other)
        page = await admin.get("/account")
        assert "&lt;img src=x" in page.text
        assert "<img" not in page.text
        [session_id] = re.findall(r'name="id" value="(\w+)"', page.text)
        assert (await admin.post("/account/sessions/end", data={"id": session_id})).status_code == 303
        assert (await other.get("/account")).status_code == 303
        await sign_in(other)
        response = await admin.post("/account/sessions/end-all")
        assert response.headers["location"] == "/sign-in"
        assert (await other.get("/account")).status_code == (await admin.get("/account")).status_code == 303


async def test_a_user_can_not_end_the_session_of_another(access, clock, admin):
    await access.users.add_user("bob", Role.VIEWER, PASSWORD, ROOT)
    session_id = access.service.accounts.sessions_of(access.service.accounts.user("ann").id)[0].short_id
    async with browser(access, clock) as other:
        await sign_in(other, "bob")
        assert (await other.post("/account/sessions/end", data={"id": session_id})).status_code == 404
    assert (await admin.get("/account")).status_code == 200


async def test_an_admin_adds_a_user_and_gets_the_link_once(access, clock, admin):
    response = await admin.post("/users/add", data={"name": "Bob", "role": "operator"})
    link = shown_secret(response)
    assert link.startswith("http://localhost/welcome/")
    assert link not in (await admin.get("/users")).text
    async with browser(access, clock) as other:
        path = link.removeprefix("http://localhost")
        assert (await other.post(path, data={"password": PASSWORD, "repeated": PASSWORD})).status_code == 303
        assert (await other.get("/users")).status_code == 403
    assert access.service.accounts.user("bob").role is Role.OPERATOR


async def test_mistakes_stand_beside_their_field(admin):
    response = await admin.post("/users/add", data={"name": "ann", "role": "viewer"})
    assert response.status_code == 400
    assert re.search(
        r'aria-invalid="true"[^>]*>\s*<span class="field-error"[^>]*>user ann exists already', response.text
    )
    response = await admin.post("/users/tokens/create", data={"name": "ci", "expires": "30d"})
    assert '<span class="field-error">Choose at least one.</span>' in response.text
    for data in ({"name": "ci", "expires": "soon", "scope-read": "on"}, {"name": EVIL * 100, "scope-read": "on"}):
        response = await admin.post("/users/tokens/create", data=data)
        assert response.status_code == 400
        assert "<img" not in response.text
    for path, data in (("role", {"role": "emperor"}), ("disable", {}), ("link", {"name": "nobody"})):
        response = await admin.post(f"/users/{path}", data={"name": "ann"} | data)
        assert response.status_code in {400, 404}
        assert 'role="alert"' in response.text


async def test_an_admin_changes_users(access, admin):
    await access.users.add_user("bob", Role.VIEWER, PASSWORD, ROOT)
    for path, data in (("role", {"role": "operator"}), ("disable", {}), ("enable", {}), ("end-sessions", {})):
        response = await admin.post(f"/users/{path}", data={"name": "bob"} | data)
        assert (response.status_code, response.headers["location"]) == (303, "/users?done")
    assert access.service.accounts.user("bob").role is Role.OPERATOR
    assert "Saved." in (await admin.get("/users?done")).text


async def test_a_token_is_shown_once_and_revoked(access, admin):
    data = {"name": EVIL, "scope-read": "on", "scope-push": "on", "expires": "30d"}
    response = await admin.post("/users/tokens/create", data=data)
    text = shown_secret(response)
    token_id = TOKEN_FORM.fullmatch(text)[1]
    assert access.service.token(text).scopes == {Permission.PUBLIC, Permission.READ, Permission.PUSH}
    page = await admin.get("/users")
    assert text not in page.text
    assert "&lt;img src=x" in page.text
    assert "<img" not in page.text + response.text
    assert (await admin.post("/users/tokens/revoke", data={"id": token_id})).status_code == 303
    assert access.service.token(text) is None


async def test_after_15_minutes_the_password_is_asked_for_again(access, admin, clock):
    clock.advance(CONFIRMED_FOR.total_seconds())
    response = await admin.get("/users")
    assert response.headers["location"] == "/sign-in?again&next=%2Fusers"
    page = await admin.get(response.headers["location"])
    assert "Give your password again" in page.text
    assert 'value="ann"' in page.text
    before = admin.cookies["toban_session"]
    response = await sign_in(admin, query="?again&next=%2Fusers")
    assert response.headers["location"] == "/users"
    assert (await admin.get("/users")).status_code == 200
    assert access.service.session(before) is None
    assert len(access.service.accounts.sessions) == 1


async def test_without_users_the_page_says_that_toban_is_open(access, client):
    page = await client.get("/users")
    assert page.status_code == 200
    assert "No sign-in is needed" in page.text
    assert "open to everybody" in page.text
    assert "No sign-in is needed" in (await client.get("/account")).text
    assert "No sign-in is needed" in (await client.get("/sign-in")).text
    response = await client.post("/users/add", data={"name": "ann", "role": "admin"})
    assert response.status_code == 200
    assert shown_secret(response)
    assert (await client.get("/users")).status_code == 303


async def test_a_page_for_signing_in_has_no_script_and_no_style_in_it(access, client):
    await access.users.add_user("ann", Role.VIEWER, PASSWORD, ROOT)
    for path in ("/sign-in", "/welcome/x"):
        text = (await client.get(path)).text
        assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", text)
