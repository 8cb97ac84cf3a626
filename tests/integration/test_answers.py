"""Answers from Slack and PagerDuty, through their signed requests to a real toban."""

import asyncio
import hashlib
import hmac
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fake_pagerduty import FakePagerDuty
from tests.fake_slack import FakeSlack
from tests.program import eventually, toban

WEBHOOK_SECRET = "pd-subscription-secret"


@contextmanager
def thread_loop():
    """Yield what runs coroutines in a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    try:
        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Shop:
    """A toban with a channel at Slack and one at PagerDuty, and both services."""

    def __init__(self, program, slack: FakeSlack, pagerduty: FakePagerDuty) -> None:
        self.program, self.slack, self.pagerduty = program, slack, pagerduty
        self._events = 0

    def declare(self, title: str) -> int:
        """Declare an incident, and wait for its message in Slack."""
        body = json.dumps({"title": title, "priority": "P1"}).encode()
        status, answered = self.post("/api/incidents/declare", body, {"content-type": "application/json"})
        assert status == 200, answered
        eventually(lambda: self.message(title))
        return json.loads(answered)["id"]

    def message(self, title: str):
        """Return the message of an incident in Slack."""
        return next((it for it in self.slack.messages if it.attachment_title == title), None)

    def incident(self, number: int) -> dict[str, Any]:
        """Return an incident."""
        return self.program.json("/api/incidents/details", id=number)

    def until(self, number: int, state: str) -> dict[str, Any]:
        """Wait until an incident has a state."""
        return eventually(lambda: self.incident(number), lambda it: it["state"] == state)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        """Post a body; return the status and the response."""
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.program.url}{path}", body, headers)) as answered:
                return answered.status, answered.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def interact(self, payload: dict[str, Any], **how: Any) -> int:
        """Send an interaction as Slack does; return the status."""
        status, text = self.post("/hooks/slack", *self.slack.signed(payload, how.pop("at", time.time()), **how))
        assert status != 200 or text == "", "a text in the response closes no modal"
        return status

    def reply(self, words: str) -> str:
        """Wait for a reply that only its reader sees, with these words in it."""
        return eventually(lambda: next((it["text"] for it in self.slack.ephemeral if words in it["text"]), ""))

    def event(self, kind: str, number: int, secret: str = WEBHOOK_SECRET, **more: Any) -> tuple[int, bytes]:
        """Send an event as PagerDuty does; return the status and what was sent."""
        self._events += 1
        data = {"id": f"PD{number}", "type": "incident", "incident_key": f"toban-incident-{number}"}
        agent = {"id": "PANN", "type": "user_reference", "summary": "Ann"}
        event = {
            "id": f"E{self._events}",
            "event_type": f"incident.{kind}",
            "resource_type": "incident",
            "agent": agent,
        }
        body = json.dumps({"event": {**event, "data": data, **more}}).encode()
        return self.send_event(body, secret), body

    def send_event(self, body: bytes, secret: str = WEBHOOK_SECRET) -> int:
        """Send the body of an event; return the status."""
        signature = "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-pagerduty-signature": f"v1=00,{signature}"}
        return self.post("/hooks/pagerduty", body, headers)[0]

    def timeline(self, number: int) -> list[tuple[str, str]]:
        """Return the kinds and the actors of an incident's timeline."""
        found = self.program.json("/api/incidents/details", id=number)["timeline"]
        return [(it["kind"], it["actor"]) for it in found]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    with thread_loop() as run:
        slack, pagerduty = FakeSlack(), FakePagerDuty()
        slack.scopes |= {"users:read.email"}
        for it in (slack, pagerduty):
            run(it.__aenter__())
        bot = {"kind": "slack", "token": slack.token, "api": slack.api, "signing_secret": slack.signing_secret}
        pager = {"kind": "pagerduty", "key": pagerduty.key, "api": pagerduty.url, "webhook_secret": WEBHOOK_SECRET}
        ann = {"name": "Ann", "slack": "U1", "pagerduty": "PANN", "channels": ["ops"]}
        people = {"ann": ann, "ben": {"email": "ben@example.com", "channels": ["pager"]}}
        settings = {"channels": {"ops": bot, "pager": pager}, "on_call": {"people": people}}
        (folder / "toban.yaml").write_text(json.dumps(settings))
        with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
            program.until("Ctrl-C stops it")
            yield Shop(program, slack, pagerduty)
        for it in (slack, pagerduty):
            run(it.__aexit__(None, None, None))


