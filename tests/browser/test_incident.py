"""The page of an incident: orders against what is usual, what its alerts measure, and its report."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import DESK, PHONE, Visitor
from tests.browser.shop_history import write_history
from tests.browser.test_pages import RULES
from tests.program import Program, eventually, toban

CONFIGURATION = """
channels:
  ops: {kind: webhook, url: "http://127.0.0.1:9/hook"}
on_call:
  people:
    hana: {name: 花, channels: [ops]}
alerting:
  rules: [slow.yaml]
runbooks:
  files: [look.yaml]
"""
RUNBOOK = """
name: look
title: Look at the CDN
title_ja: CDN を確認する
when: ['alertname="storefront_slow"']
guard: {dwell: 1s}
steps: [{text: Look whether the CDN answers, text_ja: CDN が応答するか確認する}]
"""
RULE = """
groups:
  - name: storefront
    interval: 1s
    rules:
      - alert: storefront_slow
        expr: last_over_time(probe_duration_seconds[2h]) > 0.1
        labels: {severity: critical, priority: P1}
        annotations: {summary: The storefront is slow, summary_ja: ストアフロントが遅い}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Run toban with an incident about a value with a history."""
    folder: Path = tmp_path_factory.mktemp("incident")
    (folder / "toban.yaml").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "slow.yaml").write_text(RULE, encoding="utf-8")
    (folder / "look.yaml").write_text(RUNBOOK, encoding="utf-8")
    write_history(folder / "history.om", datetime.now(UTC))
    with toban(folder / "data", TZ="UTC") as program:
        program.until("is on duty")
        imported = program.run("import", str(folder / "history.om"))
        assert imported.returncode == 0, imported.stderr
        found = eventually(
            lambda: program.json("/api/incidents")["incidents"],
            lambda it: any("storefront" in one["title"].lower() for one in it),
        )
        number = next(it["id"] for it in found if "storefront" in it["title"].lower())
        program.number = number
        for arguments in (("summary", "The CDN was slow."), ("action", "Ask the CDN", "--owner", "hana")):
            done = program.run("incidents", arguments[0], str(number), *arguments[1:])
            assert done.returncode == 0, done.stderr
        yield program


@pytest.mark.parametrize(
    ("language", "dark", "phone"),
    [("en", False, False), ("ja", True, False), ("ja", False, True), ("en", True, True)],
    ids=["desk", "desk-dark", "phone", "phone-dark"],
)
def test_the_page_of_an_incident_shows_its_charts_in_each_language_and_theme(browser, shop, language, dark, phone):
    visitor = Visitor(browser, shop.url, language=language, dark=dark, phone=phone)
    page = visitor.open(f"/incidents/{shop.number}")
    assert page.viewport_size == (PHONE if phone else DESK)
    page.locator("svg.day .during").wait_for()
    title = "ストアフロントが遅い" if language == "ja" else "The storefront is slow"
    assert page.locator("h1").inner_text() == title
    assert title in page.locator("li.alert_fired").inner_text()
    assert page.locator("svg.day .band").count() == 1
    assert page.locator(".threshold .limit").count() == 1
    assert page.locator('.threshold a[href^="/explore?"]').count() == 1
    assert "花" in page.locator("li", has_text="Ask the CDN").last.inner_text()
    page.locator("#orders-table summary").click()
    assert page.locator("#orders-table tbody tr").count() > 3
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert visitor.complaints == []
    visitor.picture(f"incident-{language}-{'dark' if dark else 'light'}-{'phone' if phone else 'desk'}")
    visitor.context.close()


def test_what_a_runbook_waits_for_is_done_on_the_page_of_the_incident(browser, shop):
    visitor = Visitor(browser, shop.url, language="ja", phone=True)
    page = visitor.open(f"/incidents/{shop.number}")
    assert page.locator(".timeline").get_by_text("ランブック look は担当者の作業待ち").count() == 1
    page.get_by_role("heading", name="CDN が応答するか確認する").wait_for()
    assert page.get_by_role("button", name="ドライラン").count() == 1
    page.locator(".verdict").get_by_label("コメント").fill("yes")
    page.get_by_role("button", name="完了").first.click()
    page.get_by_text("成功", exact=True).first.wait_for()
    page = visitor.open(f"/incidents/{shop.number}")
    assert page.get_by_role("heading", name="CDN が応答するか確認する").count() == 0
    assert page.locator(".row", has_text="look").get_by_text("成功", exact=True).count() == 1
    assert visitor.complaints == []
    visitor.context.close()


def test_the_report_is_saved_as_html_and_printed_by_the_command(browser, shop):
    visitor = Visitor(browser, shop.url, language="ja", phone=True)
    page = visitor.open(f"/incidents/{shop.number}")
    with page.expect_download() as saved:
        page.get_by_role("link", name="HTML で保存").click()
    assert saved.value.suggested_filename == f"incident-{shop.number}.html"
    text = Path(saved.value.path()).read_text(encoding="utf-8")
    assert "The CDN was slow." in text
    assert "☐ Ask the CDN (花)" in text
    assert "影響" in text
    # In a window of its own: here the policy of the console would forbid the styles of the file.
    visitor.page = visitor.context.new_page()
    visitor.page.set_content(text)
    assert visitor.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visitor.picture("incident-report-ja-phone")
    visitor.context.close()
    printed = shop.run("incidents", "report", str(shop.number), "--html")
    assert printed.stdout.startswith("<!DOCTYPE html>")
    assert "Ask the CDN" in shop.json("/api/incidents/report", id=str(shop.number))["html"]


def test_an_action_item_is_changed_unticked_and_deleted_on_the_page_and_by_the_command(browser, shop):
    number = str(shop.number)
    assert shop.run("incidents", "action", number, "Add an indx").stdout == f"#{number} has 2 open action items\n"
    assert shop.run("incidents", "action", number, "--done", "2").returncode == 0
    visitor = Visitor(browser, shop.url, language="ja", phone=True)
    page = visitor.open(f"/incidents/{number}")
    page.on("dialog", lambda it: it.accept())
    page.get_by_role("button", name="未完了に戻す: Add an indx").click()
    page.get_by_role("button", name="完了: Add an indx").wait_for()
    page.locator("#action-item-2 summary").click()
    page.locator("#action-item-2").get_by_label("やること").fill("Add an index")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    visitor.picture("incident-action-item-ja-phone")
    page.locator("#action-item-2").get_by_label("担当者").fill("hana")
    page.locator("#action-item-2").get_by_role("button", name="保存").click()
    page.locator("li", has_text="担当者を 花 に変更: Add an index").wait_for()
    undone = shop.run("incidents", "action", number, "--edit", "2", "--owner", "")
    assert undone.stdout == f"#{number} has 2 open action items\n", undone.stderr
    assert shop.run("incidents", "action", number, "--edit", "2", "--delete", "2").returncode == 2
    page.locator("li", has_text="担当者を解除: Add an index").wait_for()
    page.locator("#action-item-2 summary").click()
    page.get_by_role("button", name="削除: Add an index").click()
    page.locator("li", has_text="がアクションアイテムを削除: Add an index").wait_for()
    assert page.locator("#action-item-2").count() == 0
    assert visitor.complaints == []
    visitor.context.close()
    assert [it["number"] for it in shop.json("/api/incidents/details", id=number)["action_items"]] == [1]
