"""A night: the database breaks; somebody opens the message's link on a phone, understands, acts, and sees it end."""

import re

import pytest
import yaml
from playwright.sync_api import Browser, Route, expect

from tests.browser.conftest import Visitor
from tests.program import eventually, toban
from tests.small_shop import CATALOGUE, COLLECT_EACH_SECOND, DATABASE_ERROR, shop, write_fast_rules
from tests.webhook_receiver import WebhookReceiver

SETTINGS = yaml.safe_load(COLLECT_EACH_SECOND) | {
    "alerting": {"rules": ["vendure.yaml", "infrastructure.yaml"], "evaluation_interval": "1s"},
    "notify": {"group_wait": "1s", "group_interval": "1s", "address": "https://toban.example"},
    "on_call": {"people": {"hana": {"name": "花", "channels": ["pager"]}}},
    "incidents": {"delay": "1s", "resolve_after": "3s"},
}
SECONDS = 60_000
"""How long something may take that toban does by itself, in milliseconds."""


@pytest.fixture
def receiver():
    receiver = WebhookReceiver()
    yield receiver
    receiver.close()


def without_polling(route: Route) -> None:
    """Leave the stream of changes as the only reason to ask for the page again."""
    response = route.fetch()
    route.fulfill(response=response, body=response.text().replace(", every 30s", ""))


def test_a_night_on_the_phone(browser: Browser, tmp_path, receiver):
    """
    The message's link leads to the incident; what the person does there is on its timeline and in the audit log.
    """
    write_fast_rules(tmp_path)
    settings = SETTINGS | {"channels": {"pager": {"kind": "slack", "webhook": receiver.url}}}
    (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
    with shop() as piece, toban(tmp_path / "data", **piece.environment) as program:
        program.until("is on duty")
        eventually(lambda: program.health("/readiness")[0], lambda code: code == 200)
        piece.postgres.kill()
        (link,) = eventually(lambda: re.findall(r"toban\.example(/incidents/\d+)", str(receiver.received))[:1])

        visitor = Visitor(browser, program.url, phone=True)
        page = visitor.page
        page.route(f"**{link}", without_polling)
        page.goto(link)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Database connection failed")
        expect(page.get_by_text("since ").first).to_be_visible()
        page.evaluate("window.sinceTheLink = true")
        # What somebody writes outlives what changes meanwhile: the alert that follows joins the incident.
        page.get_by_label("Note").fill("it was the disk")
        piece.api.body = DATABASE_ERROR
        follow_up = page.locator("ul").get_by_role("link", name="Vendure application is down")
        expect(follow_up).to_be_visible(timeout=SECONDS)
        expect(page.get_by_label("Note")).to_have_value("it was the disk")
        assert page.evaluate("window.sinceTheLink")
        visitor.picture("night")
        page.get_by_role("button", name="Add the note").click()
        expect(page.locator(".timeline").get_by_text("it was the disk")).to_be_visible()
        page.get_by_label("Comment").fill("looking at it")
        page.get_by_role("button", name="Acknowledge").click()
        expect(page.get_by_text("looking at it").first).to_be_visible()

        follow_up.click()
        page.get_by_role("link", name="Silence", exact=True).click()
        expect(page.get_by_label("Matchers")).to_have_value(re.compile('alertname="application_down"'))
        page.get_by_label("Comment").fill("follows from the database")
        page.get_by_role("button", name="Silence", exact=True).click()
        expect(page.get_by_text("The silence was created.")).to_be_visible()

        page.goto("/")
        expect(page.get_by_role("heading", level=1)).to_have_text("The shop has a serious problem")
        page.goto(link)
        page.evaluate("window.sinceTheLink = true")
        piece.api.body = CATALOGUE
        piece.postgres.start()
        header = page.locator(".verdict")
        expect(header.get_by_text("resolved").first).to_be_visible(timeout=SECONDS)
        assert page.evaluate("window.sinceTheLink")  # without a reload
        page.goto("/")
        expect(page.get_by_role("heading", level=1)).to_contain_text("All is well", timeout=SECONDS)

        page.goto("/audit")
        done = page.locator("tbody tr").all_inner_texts()
        assert any("added a note to an incident" in row for row in done)
        assert any("acknowledged an incident" in row and "looking at it" in row for row in done)
        assert any("created a silence" in row and "follows from the database" in row for row in done)
        assert visitor.complaints == []
        visitor.context.close()
