"""
A night with kill -9 of the whole program at each marked point, from the alert to the report.

A machine's memory is full; people are called by one channel after the other until one answers in Slack; a runbook asks,
somebody approves, it restarts the machine at Fly; the alert resolves, and the report is read. Whatever happens between,
the night is the same as without a kill: nothing is lost, the machine is restarted once, and an act whose result was not
written is looked at and never repeated.
"""

import asyncio
import http.client
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.fake_fly import FakeFly
from tests.fake_pagerduty import FakePagerDuty
from tests.fake_slack import FakeSlack
from tests.fake_smtp import FakeSmtp
from tests.killed_toban import POINT, POINTS
from tests.page_server import Page, serve_page
from tests.program import PATIENCE, Program
from toban.core.clock import SystemClock

T = TypeVar("T")
KILLED = [sys.executable, "-m", "tests.killed_toban"]
MACHINE = "148e001"

SLICE = {"after acknowledged", "after intent"}
PARTS = (
    (
        "alert firing",
        "opened",
        "paged",
        "paged 3",
        "delivered",
        "delivered 3",
        "run started",
        "run asked",
        "send slack",
    ),
    ("answer received", "acknowledged", "answer executed"),
    ("approved", "intent", "restart", "result"),
    ("alert resolved", "resolved", "run succeeded", "report"),
)
"""What happens in the night, by its parts: one is over before the next begins, so that a kill in each is reached."""


def several(seed: int) -> tuple[str, ...]:
    """Return three points, in the order in which they are reached."""
    chance = random.Random(seed)
    parts = sorted(chance.sample(range(len(PARTS)), 3))
    return tuple(f"{chance.choice(('before', 'after'))} {chance.choice(PARTS[part])}" for part in parts)


SEVERAL = list(dict.fromkeys(several(seed) for seed in range(12)))
NIGHTS = [
    *(pytest.param((point,), id=point, marks=[pytest.mark.soak] * (point not in SLICE)) for point in POINTS),
    *(pytest.param(points, id=" and ".join(points), marks=pytest.mark.soak) for points in SEVERAL),
]
NOT_DONE = {"after intent", "before restart"}
"""The points between an intent and its act: nothing at Fly tells whether it was done."""

RULES = """
groups:
  - name: memory
    rules:
      - alert: memory_full
        expr: memory_full > 0
        labels: {severity: critical, priority: P1}
        annotations: {summary: The memory of a machine is full}
"""
RUNBOOK = """
name: restart
title: Restart the machine
when: ['alertname="memory_full"']
guard: {dwell: 1s}
steps:
  - fly_restart
  - wait_healthy: {expression: memory_full < bool 1, interval: 1s, lasts: 1m}
"""


