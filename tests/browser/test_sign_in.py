"""Signing in, with a real browser: the first admin, users, tokens, a session that ends."""

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

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
