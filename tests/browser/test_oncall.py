"""The on-call schedule on a phone: somebody covers a shift, takes it back, and subscribes to a calendar."""

from datetime import UTC, datetime, timedelta

from tests.browser.conftest import Visitor


def test_a_shift_is_covered_cancelled_and_subscribed_to_on_a_phone(browser, console):
    visitor = Visitor(browser, console.url, phone=True)
    page = visitor.open("/oncall")
    day = datetime.now(UTC).date() + timedelta(days=3)
    page.get_by_text("Put one person on call", exact=True).first.click()
    form = page.locator('form[action="/oncall/act/override"]')
    form.get_by_label("Who").select_option("hana")
    form.get_by_label("From").fill(f"{day}T10:00")
    form.get_by_label("To", exact=True).fill(f"{day}T09:00")
    form.get_by_role("button").click()
    assert "must be later than its start" in page.get_by_role("alert").inner_text()
    page.get_by_text("Put one person on call", exact=True).first.click()
    assert form.get_by_label("From").input_value() == f"{day}T10:00"
    form.get_by_label("To", exact=True).fill(f"{day}T12:00")
    form.get_by_role("button").click()
    page.get_by_text("花 alone, whatever the layers say").wait_for()
    [made] = console.json("/api/oncall")["overrides"]
    assert made["starts"].startswith(f"{day}T01:00")  # Asia/Tokyo
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("None.", exact=True).wait_for()
    assert console.json("/api/oncall")["overrides"] == []
    page.get_by_text("Calendar for your phone").click()
    page.get_by_role("button", name="Make the address").click()
    address = page.locator(".done-note code").inner_text()
    status, feed = console.get(address.removeprefix(console.url))
    assert (status, feed.startswith("BEGIN:VCALENDAR")) == (200, True)
    assert [it for it in visitor.complaints if "400" not in it] == []
    visitor.context.close()
