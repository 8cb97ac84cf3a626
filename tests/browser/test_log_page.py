"""Log lines in the browser: searched, narrowed by a click, followed, and with what was around them."""

import json
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from tests.program import Program


def push(console: Program, *lines: dict[str, object]) -> None:
    """Push lines as toban's own API takes them."""
    request = urllib.request.Request(
        f"{console.url}/api/logs", json.dumps(lines).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


@pytest.fixture(scope="module")
def logged(console):
    """Store the lines of some minutes."""
    now = datetime.now(UTC)
    push(
        console,
        *(
            {
                "timestamp": (now - timedelta(minutes=10, seconds=-place)).isoformat(),
                "level": "error" if place == 30 else "info",
                "message": "payment declined" if place == 30 else f"order {place} placed",
                "service": "api",
                "context": "Orders" if place % 2 else "Mails",
                "trace": "Error: declined\n    at pay (/app/pay.js:1:2)" if place == 30 else "",
                "trace_id": "0af7651916cd43dd8448eb211c80319c" if place in {29, 30} else "",
                "facts": {"orderCode": f"A{place}"},
            }
            for place in range(60)
        ),
    )
    return console


def test_lines_are_searched_and_narrowed_by_a_click(visitor, logged):
    page = visitor.open("/logs")
    page.get_by_label("Search").fill("declined")
    page.get_by_role("button", name="Show").click()
    assert page.locator("li.line").count() == 1
    page.locator("li.line summary").click()
    assert page.get_by_text("at pay (/app/pay.js:1:2)").is_visible()
    page.get_by_role("link", name="0af7651916cd43dd8448eb211c80319c").click()
    page.wait_for_url("**trace_id**")
    page.get_by_text("order 29 placed").wait_for()  # all lines of the request, not those with the word alone
    assert page.locator("li.line").count() == 2
    assert visitor.complaints == []


def test_a_link_to_what_is_shown_stays_at_its_times(visitor, logged):
    page = visitor.open("/logs?query=declined")
    page.get_by_role("link", name="Link to these times").click()
    page.wait_for_url("**from=2**to=2**")
    assert page.locator("li.line").count() == 1
    assert page.get_by_role("link", name="Pause").count() == 0
    assert visitor.complaints == []


def test_the_lines_around_a_line_are_shown(visitor, logged):
    page = visitor.open("/logs?query=declined")
    page.locator("li.line a.when").click()
    page.locator("li.line.chosen").wait_for()
    assert page.locator("li.line").count() == 41
    assert page.get_by_text("order 31 placed").is_visible()
    page.get_by_role("link", name="Back to the search").click()
    assert visitor.complaints == []


def test_a_bar_of_the_histogram_is_a_range(visitor, logged):
    page = visitor.open("/logs?level=error")
    page.locator(".log-histogram rect").first.click(force=True)
    page.wait_for_url("**from=**")
    page.get_by_text("payment declined").wait_for()
    assert "1 lines" in page.locator(".log-histogram").inner_text()
    assert visitor.complaints == []


def test_new_lines_appear_until_the_page_is_paused(visitor, logged):
    page = visitor.open("/logs")
    push(logged, {"level": "warn", "message": "stock is low", "service": "api"})
    page.get_by_text("stock is low").wait_for()
    page.get_by_role("link", name="Pause").click()
    page.get_by_role("link", name="Follow").wait_for()
    push(logged, {"level": "warn", "message": "stock is empty", "service": "api"})
    assert page.get_by_text("stock is empty").count() == 0
    page.get_by_role("link", name="Follow").click()
    page.get_by_text("stock is empty").wait_for()
    assert visitor.complaints == []


@pytest.mark.parametrize("query", ["{", '{service="api"} |~ "("'])
def test_a_query_that_is_not_valid_is_answered_with_what_is_wrong(visitor, logged, query):
    page = visitor.page
    page.goto("/logs")
    page.evaluate("query => location.assign('/logs?query=' + encodeURIComponent(query))", query)
    page.locator(".error-note, [role=alert]").first.wait_for()
    assert page.locator("li.line").count() == 0
