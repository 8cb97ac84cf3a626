"""Signing in through an OpenID Connect provider."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc.jwk import ECKey

from tests.fake_oidc import CLIENT, ISSUER, SECRET, FakeOidc
from tests.unit.access.conftest import PASSWORD, ROOT, access, clock, meters, migrated, quick_hashes, state
from toban.access.oidc import PENDING_SECONDS, OidcProvider
from toban.access.permissions import Role
from toban.access.sessions import Client
from toban.access.settings import OidcSettings
from toban.core.metric_registry import MetricRegistry
from toban.state import audit_log
from toban.web.application import _application
from toban.web.auth import NetworkAccess
from toban.web.pages.sign_in import SignInPages
from toban.web.pages.users import UsersPages
from toban.web.settings import WebSettings

__all__ = ["access", "clock", "meters", "migrated", "quick_hashes", "state"]

BROWSER = {"accept": "text/html", "user-agent": "Firefox"}
FAILED = "The provider did not confirm who you are."
UNKNOWN = "There is no user for you here."


@pytest.fixture
def provider(clock):
    return FakeOidc(lambda: clock.now().timestamp())


@pytest.fixture
async def browser(access, clock, provider):
    """Return what opens a browser before a toban with some settings of the provider."""
    clients = [httpx2.AsyncClient(transport=httpx2.ASGITransport(provider.app))]

    def open_browser(**settings):
        oidc = OidcSettings(issuer=ISSUER, client_id=CLIENT, client_secret=SECRET, name="Example", **settings)
        found = OidcProvider(oidc, clients[0], clock)
        app = _application([*SignInPages(access, found).routes(), *UsersPages(access, "", clock).routes()])
        guarded = NetworkAccess(app, WebSettings(), MetricRegistry())
        guarded.configure(app, WebSettings(), [], access.service)
        transport = httpx2.ASGITransport(guarded, client=("192.0.2.7", 5000))
        clients.append(httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=BROWSER))
        return clients[-1]

    yield open_browser
    for client in clients:
        await client.aclose()


async def sign_in(client, provider, query=""):
    """Go to the provider and back; return the response to that."""
    led = await client.get(f"/sign-in/oidc{query}")
    assert led.status_code == 303, led.text
    return await client.get(provider.authorize(led.headers["location"]))


async def test_who_was_added_under_a_verified_address_signs_in(access, browser, provider, state):
    await access.users.add_user("ann@example.com", Role.OPERATOR, None, ROOT)
    client = browser()
    page = await client.get("/sign-in?next=%2Faccount")
    assert 'href="/sign-in/oidc?next=%2Faccount"' in page.text
    assert "Sign in with Example" in page.text
    response = await sign_in(client, provider, "?next=%2Faccount")
    assert (response.status_code, response.headers["location"]) == (303, "/account"), response.text
    assert "Signed in as ann@example.com (operator)." in (await client.get("/account")).text
    entries = await state.transaction(audit_log.recent)
    assert (str(entries[0].actor), entries[0].action) == ("ann@example.com (OpenID Connect)", "signed in")
    # From now on the subject counts, whatever the address.
    provider.claims |= {"email": "married@example.com", "email_verified": False}
    assert (await sign_in(client, provider)).headers["location"] == "/"
    assert len(access.service.accounts.users) == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": 1},
        {"email": "ann@example.com.evil.example"},
        {"email": "bob@example.com"},
        {"email": None},
    ],
)
async def test_an_address_that_is_not_verified_is_nobody_s(access, browser, provider, claims):
    """
    CVE-2023-3128: another tenant's user claims the address.
    """
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    provider.claims |= claims
    response = await sign_in(browser(), provider)
    assert (response.status_code, UNKNOWN in response.text) == (400, True)
    assert access.service.accounts.sessions == access.service.accounts.identities == {}


async def test_an_account_in_use_is_not_given_to_an_address(access, browser, provider):
    """
    Neither one with a password, nor one of another subject, nor one that is disabled.
    """
    client = browser()
    await access.users.add_user("ann@example.com", Role.ADMIN, PASSWORD, ROOT)
    assert UNKNOWN in (await sign_in(client, provider)).text
    await access.users.add_user("bob@example.com", Role.VIEWER, None, ROOT)
    provider.claims |= {"email": "bob@example.com"}
    assert (await sign_in(client, provider)).status_code == 303
    provider.claims |= {"sub": "another"}
    assert UNKNOWN in (await sign_in(browser(), provider)).text
    provider.claims |= {"sub": "248289"}
    await access.users.disable("bob@example.com", ROOT)
    assert UNKNOWN in (await sign_in(browser(), provider)).text


async def test_allowed_domains_make_viewers(access, browser, provider):
    client = browser(allow_domains=["@Example.com"])
    assert (await sign_in(client, provider)).status_code == 303
    assert access.service.accounts.user("ann@example.com").role is Role.VIEWER
    for email in ("eve@sub.example.com", "eve@notexample.com", "eve@example.com@evil.example", "e e@example.com"):
        provider.claims |= {"sub": email, "email": email}
        assert UNKNOWN in (await sign_in(browser(allow_domains=["example.com"]), provider)).text
    assert len(access.service.accounts.users) == 1


async def test_groups_decide_the_role_at_each_sign_in(access, browser, provider):
    settings = {"groups": {"ops": "operator", "it": "admin"}, "allow_domains": ["example.com"]}
    await access.users.add_user("root", Role.ADMIN, PASSWORD, ROOT)
    provider.claims |= {"groups": ["it", "ops", "tea", 7]}
    client = browser(**settings)
    assert (await sign_in(client, provider)).status_code == 303
    assert access.service.accounts.user("ann@example.com").role is Role.ADMIN
    provider.claims |= {"groups": ["ops"]}
    other = browser(**settings)
    assert (await sign_in(other, provider)).status_code == 303
    assert access.service.accounts.user("ann@example.com").role is Role.OPERATOR
    assert (await client.get("/account")).status_code == 303  # the sessions of the other role have ended
    assert (await other.get("/account")).status_code == 200
    for groups in ([], ["tea"], "it", None):
        provider.claims |= {"groups": groups}
        assert UNKNOWN in (await sign_in(browser(**settings), provider)).text


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.example"},
        {"iss": f"{ISSUER}/"},
        {"aud": "another"},
        {"aud": ["toban", "another"]},
        {"aud": ["toban", "another"], "azp": "another"},
        {"azp": "another"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": 7},
    ],
)
async def test_an_id_token_with_a_wrong_claim_is_refused(access, browser, provider, wrong):
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    provider.forge = lambda claims: provider.sign({k: v for k, v in {**claims, **wrong}.items() if v is not None})
    response = await sign_in(browser(), provider)
    assert (response.status_code, FAILED in response.text) == (503, True)
    assert access.service.accounts.sessions == {}


@pytest.mark.parametrize("forge", ["none", "public key", "another key", "future", "rubbish", "array"])
async def test_an_id_token_without_the_provider_s_signature_is_refused(access, browser, provider, forge, clock):
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    later = round((clock.now() + timedelta(hours=1)).timestamp())
    provider.forge = {
        "none": provider.unsigned,
        "public key": provider.signed_with_the_public_key,
        "another key": lambda claims: provider.sign(claims, ECKey.generate_key("P-256", {"kid": "1"})),
        "future": lambda claims: provider.sign({**claims, "iat": later, "nbf": later, "exp": later + 60}),
        "rubbish": lambda claims: "rubbish",
        "array": lambda claims: provider.sign_anything([claims]),
    }[forge]
    response = await sign_in(browser(), provider)
    assert (response.status_code, FAILED in response.text) == (503, True)
    assert access.service.accounts.sessions == {}


async def test_a_token_for_several_audiences_counts_where_it_was_issued_to_toban(access, browser, provider):
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    provider.claims |= {"aud": [CLIENT, "another"], "azp": CLIENT}
    assert (await sign_in(browser(), provider)).status_code == 303


async def test_new_keys_of_the_provider_are_read_once_in_a_minute(access, browser, provider, clock):
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    client = browser()
    assert (await sign_in(client, provider)).status_code == 303
    provider.key = ECKey.generate_key("P-256", {"kid": "2"})
    provider.forge = lambda claims: provider.sign(claims, kid="2")
    assert FAILED in (await sign_in(client, provider)).text
    clock.advance(60)
    assert (await sign_in(client, provider)).status_code == 303
    assert provider.requests.count("keys") == 2
    assert provider.requests.count("discovery") == 1


async def test_only_the_browser_that_began_a_sign_in_ends_it_and_once(access, browser, provider, clock):
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    client, other = browser(), browser()
    led = await client.get("/sign-in/oidc")
    cookie = led.headers["set-cookie"]
    assert cookie.startswith("toban_session_oidc=")
    assert "HttpOnly; Max-Age=600; Path=/; SameSite=lax" in cookie
    back = provider.authorize(led.headers["location"])
    assert FAILED in (await other.get(back)).text
    await other.get("/sign-in/oidc")
    assert FAILED in (await other.get(back)).text
    kept = dict(client.cookies)
    assert (await client.get(back)).status_code == 303
    client.cookies.update(kept)
    assert FAILED in (await client.get(back)).text
    late = provider.authorize((await other.get("/sign-in/oidc")).headers["location"])
    clock.advance(PENDING_SECONDS)
    assert FAILED in (await other.get(late)).text
    for change in ("state=x", "iss=https://evil.example", "error=access_denied", "code="):
        led = await other.get("/sign-in/oidc")
        back = provider.authorize(led.headers["location"])
        query = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
        name, _, value = change.partition("=")
        response = await other.get("/sign-in/oidc/callback", params={**query, name: value})
        assert (response.status_code, FAILED in response.text) == (503, True)
    assert len(access.service.accounts.sessions) == 1


@pytest.mark.parametrize("cookie", ["", "x", "x.y", ".", "\x80", "e30.0" + "0" * 63])
async def test_a_forged_cookie_of_a_pending_sign_in_is_refused(access, browser, provider, cookie):
    headers = [(b"cookie", f"toban_session_oidc={cookie}".encode("latin-1"))]
    response = await browser().get("/sign-in/oidc/callback?code=x&state=y", headers=headers)
    assert response.status_code == 503
    assert provider.requests == []


async def test_a_provider_that_is_not_the_configured_one_is_refused(browser, provider):
    for wrong in ({"issuer": f"{ISSUER}/"}, {"token_endpoint": "http://login.example/token"}, {"jwks_uri": None}):
        kept = dict(provider.metadata)
        provider.metadata |= wrong
        response = await browser().get("/sign-in/oidc")
        assert (response.status_code, FAILED in response.text) == (503, True)
        provider.metadata = kept


async def test_the_way_back_leads_to_no_other_site(access, browser, provider):
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    response = await sign_in(browser(), provider, "?next=%2F%2Fevil.example")
    assert response.headers["location"] == "/"


async def test_what_only_admins_may_do_takes_a_sign_in_at_the_provider_just_now(access, browser, provider):
    """
    A provider that knows the browser confirms nothing.
    """
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    client = browser()
    await sign_in(client, provider)
    again = (await client.get("/users")).headers["location"]
    assert again == "/sign-in?again&next=%2Fusers"
    assert 'href="/sign-in/oidc?again&amp;next=%2Fusers"' in (await client.get(again)).text
    response = await sign_in(client, provider, "?again&next=%2Fusers")
    assert response.headers["location"] == "/users"
    assert (await client.get("/users")).status_code == 200


async def test_a_password_of_somebody_who_signs_in_at_the_provider_is_none(access, browser, provider):
    await access.users.add_user("ann@example.com", Role.ADMIN, None, ROOT)
    client = browser()
    await sign_in(client, provider)
    with pytest.raises(Exception, match="the name or the password is wrong"):
        await access.sign_in.sign_in("ann@example.com", "", Client("192.0.2.7"))


async def test_without_a_provider_its_routes_say_so(access, clock):
    app = _application(SignInPages(access).routes())
    guarded = NetworkAccess(app, WebSettings(), MetricRegistry())
    guarded.configure(app, WebSettings(), [], access.service)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(guarded), base_url="http://localhost", headers=BROWSER
    ) as client:
        for path in ("/sign-in/oidc", "/sign-in/oidc/callback"):
            assert (await client.get(path)).status_code == 404
