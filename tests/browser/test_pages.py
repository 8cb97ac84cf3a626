"""Each page in a real browser: accessible, quiet, within its width, in both languages and themes."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Visitor, labels_of, post_alert
from toban.core.alerts import fingerprint

PAGES = [
    "/",
    "/incidents",
    "/incidents/1",
    "/runbooks",
    "/runbooks/runs/1",
    "/maintenance",
    "/maintenance/runs/1",
    "/maintenance/tasks/daily",
    "/reports",
    "/reports?period=day&audience=engineer",
    "/alerts",
    f"/alerts/{fingerprint(labels_of('disk_usage_high'))}",
    "/oncall",
    "/silences",
    "/silences/new",
    "/rules",
    "/rules/disk_usage_high",
    "/backtests/1",
    "/slo",
    "/review",
    "/dashboards/slo",
    "/targets",
    "/channels",
    "/dashboards",
    "/dashboards/toban",
    "/dashboards/toban?view=table",
    "/dashboards/production?kiosk&compare=1d&from=now-1h",
    "/explore?expr=vendure_jobs_waiting&expr=rate(",
    "/explore?expr=up&tab=table",
    "/explore?expr=up&expr=rate(&view=table",
    "/logs",
    "/settings?defaults=1",
    "/audit",
    "/about",
    "/status-page",
    "/status",
    "/alerts/none",
]
VARIANTS = {"desk": {}, "phone": {"language": "ja", "dark": True, "phone": True}}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_quiet_and_fits(browser, console, path, variant):
    """
    No violation of WCAG 2.2 A and AA, nothing in the browser's console, nothing asked elsewhere, no scrolling sideways.
    """
    visitor = Visitor(browser, console.url, **VARIANTS[variant])
    page = visitor.open(path)
    page.wait_for_load_state("load")
    found = Axe().run(page, options=RULES)
    assert len(found.response["passes"]) > 10
    assert found.violations_count == 0, found.generate_report()
    assert visitor.complaints == [] or path == "/alerts/none"  # which is not found
    assert visitor.foreign == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if variant == "phone":  # whose tables have no heads
        unnamed = page.locator(".sheet td.number:not(:first-child):not([data-label])")
        assert unnamed.filter(visible=True).all_inner_texts() == []
    assert len(visitor.picture(f"{variant}{path.replace('/', '_').partition('?')[0]}")) > 10_000
    visitor.context.close()


def test_a_change_is_on_an_open_page_at_once(visitor, console):
    """
    By the stream of changes, without anybody asking.
    """
    page = visitor.open("/alerts")
    post_alert(console.url, "came_later", summary="It came later")
    page.get_by_role("link", name="It came later").wait_for()
    assert visitor.complaints == []


def test_a_page_is_live_whose_scripts_come_late(visitor, console):
    def later(route):
        visitor.page.wait_for_timeout(500)
        route.continue_()

    visitor.page.route("**/hx-sse*", later)
    page = visitor.open("/alerts")
    post_alert(console.url, "came_after_scripts", summary="It came after the scripts")
    page.get_by_role("link", name="It came after the scripts").wait_for(timeout=10_000)
    assert visitor.complaints == []


def test_what_somebody_writes_or_has_opened_stays_when_the_page_changes(visitor, console):
    """
    With the focus; and kana are not interrupted on their way to kanji.
    """
    page = visitor.open("/incidents/1")
    page.wait_for_load_state("load")
    page.locator("main details summary").first.click()
    note = page.get_by_label("Note")
    note.fill("PayPal")
    for text in ("first", "second"):
        if text == "second":
            note.dispatch_event("compositionstart")
        note.press("End")
        said = page.locator(".timeline").get_by_text(f"{text} change")
        assert console.run("incidents", "note", "1", f"{text} change").returncode == 0
        if text == "second":
            page.wait_for_event("requestfinished", lambda it: it.url.endswith("/incidents/1"))
            assert said.count() == 0
            note.dispatch_event("compositionend")
            assert console.run("incidents", "note", "1", "third change").returncode == 0
        expect(said).to_be_visible()
        expect(note).to_have_value("PayPal")
        expect(note).to_be_focused()
        expect(page.locator("main details[open]")).to_have_count(1)
    assert visitor.complaints == []


def test_theme_and_language_are_chosen_and_kept(visitor):
    page = visitor.open("/rules")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="日本語").click()
    assert page.url.endswith("/rules")
    assert page.locator("html").get_attribute("lang") == "ja"
    visitor.open("/")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_a_silence_shows_what_it_would_match_while_it_is_written(visitor):
    page = visitor.open("/silences/new")
    page.get_by_label("Matchers").fill('severity="warning", alertname=~"queue_.*"')
    page.get_by_text("It would match 1 of the alerts of now").wait_for()
    assert visitor.complaints == []


def test_a_first_visit_shows_the_times_of_the_readers_zone(browser, console):
    context = browser.new_context(base_url=console.url, locale="en-US", timezone_id="America/New_York")
    page = context.new_page()
    page.goto("/")
    page.get_by_text("Times are in America/New_York").wait_for()
    context.close()


def test_without_scripts_every_page_shows_its_content(browser, console):
    context = browser.new_context(base_url=console.url, java_script_enabled=False)
    page = context.new_page()
    for path in PAGES:
        page.goto(path)
        assert page.locator("h1").first.inner_text()
    page.goto("/silences/new")
    page.get_by_label("Matchers").fill('alertname="queue_growing"')
    page.get_by_role("button", name="Preview").click()
    assert page.get_by_text("It would match 1 of the alerts of now").is_visible()
    context.close()
