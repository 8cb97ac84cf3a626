"""Boards in a real browser: legend, zoom, keys, menu, full screen, wall."""

import csv
import json
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Visitor


def panel(page: Page, title: str):
    """Return a panel whose chart is drawn."""
    found = page.locator(".panel", has=page.get_by_role("heading", name=title, exact=True))
    found.locator("canvas").first.wait_for()
    return found


@pytest.fixture
def board(visitor: Visitor) -> Page:
    page = visitor.open("/dashboards/production?from=now-1h&to=now")
    panel(page, "Redis Memory Usage")
    return page


def test_a_panel_is_saved_as_csv_json_and_picture(board, visitor, tmp_path: Path):
    """
    From its menu, under its name.
    """
    one = panel(board, "Redis Memory Usage")
    saved = {}
    for kind in ("CSV", "JSON", "PNG"):
        one.locator("summary").click()
        with board.expect_download() as download:
            one.get_by_role("button", name=kind, exact=True).click()
        assert download.value.suggested_filename == f"production-redis-memory-usage.{kind.lower()}"
        saved[kind] = tmp_path / kind
        download.value.save_as(saved[kind])
    rows = list(csv.reader(saved["CSV"].read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["time", "Memory Usage (MB)"]
    assert float(rows[-1][1]) > 20
    assert json.loads(saved["JSON"].read_text())["expressions"] == ["redis_memory_usage_bytes / 1024 / 1024"]
    assert saved["PNG"].read_bytes().startswith(b"\x89PNG")
    assert visitor.complaints == []


def test_a_range_is_chosen_by_dragging_and_left_again(board):
    """
    The address keeps it; the browser's back button goes back.
    """
    box = panel(board, "Redis Memory Usage").locator(".u-over").bounding_box()
    assert box
    board.mouse.move(box["x"] + 40, box["y"] + 40)
    board.mouse.down()
    board.mouse.move(box["x"] + 160, box["y"] + 50, steps=4)
    board.mouse.up()
    board.wait_for_url("**from=1*")
    board.go_back()
    board.wait_for_url("**from=now-1h*")
    assert board.get_by_label("From").input_value() == "now-1h"


def test_the_keyboard_moves_reads_and_shows_a_panel_alone(board, visitor):
    """
    The values are read aloud; each key is among those that `?` lists.
    """
    plot = panel(board, "Redis Memory Usage").locator(".plot")
    plot.focus()
    board.keyboard.press("ArrowLeft")
    board.locator("[aria-live]", has_text="Memory Usage (MB)").wait_for(state="attached")
    board.keyboard.press("v")
    board.wait_for_url("**panel=4*")
    assert panel(board, "Redis Memory Usage").locator(".legend").get_by_role("columnheader", name="Mean").is_visible()
    assert not board.get_by_role("heading", name="Request Rate").is_visible()
    board.keyboard.press("Escape")
    assert board.get_by_role("heading", name="Request Rate").is_visible()
    board.keyboard.press("t")
    board.keyboard.press("ArrowLeft")
    board.wait_for_url("**from=1*")
    board.keyboard.press("?")
    assert board.get_by_role("dialog").get_by_text("Legend as table").is_visible()
    assert visitor.complaints == []


def test_a_panel_is_explored_with_its_queries_and_range(board):
    one = panel(board, "Redis Memory Usage")
    one.locator("summary").click()
    one.get_by_role("button", name="Explore").click()
    board.wait_for_url("**/explore?*")
    assert board.get_by_label("Query A").input_value() == "redis_memory_usage_bytes / 1024 / 1024"
    assert board.get_by_label("From").input_value() == "now-1h"
    board.locator(".legend").wait_for()


def test_an_empty_panel_says_which_metric_is_missing_and_what_provides_it(board):
    empty = board.locator(".panel", has=board.get_by_role("heading", name="API Response Time"))
    empty.get_by_text("There is no metric vendure_api_duration_seconds_bucket.").wait_for()
    assert "the shop's telemetry" in empty.inner_text()


def test_an_invalid_range_is_marked_and_the_charts_stay(board):
    board.get_by_label("From").fill("yesterday")
    board.keyboard.press("Enter")
    board.get_by_text("write it like now-6h").wait_for()
    assert board.get_by_label("From").get_attribute("aria-invalid") == "true"
    assert panel(board, "Redis Memory Usage").is_visible()


def test_on_a_wall_one_board_follows_the_other(visitor):
    """
    Without navigation; Esc leaves.
    """
    page = visitor.open("/dashboards/production?kiosk&rotate=2s&from=now-1h")
    assert not page.get_by_role("navigation").is_visible()
    page.wait_for_url("**/dashboards/redis?*")
    assert "rotate=2s" in page.url
    assert "from=now-1h" in page.url
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "kiosk" not in url)
    assert page.get_by_role("navigation").is_visible()
    assert visitor.complaints == []


def test_a_range_is_copied_on_one_page_and_pasted_on_another(visitor):
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visitor.open("/dashboards/production?from=now-3h&to=now-1h")
    page.get_by_role("button", name="Paste a range").wait_for()
    page.keyboard.press("t")
    page.keyboard.press("c")
    page.locator("[aria-live]", has_text="The range is copied.").wait_for(state="attached")
    visitor.open("/explore?from=now-1h&to=now")
    page.keyboard.press("t")
    page.keyboard.press("v")
    page.wait_for_url("**from=now-3h&to=now-1h*")
    page.evaluate("navigator.clipboard.writeText('a shopping list')")
    page.get_by_role("button", name="Paste a range").click()
    page.locator("[aria-live]", has_text="The clipboard has no range").wait_for(state="attached")
    assert page.get_by_label("From").input_value() == "now-3h"
    assert visitor.complaints == []


def test_a_finger_that_drags_to_the_side_selects_a_range(browser, console):
    """
    Up and down stays a scroll, and a second finger is a gesture of the browser.
    """
    visitor = Visitor(browser, console.url, phone=True, touch=True)
    page = visitor.open("/dashboards/production?from=now-1h&to=now")
    over = panel(page, "Redis Memory Usage").locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box
    fingers = visitor.context.new_cdp_session(page)

    def touch(kind, *points):
        places = [{"x": box["x"] + x, "y": box["y"] + y, "id": number} for number, (x, y) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (40, 40))
    touch("touchMove", (60, 40))
    touch("touchStart", (60, 40), (100, 60))
    touch("touchEnd")
    assert "from=now-1h" in page.url
    touch("touchStart", (40, 40))
    for x in (60, 90, 140):
        touch("touchMove", (x, 42))
    touch("touchEnd")
    page.wait_for_url("**from=1*")
    assert visitor.complaints == []
    visitor.context.close()