class Night:
    """A toban that is started again whenever it was killed, and the people and services around it."""

    def __init__(
        self,
        folder: Path,
        points: Sequence[str],
        slack: FakeSlack,
        pagerduty: FakePagerDuty,
        mail: FakeSmtp,
        fly: FakeFly,
    ) -> None:
        self.slack, self.pagerduty, self.mail, self.fly = slack, pagerduty, mail, fly
        self.kills: list[str] = []
        self._folder = folder
        self._points = list(points)
        self._clicks = 0
        self._start()

    def _start(self) -> None:
        given = {POINT: self._points[0]} if self._points else {}
        arguments = ("--config", str(self._folder / "toban.yaml"))
        self.program = Program(self._folder / "data", *arguments, command=KILLED, **given)

    def started_again(self) -> bool:
        """Start toban again if it was killed; tell whether it was."""
        if self.program.process.poll() is None:
            return False
        assert self.program.process.returncode == -9, self.program.logged[-20:]
        self.kills.append(self._points.pop(0))
        self._start()
        return True

    def until(self, ask: Callable[[], T], condition: Callable[[T], object] = bool, within: float = PATIENCE) -> T:
        """Ask again and again until the answer meets a condition, over kills."""
        deadline, last = time.monotonic() + within, "nothing"
        while time.monotonic() < deadline:
            self.started_again()
            try:
                found = ask()
                if condition(found):
                    return found
                last = repr(found)
            except (OSError, http.client.HTTPException, LookupError, ValueError, AssertionError) as error:
                last = repr(error)
            time.sleep(0.05)
        raise TimeoutError(f"still {last}; {self.program.logged[-5:]}")

    def details(self) -> dict[str, Any]:
        """Return the incident and its timeline."""
        found: dict[str, Any] = self.program.json("/api/incidents/details", id=1)
        return found

    def run(self, number: int = 1) -> dict[str, Any]:
        """Return a run of the runbook."""
        found: dict[str, Any] = self.program.json("/api/runbooks/run", id=str(number))
        return found

    def does(self, act: Callable[[], int], done: Callable[[], object]) -> None:
        """Let a person do something; again only where toban did not respond and it was not done either."""
        while True:
            try:
                status = act()
            except (OSError, http.client.HTTPException, AssertionError):
                status = 0
            try:
                self.until(done, within=PATIENCE if status == 200 else 20)
            except TimeoutError:
                assert status != 200, f"{status}: {self.program.logged[-5:]}"
            else:
                return

    def click(self, action: str) -> int:
        """Click a button of the newest message in Slack that has it."""
        self._clicks += 1
        (message,) = [it for it in self.slack.messages if self.has(it, action)]
        body, headers = self.slack.signed(self.slack.click(message, action, ts=f"{self._clicks}.1"), time.time())
        return self.program.post("/hooks/slack", body, headers.pop("content-type"), **headers)[0]

    def has(self, message: Any, action: str) -> bool:
        """Tell whether a message in Slack has a button."""
        return action in json.dumps(message.body)

    def paged(self) -> int:
        """Return how many steps of the escalation were made."""
        return sum(it["kind"] == "paged" for it in self.details()["timeline"])

    def approves(self, number: int) -> None:
        """Approve what a run asks for."""

        def approve() -> int:
            run = self.run(number)
            body = json.dumps({"id": number, "approval": run["approval"]}).encode()
            return 200 if run["state"] != "asked" else self.program.post("/api/runbooks/approve", body)[0]

        self.until(lambda: self.run(number)["state"] != "running")
        self.does(approve, lambda: self.run(number)["approved_by"])

    def passes(self) -> None:
        """Let the night pass, from the alert to the report."""
        self.until(lambda: self.paged() == 3)
        self.until(lambda: self.run()["state"] == "asked")
        self.until(lambda: any(self.has(it, "toban.acknowledge") for it in self.slack.messages))
        self.does(lambda: self.click("toban.acknowledge"), lambda: self.details()["state"] == "acknowledged")
        self.approves(1)
        ended = self.until(lambda: self.run()["state"], lambda it: it not in {"asked", "running"})
        if ended == "unknown":
            assert set(self.kills) & NOT_DONE
            assert self.fly.restarted == []  # it was looked at, and not repeated
            self.fly.leases.clear()  # the lease of the toban that was killed has expired: after 90 seconds
            looked = time.monotonic()
            self.until(lambda: time.monotonic() > looked + 1)  # Fly allows few requests in a second
            body = json.dumps({"runbook": "restart"}).encode()
            assert self.program.post("/api/runbooks/start", body)[0] == 200
            self.approves(2)
        self.until(lambda: self.details()["state"] == "resolved")
        self.until(lambda: self.program.json("/api/incidents/report", id="1")["markdown"])
        self.until(lambda: self.delivered() >= DELIVERED)
        self.until(lambda: {it.status for it in self.pagerduty.alerts.values()} == {"resolved"})

    def delivered(self) -> set[tuple[str, str]]:
        """Return what the timeline says was delivered, by channel and kind."""
        found = [it["facts"] for it in self.details()["timeline"] if it["kind"] == "delivered"]
        return {(it["channel"], it["kind"]) for it in found}

    def story(self) -> Counter[tuple[str, str, str]]:
        """Return what the timeline tells beside deliveries: kind, who, and of which runbook event or step."""
        found = [it for it in self.details()["timeline"] if it["kind"] != "delivered"]
        return Counter(
            (it["kind"], it["actor"], str(it["facts"].get("event") or it["facts"].get("step") or "")) for it in found
        )


