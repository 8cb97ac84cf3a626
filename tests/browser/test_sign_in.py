"""Signing in, with a real browser: the first admin, users, tokens, a session that ends."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, CDPSession, Page, expect

from tests.browser.conftest import Visitor
from tests.browser.test_pages import RULES, VARIANTS
from tests.program import Program, toban

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Run toban with an admin, an operator and a user without a password."""
    with toban(tmp_path_factory.mktemp("closed") / "data", TZ="UTC") as program:
        program.until("is on duty")
        for name, role in (("ann", "admin"), ("bob", "operator")):
            done = program.run("user", "add", name, "--role", role, given=f"{PASSWORD}\n")
            assert done.returncode == 0, done.stderr
        assert program.run("user", "add", "carol", "--role", "viewer", "--link").returncode == 0
        yield program


def link_of(program: Program, name: str) -> str:
    """Return the path of a new one-time link."""
    return re.search(r"/welcome/\S+", program.run("user", "link", name).stdout)[0]


def sign_in(page: Page, name: str) -> None:
    page.locator("input[name=name]").fill(name)
    page.locator("input[name=password]").fill(PASSWORD)
    page.locator("form.form button").click()


def checked(visitor: Visitor, name: str) -> None:
    """The page is accessible, fits its width, and the browser has nothing to complain about."""
    found = Axe().run(visitor.page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(visitor.picture(name)) > 5_000
    assert visitor.complaints == []
    assert visitor.foreign == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pages_about_users_are_accessible_quiet_and_fit(browser, closed, variant):
    visitor = Visitor(browser, closed.url, **VARIANTS[variant])
    page = visitor.open(link_of(closed, "carol"))
    checked(visitor, f"{variant}_welcome")
    visitor.open("/users")
    assert page.url.endswith("/sign-in?next=%2Fusers")
    checked(visitor, f"{variant}_sign_in")
    sign_in(page, "ann")
    expect(page).to_have_url(re.compile("/users$"))
    checked(visitor, f"{variant}_users")
    page.locator("form[action='/users/tokens/create'] input[name=name]").fill(f"grafana of {variant}")
    page.locator("input[name=scope-read]").check()
    page.locator("form[action='/users/tokens/create'] button").click()
    assert page.locator("input.secret").input_value().startswith("tbn_")
    checked(visitor, f"{variant}_token")
    visitor.open("/account")
    checked(visitor, f"{variant}_account")
    page.locator(".user-menu summary").click()
    page.locator(".user-menu form button").click()
    expect(page).to_have_url(re.compile("/sign-in$"))
    visitor.context.close()


def test_everything_works_without_javascript(browser: Browser, closed):
    """
    Also what a password manager needs: labelled fields that say what they are for.
    """
    context = browser.new_context(base_url=closed.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(link_of(closed, "carol"))
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password, again").fill(PASSWORD)
    page.get_by_role("button", name="Save and sign in").click()
    expect(page).to_have_url(re.compile("/$"))
    page.goto("/account")
    expect(page.get_by_text("Signed in as carol (viewer).")).to_be_visible()
    page.get_by_role("button", name="End all sessions, this one too").click()
    expect(page).to_have_url(re.compile("/sign-in$"))
    page.get_by_label("User name").fill("carol")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("/$"))
    context.close()


def test_an_open_page_is_led_to_the_sign_in_when_its_session_ends_and_back(browser, closed):
    """
    Its stream of changes ends with the session.
    """
    visitor = Visitor(browser, closed.url)
    page = visitor.open("/alerts?x=1")
    sign_in(page, "bob")
    expect(page).to_have_url(re.compile(r"/alerts\?x=1$"))
    assert closed.run("user", "password", "bob", given=f"{PASSWORD}\n").returncode == 0
    expect(page).to_have_url(re.compile("/sign-in"), timeout=15_000)
    sign_in(page, "bob")
    expect(page).to_have_url(re.compile(r"/alerts\?x=1$"))
    visitor.context.close()


@pytest.fixture
def device(browser, closed) -> Iterator[tuple[Visitor, CDPSession]]:
    """Open a browser under a name that has passkeys, on a device that keeps some and knows its user."""
    visitor = Visitor(browser, closed.url.replace("127.0.0.1", "localhost"))
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("WebAuthn.enable")
    kept = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options = {**kept, "isUserVerified": True, "automaticPresenceSimulation": True}
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield visitor, session
    visitor.context.close()


def test_a_passkey_is_added_signs_in_and_is_removed(device, closed):
    """
    Instead of name and password; it counts as given lately, so that an admin goes on to the users.
    """
    visitor, _ = device
    page = visitor.open("/account")
    sign_in(page, "ann")
    page.get_by_label("Name of the passkey").fill("my phone")
    checked(visitor, "passkeys")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_text("The passkey is added.")).to_be_visible()
    expect(page.get_by_role("cell", name="my phone")).to_be_visible()
    page.get_by_label("Name of the passkey").fill("again")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_text("This device has a passkey for you already.")).to_be_visible()
    page.locator(".user-menu summary").click()
    page.locator(".user-menu form button").click()
    visitor.open("/users")
    checked(visitor, "passkey_sign_in")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page).to_have_url(re.compile("/users$"))
    entries = page.request.get("/api/audit").json()["entries"]
    assert [(it["actor"], it["via"], it["action"]) for it in entries if it["actor"] == "ann"][:3] == [
        ("ann", "passkey", "signed in"),
        ("ann", "session", "signed out"),
        ("ann", "session", "added a passkey"),
    ]
    listed = closed.run("user", "passkeys")
    assert re.fullmatch(r"\w{16}\s+ann\s+my phone\s+last used .*Z\n", listed.stdout)
    assert closed.run("user", "remove-passkey", listed.stdout.split()[0]).returncode == 0
    visitor.open("/account")
    assert page.get_by_role("cell", name="my phone").count() == 0
    page.locator(".user-menu summary").click()
    page.locator(".user-menu form button").click()
    visitor.open("/sign-in")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_text("This passkey is not accepted")).to_be_visible()


def test_passkeys_are_offered_under_a_name_alone(browser, closed):
    """
    Browsers have none for IP addresses: the page says what to do.
    """
    visitor = Visitor(browser, closed.url)
    page = visitor.open("/account")
    assert page.get_by_role("button", name="Sign in with a passkey").count() == 0
    sign_in(page, "ann")
    expect(page.get_by_text("Browsers use passkeys under a name with https alone")).to_be_visible()
    visitor.context.close()


def test_a_page_that_nobody_touches_says_so(browser, closed):
    """
    So that its requests don't keep the session from ending.
    """
    visitor = Visitor(browser, closed.url)
    visitor.page.clock.install()
    page = visitor.open("/alerts")
    sign_in(page, "ann")
    expect(page).to_have_url(re.compile("/alerts$"))
    sent = []
    page.on("request", lambda it: sent.append(it.headers.get("x-toban-background")) if "/alerts" in it.url else None)
    for _ in range(4):  # a minute after the last touch
        with page.expect_response(lambda it: "/alerts" in it.url):
            page.clock.run_for(31_000)
    assert (sent[0], sent[-1]) == (None, "1")
    visitor.context.close()
