"""The console by the keyboard alone: no mouse, and no focus that only a program could set."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visitor, post_alert
from tests.browser.test_sign_in import PASSWORD
from tests.program import Program, toban

FARTHEST = 80
"""How often Tab is pressed at most on the way to something."""
SEEN = """it => {
  const box = it.getBoundingClientRect(), style = getComputedStyle(it);
  const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return style.outlineStyle !== "none" && (it.contains(top) || top?.contains(it));
}"""
"""Whether an element shows that it has the focus, and nothing is above it there (WCAG 2.4.7, 2.4.11)."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Run toban with an operator and an alert."""
    with toban(tmp_path_factory.mktemp("guarded") / "data", TZ="UTC") as program:
        program.until("is on duty")
        post_alert(program.url, "disk_usage_high", summary="The disk of web-1 is nearly full")
        added = program.run("user", "add", "bob", "--role", "operator", given=f"{PASSWORD}\n")
        assert added.returncode == 0, added.stderr
        yield program


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until something has the focus; it can be seen there."""
    for _ in range(FARTHEST):
        page.keyboard.press("Tab")
        if target.evaluate("it => it === document.activeElement"):
            assert target.evaluate(SEEN), target
            return
    raise AssertionError(f"{FARTHEST} times Tab don't reach {target}")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_somebody_signs_in_acknowledges_silences_and_changes_the_range(browser, guarded):
    """
    With the shortcuts that `?` lists, Tab and Enter.
    """
    visitor = Visitor(browser, guarded.url)
    page = visitor.open("/")
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("bob")
    tab_to(page, page.get_by_label("Password"))
    page.keyboard.type(PASSWORD)
    press(page, "Enter")
    expect(page).to_have_url(re.compile("/$"))
    page.wait_for_load_state("load")

    press(page, "?")
    expect(page.get_by_role("dialog")).to_be_visible()
    press(page, "Escape", "g", "a")
    expect(page).to_have_url(re.compile("/alerts$"))
    page.wait_for_load_state("load")
    press(page, "/")
    page.keyboard.type('alertname="disk_usage_high"')
    press(page, "Enter")
    expect(page).to_have_url(re.compile("filter="))
    page.wait_for_load_state("load")
    press(page, "j", "Enter")
    expect(page).to_have_url(re.compile("/alerts/"))
    tab_to(page, page.get_by_label("Comment"))
    page.keyboard.type("on it")
    tab_to(page, page.get_by_role("button", name="Acknowledge"))
    press(page, "Enter")
    expect(page.get_by_text("acknowledged by bob")).to_be_visible()

    tab_to(page, page.get_by_role("link", name="Silence", exact=True))
    press(page, "Enter")
    expect(page).to_have_url(re.compile("/silences/new"))
    tab_to(page, page.get_by_label("Comment"))
    page.keyboard.type("a new disk comes")
    tab_to(page, page.get_by_role("button", name="Silence", exact=True))
    press(page, "Enter")
    expect(page.get_by_text("The silence was created.")).to_be_visible()
    page.wait_for_load_state("load")
    press(page, "g", "o")
    expect(page.get_by_text("Suppressed besides: 1")).to_be_visible()

    page.wait_for_load_state("load")
    press(page, "g", "d")
    expect(page).to_have_url(re.compile("/dashboards$"))
    tab_to(page, page.locator("main").get_by_role("link", name=re.compile("toban", re.IGNORECASE)).first)
    press(page, "Enter")
    expect(page).to_have_url(re.compile("/dashboards/toban"))
    expect(page.get_by_role("button", name="Paste a range")).to_be_visible()
    begin = page.get_by_label("From")
    tab_to(page, begin)
    press(page, "Control+a")
    page.keyboard.type("now-3h")
    press(page, "Enter")
    expect(page).to_have_url(re.compile("from=now-3h"))
    press(page, "Escape")
    tab_to(page, page.get_by_label("Refresh"))
    press(page, "ArrowDown")
    expect(page).to_have_url(re.compile("refresh="))
    assert visitor.complaints == []
    visitor.context.close()


def test_a_dialog_keeps_the_focus_and_gives_it_back(browser, guarded):
    visitor = Visitor(browser, guarded.url)
    page = visitor.open("/sign-in")
    link = page.get_by_role("link", name="toban", exact=True)
    tab_to(page, link)
    press(page, "?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for _ in range(6):
        press(page, "Tab")
        assert page.evaluate(
            "document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))"
        )
    press(page, "Escape")
    expect(dialog).not_to_be_visible()
    expect(link).to_be_focused()
    visitor.context.close()