@contextmanager
def surrounded(folder: Path, points: Sequence[str], services: Sequence[Any]) -> Iterator[Night]:
    """Start a toban with the configuration of the night."""
    slack, pagerduty, mail, fly = services
    fly.is_writable = True
    for machine in (MACHINE, "148e002"):
        fly.add("shop", machine)
    page = Page(
        lambda: f'memory_full{{instance="{MACHINE}"}} {0 if fly.restarted else 1}\n', media="text/plain; version=0.0.4"
    )
    (folder / "rules.yaml").write_text(RULES)
    (folder / "restart.yaml").write_text(RUNBOOK)
    account = {"username": mail.user, "password": mail.password}
    steps = [{"notify": ["on_call"], "wait": wait} for wait in ("2s", "2s", "1h")]
    with serve_page(page) as served:
        settings = {
            "shop": {"fly_admin_token": fly.token, "fly_api": fly.api, "fly_apps": ["shop"]},
            "collect": [{"kind": "scrape", "name": "load", "url": served.url, "interval": "1s", "honor_labels": True}],
            "alerting": {"rules": ["rules.yaml"], "evaluation_interval": "1s", "shipped": False},
            "runbooks": {"files": ["restart.yaml"], "shipped": False},
            "incidents": {"delay": "1s", "resolve_after": "1s", "escalation": {"P1": steps}},
            "on_call": {"people": {"ann": {"slack": "U1", "channels": ["slack", "pager", "mail"]}}},
            "notify": {"group_wait": "1s", "group_interval": "1s", "flapping": {"settle": "1s"}},
            "channels": {
                "slack": {
                    "kind": "slack",
                    "token": slack.token,
                    "api": slack.api,
                    "signing_secret": slack.signing_secret,
                },
                "pager": {"kind": "pagerduty", "key": pagerduty.key, "api": pagerduty.url},
                "mail": {
                    "kind": "email",
                    "host": "127.0.0.1",
                    "port": mail.port,
                    "ca": str(mail.ca),
                    **account,
                    "sender": "alerts@example.com",
                    "to": ["ann@example.com"],
                },
            },
        }
        (folder / "toban.yaml").write_text(json.dumps(settings))
        night = Night(folder, points, slack, pagerduty, mail, fly)
        try:
            yield night
        finally:
            night.program.close()


DELIVERED = {
    *(("slack", kind) for kind in ("firing", "reminder", "acknowledged", "resolved")),
    *(("pager", kind) for kind in ("reminder", "acknowledged", "resolved")),
    *(("mail", kind) for kind in ("reminder", "acknowledged", "resolved")),
}
"""What each channel must have got, by kind: each step of the escalation calls by one channel more."""


STORY = Counter(
    {
        **{(kind, "", ""): 1 for kind in ("opened", "alert_fired", "alert_resolved", "resolved")},
        **{("paged", "", step): 1 for step in "123"},
        ("acknowledged", "ann", ""): 1,
        **{("runbook", "", event): 1 for event in ("started", "asked", "succeeded")},
        **{("runbook", "anonymous", event): 1 for event in ("approved", "acts", "acted")},
    }
)
"""What the timeline of the night tells, whatever happens."""
LOOKED_AT = Counter(
    {
        ("runbook", "", "unknown"): 1,
        **{("runbook", "anonymous", event): 1 for event in ("started", "asked", "approved", "acts")},
    }
)
"""What it tells in addition where a kill left an act that nobody can know: a person looks, and starts the runbook."""


@pytest.mark.parametrize("points", [pytest.param((), id="straight"), *NIGHTS])
async def test_a_night_is_the_same_with_a_kill_at_any_point(
    tmp_path: Path, points: tuple[str, ...], record_property: Any
) -> None:
    began = time.monotonic()
    async with (
        FakeSlack() as slack,
        FakePagerDuty() as pagerduty,
        FakeSmtp(tmp_path) as mail,
        FakeFly(SystemClock()) as fly,
    ):

        def passed() -> tuple[list[str], Counter[tuple[str, str, str]]]:
            with surrounded(tmp_path, points, (slack, pagerduty, mail, fly)) as night:
                night.passes()
                return night.kills, night.story()

        kills, story = await asyncio.to_thread(passed)
        if kills:
            # One that starts again can't know what the one before has asked Fly in this second: it asks again later.
            fly.mistakes[:] = [it for it in fly.mistakes if not it.startswith("too often: ")]
    assert len(kills) == len(points), f"not all of {points} were reached: {kills}"
    assert fly.restarted == [MACHINE]
    assert fly.leases == {} or kills  # a lease that a kill left ends by itself
    assert story == (STORY + LOOKED_AT if set(kills) & NOT_DONE else STORY)
    assert len(slack.messages) == 2  # the alert and its incident: Slack is looked at before a message is repeated
    assert [(it.status, it.paged) for it in pagerduty.alerts.values()] == [("resolved", 1)]
    repeated = sum(count - 1 for count in Counter(it.message["Message-ID"] for it in mail.mails).values())
    assert repeated <= len(kills)  # what was accepted at the moment of a kill comes again: the other order loses it
    record_property("kills", len(kills))
    record_property("mails that came twice", repeated)
    record_property("a night, s", time.monotonic() - began)
