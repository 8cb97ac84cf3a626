"""A proposed limit in a real browser: its evidence, and how an admin applies it."""

import re
import sqlite3
from contextlib import closing, contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.test_pages import RULES, VARIANTS
from tests.browser.test_sign_in import PASSWORD, sign_in
from tests.noisy_shop import RULE, NoisyShop
from tests.program import toban

PATHS = ("/review", f"/review/proposals/{RULE}")


@contextmanager
def started(folder):
    """Run toban with the rules and the state of a folder."""
    config = folder / "toban.yaml"
    config.write_text("alerting:\n  rules: [rules.yaml]\nnotify: {timezone: Asia/Tokyo}\n")
    with toban(folder / "data", "--config", str(config), TZ="UTC") as program:
        program.until("is on duty")
        yield program


def review(program, folder):
    """Import the samples, let the limits be reviewed, and add users."""
    assert program.run("import", str(folder / "history.om")).returncode == 0
    assert program.run("review", "--propose").returncode == 0
    for name, role in (("ann", "admin"), ("oscar", "operator")):
        added = program.run("user", "add", name, "--role", role, given=f"{PASSWORD}\n")
        assert added.returncode == 0, added.stderr


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """Run toban after a month in which a rule fired for nothing; its limits are reviewed. ann is an admin."""
    folder = tmp_path_factory.mktemp("reviewed")
    NoisyShop().prepare(folder)
    with started(folder) as program:
        review(program, folder)
        yield program


@pytest.fixture
def visit(browser, reviewed):
    """Return what signs somebody in and opens a page."""
    made = []

    def opened(name, path, **variant):
        visitor = Visitor(browser, reviewed.url, **variant)
        made.append(visitor)
        visitor.open(path)
        sign_in(visitor.page, name)
        expect(visitor.page).to_have_url(re.compile(f"{re.escape(path)}$"))
        return visitor

    yield opened
    for it in made:
        it.context.close()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", PATHS)
def test_the_evidence_is_accessible_quiet_and_fits(visit, path, variant):
    visitor = visit("ann", path, **VARIANTS[variant])
    page = visitor.page
    page.wait_for_load_state("load")
    if path != "/review":
        page.locator("#limits canvas").wait_for()
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert visitor.complaints == [] and visitor.foreign == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(visitor.picture(f"{variant}{path.replace('/', '_')}")) > 10_000


def test_without_a_script_the_chart_and_the_tables_are_there(browser, reviewed):
    context = browser.new_context(base_url=reviewed.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(PATHS[1])
    sign_in(page, "ann")
    assert page.locator("#limits svg .incident").count() == 3
    assert page.locator("#limits svg .saved").count() > 30
    expect(page.get_by_text("#3 A campaign was too much").last).to_be_visible()
    context.close()


def test_an_operator_sees_the_evidence_and_can_not_apply_it(visit):
    page = visit("oscar", PATHS[1]).page
    expect(page.get_by_text("An admin can apply it.")).to_be_visible()
    assert page.get_by_role("button", name="Apply").count() == 0


def test_an_admin_applies_it_after_the_password_and_sees_that_it_is_in_force(browser, tmp_path):
    """
    One that was given longer ago than a quarter of an hour is asked for again, as on the page Users.
    """
    NoisyShop().prepare(tmp_path)
    with started(tmp_path) as program:
        review(program, tmp_path)
        before = Visitor(browser, program.url)
        before.open(PATHS[1])
        sign_in(before.page, "ann")
        expect(before.page.get_by_role("button", name="Apply")).to_be_visible()
        cookies = before.context.cookies()
        before.context.close()
    with closing(sqlite3.connect(tmp_path / "data" / "toban.db")) as state, state:
        state.execute("UPDATE sessions SET confirmed = confirmed - 960000")
    with started(tmp_path) as program:
        after = Visitor(browser, program.url)
        after.context.add_cookies(cookies)
        page = after.open(PATHS[1])
        assert page.get_by_role("button", name="Apply").count() == 0
        page.get_by_role("link", name="Give your password again to apply it").click()
        page.locator("input[name=password]").fill(PASSWORD)
        page.locator("form.form button").click()
        expect(page).to_have_url(re.compile(f"{PATHS[1]}$"))
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(re.compile("/review"))
        expect(page.get_by_text("This limit was applied.")).to_be_visible()
        expect(page.get_by_text("It missed incidents that the limit before would have found")).to_be_visible()
        assert "ann: saves 41 of 44 firings in 30 days, keeps 3 of 3" in (tmp_path / "toban.yaml").read_text()
        after.picture("applied")
        assert after.complaints == []
        after.context.close()