def test_a_person_acknowledges_notes_and_resolves_with_buttons(shop):
    number = shop.declare("Orders fail")
    message = shop.message("Orders fail")
    assert shop.interact(shop.slack.click(message, "toban.acknowledge", ts="10.1")) == 200
    assert shop.until(number, "acknowledged")["answer"]["by"] == "ann"
    assert shop.reply(f"You have acknowledged incident {number}.")
    assert shop.interact(shop.slack.click(message, "toban.note", ts="10.2")) == 200
    eventually(lambda: shop.slack.views)
    assert shop.interact(shop.slack.submit("restarted it")) == 200
    assert shop.reply(f"Your note is in the timeline of incident {number}.")
    assert shop.interact(shop.slack.click(message, "toban.resolve", ts="10.3")) == 200
    shop.until(number, "resolved")
    eventually(lambda: shop.message("Orders fail"), lambda it: len(it.body["attachments"]) == 1)
    assert ("note", "ann") in shop.timeline(number)
    rows = [it for it in shop.program.json("/api/audit")["entries"] if it["actor"] == "ann"]
    assert {it["via"] for it in rows} == {"slack"}


def test_a_click_that_comes_twice_is_executed_once(shop):
    number = shop.declare("Payments fail")
    click = shop.slack.click(shop.message("Payments fail"), "toban.snooze", ts="11.1")
    assert [shop.interact(click), shop.interact(click)] == [200, 200]
    assert shop.reply(f"Incident {number} is snoozed for 30m.")
    shop.interact(shop.slack.command(f"note {number} done", trigger="11.2"))
    shop.reply(f"timeline of incident {number}.")
    assert [it for it, _ in shop.timeline(number)].count("snoozed") == 1


def test_a_click_on_an_old_button_says_what_happened_meanwhile(shop):
    number = shop.declare("Search is slow")
    click = shop.slack.click(shop.message("Search is slow"), "toban.acknowledge", ts="12.1")
    shop.interact(shop.slack.command(f"resolve {number}", trigger="12.2"))
    shop.until(number, "resolved")
    assert shop.interact(click) == 200
    assert "Ann did so at" in shop.reply(f"Incident {number} is already resolved")


def test_a_person_is_found_by_the_email_address_of_the_member(shop):
    number = shop.declare("Mail waits")
    assert shop.interact(shop.slack.command(f"ack {number}", "U2", "13.1")) == 200
    assert shop.until(number, "acknowledged")["answer"]["by"] == "ben"


@pytest.mark.parametrize(
    ("user", "team"),
    [("U9", "T0000001"), ("U404", "T0000001"), ("U1", "T9")],
    ids=["stranger", "unknown", "other team"],
)
def test_who_is_not_on_the_list_changes_nothing_and_is_in_the_audit_log(shop, user, team):
    title = f"Held by {user} of {team}"
    number = shop.declare(title)
    click = shop.slack.click(shop.message(title), "toban.resolve", user, f"14.{user}{team}")
    click["user"]["team_id"] = click["team"]["id"] = team
    assert shop.interact(click) == 200
    assert shop.reply(f"Slack member {user} ")
    assert shop.incident(number)["state"] == "triggered"
    found = [it for it in shop.program.json("/api/audit")["entries"] if it["action"] == "was refused an answer"]
    assert f"Slack member {user}" in {it["actor"] for it in found}


def test_a_command_says_the_status_and_what_to_write(shop):
    number = shop.declare("Disk is full")
    shop.interact(shop.slack.command("status", trigger="15.1"))
    assert f"#{number} P1 Disk is full" in shop.reply("Disk is full")
    shop.interact(shop.slack.command("dance", trigger="15.2"))
    assert "ack N" in shop.reply("unknown word 'dance'")
    shop.interact(shop.slack.command("oncall", trigger="15.3"))
    assert shop.reply("On call: Ann, ben")


def test_a_command_assigns_calls_everybody_and_starts_a_runbook(shop):
    number = shop.declare("Payments fail")
    for place, person in enumerate(("<@U1|ann>", "Ann", "ben", "zoe")):
        shop.interact(shop.slack.command(f"assign {number} {person}", trigger=f"16.{place}"))
    assert shop.reply(f"Incident {number} is assigned to Ann.")
    assert shop.reply(f"Incident {number} is assigned to ben.")
    assert shop.reply("unknown person 'zoe': known are ann, ben")
    eventually(lambda: [it for it in shop.timeline(number) if it[0] == "assigned"], lambda it: len(it) == 3)
    shop.interact(shop.slack.command(f"escalate {number}", trigger="16.5"))
    assert shop.reply(f"Everybody is called for incident {number}.")
    assert ("escalated", "ann") in shop.timeline(number)
    shop.interact(shop.slack.command("run application_down", trigger="16.6"))
    assert "It asks before it acts: toban run --approve" in shop.reply("of runbook application_down has begun")
    shop.interact(shop.slack.command("run nothing", trigger="16.7"))
    assert "there are application_down" in shop.reply("no runbook 'nothing'")


