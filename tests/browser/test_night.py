"""A night: the database breaks; somebody opens the message's link on a phone, understands, acts, and sees it end."""

import re

import yaml

from tests.browser.conftest import Visitor
from tests.program import eventually, toban
from tests.small_shop import COLLECT_EACH_SECOND, shop, write_fast_rules
from tests.webhook_receiver import WebhookReceiver


def test_a_night_on_the_phone(browser, tmp_path):
    """
    Each step is in the audit log.
    """
    receiver = WebhookReceiver()
    write_fast_rules(tmp_path)
    settings = yaml.safe_load(COLLECT_EACH_SECOND) | {
        "alerting": {"rules": ["vendure.yaml", "infrastructure.yaml"], "evaluation_interval": "1s"},
        "channels": {"pager": {"kind": "slack", "webhook": receiver.url}},
        "notify": {"group_wait": "1s", "group_interval": "1s", "address": "https://toban.example"},
    }
    (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
    with shop() as piece, toban(tmp_path / "data", **piece.environment) as program:
        program.until("is on duty")
        eventually(lambda: program.health("/readiness")[0], lambda code: code == 200)
        piece.postgres.kill()
        (link,) = eventually(lambda: re.findall(r"toban\.example(/alerts/\w+)", str(receiver.received))[:1])

        visitor = Visitor(browser, program.url, phone=True)
        page = visitor.open(link)
        assert "Database connection failed" in page.get_by_role("heading", level=1).inner_text()
        assert page.get_by_text("since ").first.is_visible()
        visitor.picture("night")
        page.get_by_label("Comment").fill("looking at it")
        page.get_by_role("button", name="Acknowledge").click()
        page.get_by_text("acknowledged by anonymous").wait_for()

        page.get_by_role("link", name="Silence", exact=True).click()
        page.get_by_label("Matchers").fill('alertname=~"application_down|shop_check_failing"')
        page.get_by_label("Comment").fill("follows from the database")
        page.get_by_role("button", name="Silence", exact=True).click()
        page.get_by_text("The silence was created.").wait_for()

        visitor.open("/")
        assert page.get_by_role("heading", level=1).inner_text() == "The shop has a serious problem"
        piece.postgres.start()
        page.get_by_role("heading", level=1).filter(has_text="All is well").wait_for(timeout=60_000)
        visitor.open("/audit")
        done = page.locator("tbody tr").all_inner_texts()
        assert any("acknowledged an alert" in row and "looking at it" in row for row in done)
        assert any("created a silence" in row and "follows from the database" in row for row in done)
        visitor.context.close()
    receiver.close()
