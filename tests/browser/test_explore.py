"""Queries in a real browser: completion, errors, results, the list of metrics, history."""

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor


@pytest.fixture
def explore(visitor: Visitor) -> Page:
    page = visitor.open("/explore")
    page.locator(".query .letter").wait_for()
    return page


def test_a_query_is_written_with_the_keyboard_and_completion_alone(explore, visitor):
    """
    Function, metric, label and value; Enter accepts, then runs.
    """
    query = explore.get_by_label("Query A")
    options = explore.locator(".completions").get_by_role("option")
    query.focus()
    for typed, option, accept in (
        ("ma", "max", "Enter"),
        ("vendure_jobs", "vendure_jobs_waiting", "Tab"),
        ("{que", "queue", "Enter"),
    ):
        query.press_sequentially(typed)
        options.filter(has_text=option).first.wait_for()
        explore.keyboard.press(accept)
    options.filter(has_text="send-email").wait_for()
    explore.keyboard.press("ArrowDown")
    assert query.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    explore.keyboard.press("Enter")
    expect(query).to_have_value('max(vendure_jobs_waiting{queue="send-email"})')
    explore.keyboard.press("Enter")
    explore.locator(".legend").get_by_role("columnheader", name="Highest").wait_for()
    assert "expr=max" in explore.url
    assert visitor.complaints == []


def test_escape_closes_the_completions_and_enter_runs_what_is_written(explore):
    query = explore.get_by_label("Query A")
    query.press_sequentially("vendure_jobs_waitin")
    explore.get_by_role("listbox").wait_for()
    explore.keyboard.press("Escape")
    expect(explore.get_by_role("listbox")).to_be_hidden()
    query.press_sequentially("g")
    explore.keyboard.press("Escape")
    explore.keyboard.press("Enter")
    explore.locator(".legend").wait_for()
    expect(query).to_have_value("vendure_jobs_waiting")


def test_an_error_is_marked_at_its_place_beside_the_results_of_the_others(visitor):
    """
    It costs no error in the browser's console.
    """
    page = visitor.open("/explore?expr=vendure_jobs_waiting&expr=sum(rate(up))")
    expect(page.locator("pre.marked")).to_have_text("sum(rate(up))\n    ^")
    assert page.get_by_label("Query B").get_attribute("aria-invalid") == "true"
    page.locator(".legend").get_by_text("A: vendure_jobs_waiting").wait_for()
    page.get_by_role("tab", name="Table").click()
    page.get_by_role("cell", name="vendure_jobs_waiting").wait_for()
    assert "tab=table" in page.url
    assert visitor.complaints == []


def test_no_result_has_a_reason(visitor):
    """
    There is no such metric, and what provides it; or none in the range, and since when there is one.
    """
    page = visitor.open("/explore?expr=vendure_product_views_total&expr=vendure_jobs_waiting%7Bqueue%3D%22x%22%7D")
    page.get_by_text("There is no metric vendure_product_views_total. It comes with").wait_for()
    page.get_by_text("No series in this range. vendure_jobs_waiting has samples since").wait_for()


def test_a_metric_is_found_in_the_list_and_queried(explore):
    """
    By a word of its help, too.
    """
    explore.get_by_text("Metrics", exact=True).click()
    explore.get_by_label("Search metrics").fill("jobs_waiting")
    explore.get_by_role("button", name="vendure_jobs_waiting gauge · 1 series").click()
    expect(explore.get_by_label("Query A")).to_have_value("vendure_jobs_waiting")
    explore.locator(".legend").wait_for()


def test_queries_of_before_are_in_the_history_and_a_link_has_all(explore, visitor):
    """
    The history stays in the browser.
    """
    for query in ("redis_memory_usage_bytes", "vendure_jobs_waiting"):
        explore.get_by_label("Query A").fill(query)
        explore.get_by_role("button", name="Run").click()
        explore.wait_for_url(f"**expr={query}*")
        explore.locator(".legend").get_by_text(query).first.wait_for()
    explore.reload()
    explore.get_by_text("History", exact=True).click()
    explore.get_by_role("button", name="redis_memory_usage_bytes", exact=True).click()
    explore.wait_for_url("**expr=redis*")
    other = visitor.context.new_page()
    other.goto(explore.url)
    expect(other.get_by_label("Query A")).to_have_value("redis_memory_usage_bytes")
    other.locator(".legend").wait_for()
    explore.go_back()
    expect(explore.get_by_label("Query A")).to_have_value("vendure_jobs_waiting")


def test_many_series_are_cut_to_the_largest_and_counted(visitor):
    a_series_for_each_value = 'count_values("bytes", redis_memory_usage_bytes)'
    page = visitor.open(f"/explore?{urlencode({'expr': a_series_for_each_value})}")
    page.get_by_text("20 of").wait_for()
    assert page.locator(".legend tbody tr").count() == 20


def test_a_series_is_shown_alone_by_a_click_on_its_name(visitor):
    """
    Again, and all are shown; with Ctrl one more.
    """
    metrics = ("vendure_jobs_waiting", "redis_memory_usage_bytes", "postgres_connections_used")
    page = visitor.open("/explore?" + "&".join(f"expr={metric}" for metric in metrics))
    buttons = page.locator(".legend button")
    buttons.first.wait_for()

    def pressed() -> list[str | None]:
        return [it.get_attribute("aria-pressed") for it in buttons.all()]

    buttons.nth(1).click()
    assert pressed() == ["false", "true", "false"]
    buttons.nth(0).click(modifiers=["Control"])
    assert pressed() == ["true", "true", "false"]
    buttons.nth(0).click(modifiers=["Control"])
    buttons.nth(1).click()
    assert pressed() == ["true"] * 3
    assert visitor.complaints == []