def test_a_viewer_changes_nothing_and_hears_why_alone(tmp_path):
    with thread_loop() as run:
        slack = FakeSlack()
        run(slack.__aenter__())
        bot = {"kind": "slack", "token": slack.token, "api": slack.api, "signing_secret": slack.signing_secret}
        people = {"vera": {"slack": "U1", "channels": ["ops"]}, "olga": {"slack": "U2", "channels": ["ops"]}}
        settings = {
            "channels": {"ops": bot},
            "on_call": {"people": people},
            "notify": {"address": "https://toban.example"},
        }
        (tmp_path / "toban.yaml").write_text(json.dumps(settings))
        with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
            program.until("Ctrl-C stops it")
            shop = Shop(program, slack, None)
            shop.declare("Orders fail")
            message = shop.message("Orders fail")
            assert program.run("user", "add", "vera", "--role", "viewer", "--link").returncode == 0
            for action, ts in (("toban.open", "20.1"), ("toban.note", "20.2"), ("toban.resolve", "20.3")):
                shop.interact(slack.click(message, action, "U1", ts))
            refused = eventually(lambda: [it for it in slack.ephemeral if "your role" in it["text"]], lambda it: it[1:])
            assert len(refused) == 2
            assert not slack.views
            shop.interact(slack.command("status", "U1", "20.4"))
            assert "nobody has answered" in shop.reply("Orders fail")
            shop.interact(slack.click(message, "toban.resolve", "U2", "20.5"))
            assert shop.reply("You have resolved incident 1.")
        run(slack.__aexit__(None, None, None))


def test_requests_that_are_not_signed_by_slack_or_old_are_refused(shop):
    command = shop.slack.command("stop", trigger="16.1")
    assert shop.interact(command, secret="another") == 403
    assert shop.interact(command, at=time.time() - 302) == 403
    body, headers = shop.slack.signed(command, time.time())
    assert shop.post("/hooks/slack", body + b"&x=1", headers)[0] == 403
    assert shop.post("/hooks/slack", body, {"content-type": headers["content-type"]})[0] == 403
    broken = b"payload=%7B"
    stamp = str(int(time.time()))
    signature = hmac.new(shop.slack.signing_secret.encode(), f"v0:{stamp}:".encode() + broken, hashlib.sha256)
    signed = {**headers, "x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={signature.hexdigest()}"}
    assert shop.post("/hooks/slack", broken, signed)[0] == 400
    assert not shop.program.json("/api/runbooks")["switch"]["is_stopped"]


def test_what_people_do_at_pagerduty_is_done_here_and_comes_back_from_nobody(shop):
    number = shop.declare("Database is down")
    assert shop.event("acknowledged", number)[0] == 200
    assert shop.until(number, "acknowledged")["answer"]["by"] == "ann"
    note = {"id": "N1", "type": "incident_note", "content": "a look", "incident": {"id": f"PD{number}"}}
    assert shop.event("annotated", number, data=note)[0] == 200
    eventually(lambda: ("note", "ann") in shop.timeline(number))
    assert shop.event("unacknowledged", number)[0] == 200
    shop.until(number, "triggered")
    own = {"id": "S1", "type": "integration_reference", "summary": "toban"}
    assert shop.event("resolved", number, agent=own)[0] == 200
    assert shop.event("resolved", number, agent=None)[0] == 200
    stranger = {"id": "PEVE", "type": "user_reference", "summary": "Eve"}
    assert shop.event("acknowledged", number, agent=stranger)[0] == 200
    assert shop.until(number, "acknowledged")["answer"]["by"] == "Eve (PagerDuty)"
    assert shop.event("resolved", number, agent=stranger)[0] == 200  # in order: before the next one
    assert shop.event("resolved", number)[0] == 200
    shop.until(number, "resolved")
    assert [it for it in shop.timeline(number) if it[0] == "resolved"] == [("resolved", "ann")]


def test_an_event_that_is_repeated_or_not_signed_changes_nothing(shop):
    number = shop.declare("Redis is down")
    assert shop.event("acknowledged", number, secret="another")[0] == 403
    status, body = shop.event("acknowledged", number)
    assert status == 200
    shop.until(number, "acknowledged")
    shop.event("unacknowledged", number)
    shop.until(number, "triggered")
    assert shop.send_event(body) == 200
    shop.event("resolved", number)
    shop.until(number, "resolved")
    assert [it for it, _ in shop.timeline(number)].count("acknowledged") == 1
    assert shop.send_event(b"{") == 400
    assert shop.send_event(b"[]") == 200
