"""Answers by a key in a call and by a button at LINE, through their signed requests to a real toban."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.fake_line import FakeLine
from tests.fake_twilio import FakeTwilio, spoken
from tests.integration.test_answers import thread_loop
from tests.program import eventually, toban

ANN, EVE = "+81901234567", "+81907654321"
ANN_AT_LINE, EVE_AT_LINE = "Uaaa" + "0" * 29, "Ueee" + "0" * 29
PUBLIC = "https://toban.example.com"


class Shop:
    """A toban whose people are called, and have a group at LINE."""

    def __init__(self, program: Any, twilio: FakeTwilio, line: FakeLine) -> None:
        self.program, self.twilio, self.line = program, twilio, line

    def declare(self, title: str) -> int:
        """Declare an incident, and wait until people are called about it."""
        body = json.dumps({"title": title, "priority": "P1"}).encode()
        status, text = self.program.post("/api/incidents/declare", body)
        assert status == 200, text
        eventually(lambda: self.call(title) and self.call(title, EVE) and self.message(title))
        number: int = json.loads(text)["id"]
        return number

    def call(self, title: str, number: str = ANN) -> dict[str, str] | None:
        """Return the call of a number about an incident."""
        return next((it for it in self.twilio.calls if it["To"] == number and title in it["Twiml"]), None)

    def message(self, title: str) -> dict[str, Any] | None:
        """Return the message at LINE about an incident."""
        return next((it for it in self.line.messages if title in it["altText"]), None)

    def incident(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.program.json("/api/incidents/details", id=number)
        return found

    def kinds(self, number: int) -> list[str]:
        return [it["kind"] for it in self.incident(number)["timeline"]]

    def presses(self, title: str, digits: str, to: str = ANN, **how: str) -> tuple[int, str]:
        """Press a key in a call; return the status, and what is said then."""
        call = self.call(title, to)
        assert call
        body, headers, path = self.twilio.press(call, digits, **how)
        status, text = self.post(path, body, headers)
        return status, " ".join(spoken(text)) if status == 200 else text

    def taps(self, title: str, user: str, number: int = 1, secret: str = "") -> int:
        """Tap the button of a message at LINE; return the status."""
        message = self.message(title)
        assert message
        body = self.line.tap(message, user, number)
        return self.post("/hooks/line", body, self.line.signed(body, secret))[0]

    def refused(self) -> set[str]:
        """Return who was refused an answer, by the audit log."""
        entries = self.program.json("/api/audit")["entries"]
        return {it["actor"] for it in entries if it["action"] == "was refused an answer"}

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.program.url}{path}", body, headers)) as answered:
                return answered.status, answered.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phones")
    with thread_loop() as run:
        twilio, line = FakeTwilio(), FakeLine(quota=10_000)
        for it in (twilio, line):
            run(it.__aenter__())
        phone = {
            "kind": "twilio",
            "account": twilio.account,
            "token": twilio.token,
            "sender": twilio.sender,
            "to": [ANN, EVE],
            "by": "call",
            "answers": True,
            "api": twilio.url,
            "confirmation": "2s",
        }
        group = {"kind": "line", "token": line.token, "to": line.group, "channel_secret": line.secret, "api": line.url}
        people = {"ann": {"name": "Ann", "phone": ANN, "line": ANN_AT_LINE, "channels": ["phone"]}}
        both = [{"notify": ["on_call"], "wait": "1h"}]
        settings = {
            "channels": {"phone": phone, "group": group},
            "notify": {"address": PUBLIC},
            "on_call": {"people": {**people, "ben": {"channels": ["group"]}}},
            "incidents": {"escalation": {"P1": both}},
        }
        (folder / "toban.yaml").write_text(json.dumps(settings))
        with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
            program.until("Ctrl-C stops it")
            yield Shop(program, twilio, line)
        for it in (twilio, line):
            run(it.__aexit__(None, None, None))


def test_a_call_reads_the_summary_and_takes_a_key_that_acknowledges(shop):
    number = shop.declare("Orders fail")
    said = spoken(shop.call("Orders fail")["Twiml"])
    assert "Orders fail" in said[0]
    assert said[1] == "Press 1 to acknowledge, or 2 to call everybody."
    assert shop.presses("Orders fail", "1") == (200, f"You have acknowledged incident {number}.")
    assert shop.incident(number)["answer"]["by"] == "ann"
    via = {it["via"] for it in shop.program.json("/api/audit")["entries"] if it["actor"] == "ann"}
    assert via == {"phone"}


def test_the_other_key_calls_everybody(shop):
    number = shop.declare("Payments fail")
    assert shop.presses("Payments fail", "2") == (200, f"Everybody is called for incident {number}.")
    assert "escalated" in shop.kinds(number)


def test_a_key_that_means_nothing_is_asked_for_again(shop):
    number = shop.declare("Mail waits")
    status, text = shop.presses("Mail waits", "7")
    assert (status, text) == (200, "There is no such key. Press 1 to acknowledge, or 2 to call everybody.")
    assert shop.incident(number)["state"] == "triggered"


def test_a_request_that_twilio_repeats_is_executed_once_and_says_the_same(shop):
    number = shop.declare("Search is slow")
    first, second = shop.presses("Search is slow", "2"), shop.presses("Search is slow", "2")
    assert first == second
    assert shop.kinds(number).count("escalated") == 1


def test_a_key_after_the_end_says_what_happened_meanwhile(shop):
    number = shop.declare("Disk is full")
    shop.program.post("/api/incidents/resolve", json.dumps({"id": number}).encode())
    status, text = shop.presses("Disk is full", "1")
    assert status == 200
    assert f"Incident {number} is already resolved" in text


def test_a_number_that_nobody_of_the_team_has_changes_nothing(shop):
    number = shop.declare("Redis is down")
    assert shop.presses("Redis is down", "1", to=EVE)[1].startswith("This number is not on the list")
    assert shop.incident(number)["state"] == "triggered"
    assert f"phone {EVE}" in shop.refused()


def test_calls_that_are_not_signed_by_twilio_are_refused(shop):
    number = shop.declare("Jobs wait")
    assert shop.presses("Jobs wait", "1", token="another")[0] == 403
    assert shop.presses("Jobs wait", "1", to=EVE, To=ANN)[0] == 403  # another number than the signed one
    body, headers, path = shop.twilio.press(shop.call("Jobs wait"), "1")
    assert shop.post(path.replace(f"i{number}.", f"i{number + 1}."), body, headers)[0] == 403
    assert shop.post(path, body + b"&Digits=2", headers)[0] == 400
    assert shop.post(path, body + b"x" * 70_000, headers)[0] == 413
    assert shop.incident(number)["state"] == "triggered"


def test_a_button_at_line_acknowledges_and_is_replied_to(shop):
    number = shop.declare("Cart hangs")
    assert shop.taps("Cart hangs", ANN_AT_LINE) == 200
    eventually(lambda: shop.incident(number)["state"] == "acknowledged")
    assert shop.incident(number)["answer"]["by"] == "ann"
    eventually(lambda: f"You have acknowledged incident {number}." in shop.line.replies)


def test_an_event_of_line_that_comes_again_is_executed_once(shop):
    number = shop.declare("Stock is wrong")
    assert [shop.taps("Stock is wrong", ANN_AT_LINE, 2) for _ in range(2)] == [200, 200]
    eventually(lambda: shop.incident(number)["state"] == "acknowledged")
    body = json.dumps({"id": number}).encode()
    shop.program.post("/api/incidents/unacknowledge", body)
    assert shop.taps("Stock is wrong", ANN_AT_LINE, 2) == 200
    shop.declare("Something later")  # what was received before it has been executed
    assert shop.kinds(number).count("acknowledged") == 1


def test_strangers_and_forgers_at_line_change_nothing(shop):
    number = shop.declare("Images are gone")
    assert shop.taps("Images are gone", ANN_AT_LINE, 3, secret="another") == 403
    assert shop.taps("Images are gone", EVE_AT_LINE, 4) == 200
    eventually(lambda: f"LINE user {EVE_AT_LINE}" in shop.refused())
    eventually(lambda: any("not on the list" in it for it in shop.line.replies))
    assert shop.incident(number)["state"] == "triggered"
    for body, status in ((b'{"destination": "U", "events": []}', 200), (b"{", 400), (b"[]", 200)):
        assert shop.post("/hooks/line", body, shop.line.signed(body))[0] == status
