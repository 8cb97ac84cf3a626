"""The schedule as it is now: commands, restarts, calendars that fail, state that is unavailable."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import httpx2
import pytest

from tests.fakes import FakeClock
from tests.incident_timeline import policy
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification
from toban.incidents.stages.escalate import targets
from toban.oncall.commands import OnCallCommands
from toban.oncall.report import on_call_report, schedule_problems
from toban.oncall.service import CALENDAR_AGE, NEXT_GAP, OnCallService
from toban.oncall.settings import OnCallSettings
from toban.state import audit_log
from toban.state.backends import open_backend
from toban.state.database import State

ANN = Actor("ann", "session")
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
PEOPLE = {"ann": {"name": "Ann", "channels": ["phone"]}, "ben": {"channels": ["mail"]}, "cat": {}}
WEEKLY = {"people": ["ann", "ben"], "from": "2026-03-02", "handoff": "mon 09:00"}
CHANNELS = {"phone": True, "mail": False}


def calendar(who: str, start: str = "20260301T000000Z", end: str = "20260310T000000Z") -> str:
    lines = ["BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z", f"DTSTART:{start}", f"DTEND:{end}", f"SUMMARY:{who}"]
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x", *lines, "END:VEVENT", "END:VCALENDAR", ""])


class CalendarServer:
    """Answers with a calendar, or with what is lined up."""

    def __init__(self) -> None:
        self.content = calendar("cat")
        self.status = 200
        self.asked: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        etag = f'"{hash(self.content)}"'
        if self.status == 200 and request.headers.get("if-none-match") == etag:
            return httpx2.Response(304)
        return httpx2.Response(self.status, text=self.content, headers={"etag": etag})


class Life:
    """A schedule over state, which can be started again."""

    def __init__(self, state: State, clock: FakeClock, http: httpx2.AsyncClient, layers: list[object]) -> None:
        self.state, self.clock, self.http = state, clock, http
        self.meters = MetricRegistry()
        self.settings = OnCallSettings.model_validate({"people": PEOPLE, "layers": layers})
        self.woken = 0
        self.sent: list[Notification] = []
        self.restart()

    def restart(self) -> None:
        args = (self.settings, ZoneInfo("UTC"), self.state, self.http, self.clock, self.meters)
        self.service = OnCallService(*args)
        found = policy({"people": PEOPLE}, duty=self.service.duty)
        self.commands = OnCallCommands(self.service, lambda: found, self, self.state, self.clock, self._changed)

    def enqueue_messages(self, connection: object, messages: Sequence[Notification], now: datetime) -> None:
        self.sent += messages

    def wake_channels(self) -> None:
        pass

    def told(self) -> list[str]:
        sent, self.sent = self.sent, []
        return [f"{it.receiver}: {it.title}" for it in sent]

    async def _changed(self) -> None:
        self.woken += 1

    def on_call(self, **later: float) -> tuple[str, ...]:
        return self.service.duty.on_call(self.clock.now() + timedelta(**later))

    async def minutes(self, number: float) -> None:
        self.clock.set(self.clock.now() + timedelta(minutes=number))
        await self.service.once()

    async def audit(self) -> list[str]:
        rows = await self.state.transaction(audit_log.recent)
        return [f"{it.actor.name} {it.action}" for it in reversed(rows)]


@pytest.fixture
def server():
    return CalendarServer()


@pytest.fixture
async def start(tmp_path, server):
    clock = FakeClock(NOW)
    async with (
        State(open_backend(None, tmp_path), clock, MetricRegistry()) as state,
        httpx2.AsyncClient(transport=httpx2.MockTransport(server)) as http,
    ):
        yield lambda *layers: Life(state, clock, http, list(layers))


def hours(start: float, end: float) -> tuple[datetime, datetime]:
    return NOW + timedelta(hours=start), NOW + timedelta(hours=end)


async def test_a_cover_is_in_force_at_once_after_a_restart_and_in_the_audit_log(start):
    life = start(WEEKLY)
    made = await life.commands.cover("ann", "cat", *hours(1, 3), ANN, "dentist")
    for _ in range(2):
        assert [life.on_call(hours=it) for it in (0, 1, 3)] == [("ann",), ("cat",), ("ann",)]
        life.restart()
        await life.service.load()
    assert life.woken == 1
    await life.commands.cancel(made.id, ANN)
    assert life.on_call(hours=1) == ("ann",)
    assert await life.audit() == ["ann covered a shift", "ann cancelled an on-call override"]


async def test_what_has_begun_ends_now_when_it_is_cancelled(start):
    life = start(WEEKLY)
    made = await life.commands.override("cat", *hours(0, 5), ANN)
    life.clock.set(NOW + timedelta(hours=1))
    await life.commands.cancel(made.id, ANN)
    assert life.on_call(hours=-0.5) == ("cat",)
    assert life.on_call() == ("ann",)
    with pytest.raises(InvalidCommandError, match="it has ended"):
        await life.commands.cancel(made.id, ANN)


async def test_whoever_is_concerned_hears_of_a_change_but_who_made_it(start):
    life = start(WEEKLY)
    period = "from 2026-03-04 13:00 UTC to 2026-03-04 15:00 UTC"
    made = await life.commands.cover("ann", "ben", *hours(1, 3), Actor("root", "session"))
    assert life.told() == [
        f"mail: ben is on call in place of Ann {period}",
        f"phone: ben is on call in place of Ann {period}",
    ]
    await life.commands.cancel(made.id, ANN)
    assert life.told() == [f"mail: Cancelled: ben in place of Ann {period}"]
    swap = await life.commands.swap("ann", *hours(1, 3), ANN)
    assert life.told() == [f"mail: Ann looks for somebody to be on call {period}"]
    await life.commands.take(swap.id, "ben", Actor("ben", "session"))
    assert life.told() == [f"phone: ben has taken the shift of Ann {period}"]
    await life.commands.override("cat", *hours(1, 3), ANN)
    assert life.told() == [f"mail: cat alone is on call {period}"]


async def test_an_untaken_swap_changes_nothing_and_a_taken_one_does(start):
    life = start(WEEKLY)
    first = await life.commands.swap("ann", *hours(1, 3), ANN)
    assert life.on_call(hours=2) == ("ann",)
    with pytest.raises(InvalidCommandError, match="their own"):
        await life.commands.take(first.id, "ann", ANN)
    await life.commands.take(first.id, "ben", ANN)
    assert [life.on_call(hours=it) for it in (0, 2, 3)] == [("ann",), ("ben",), ("ann",)]
    with pytest.raises(InvalidCommandError, match="no open swap"):
        await life.commands.take(first.id, "cat", ANN)
    second = await life.commands.swap("ann", *hours(5, 6), ANN)
    life.clock.set(NOW + timedelta(hours=5))
    with pytest.raises(InvalidCommandError, match="nobody took it in time"):
        await life.commands.take(second.id, "cat", ANN)
    assert life.on_call() == ("ann",)


async def test_a_swap_that_is_taken_later_is_above_a_cover_that_was_made_meanwhile(start):
    life = start(WEEKLY)
    swap = await life.commands.swap("ann", *hours(1, 5), ANN)
    life.clock.advance(60)
    await life.commands.override("ann", *hours(2, 3), ANN)
    life.clock.advance(60)
    await life.commands.take(swap.id, "cat", ANN)
    assert life.service.duty.on_call(NOW + timedelta(hours=2)) == ("cat",)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (lambda it: it.cover("ann", "ann", *hours(1, 2), ANN), "stands in for themselves"),
        (lambda it: it.cover("ann", "zoe", *hours(1, 2), ANN), "unknown person 'zoe'"),
        (lambda it: it.cover("zoe", "ann", *hours(1, 2), ANN), "unknown person 'zoe'"),
        (lambda it: it.cover("ben", "ann", *hours(1, 2), ANN), "ben is not on call"),
        (lambda it: it.cover("ann", "ben", *hours(2, 1), ANN), "must be later"),
        (lambda it: it.cover("ann", "ben", *hours(-3, -1), ANN), "must be later"),
        (lambda it: it.override("ann", *hours(1, 24 * 400), ANN), "at most 366 days"),
        (lambda it: it.override("ann", *hours(1, 2), ANN, "a\0b"), "invalid character"),
        (lambda it: it.swap("ann", *hours(-1, 2), ANN), "must begin in the future"),
        (lambda it: it.take(7, "ann", ANN), "override 7 not found"),
        (lambda it: it.cancel(7, ANN), "override 7 not found"),
    ],
)
async def test_a_wrong_command_says_why_and_changes_nothing(start, command, message):
    life = start(WEEKLY)
    with pytest.raises((InvalidCommandError, NotFoundError), match=message):
        await command(life.commands)
    assert await life.audit() == []
    assert life.woken == 0


async def test_without_layers_everybody_is_on_call_and_there_is_nothing_to_cover(start):
    life = start()
    await life.service.once()
    assert life.on_call() == ("ann", "ben", "cat")
    with pytest.raises(InvalidCommandError, match=r"write `on_call\.layers`"):
        await life.commands.cover("ann", "ben", *hours(1, 2), ANN)


async def test_a_calendar_is_read_kept_and_told_apart_from_none(start, server):
    life = start(WEEKLY, {"name": "ics", "calendar": "https://x.example/a.ics"})
    await life.service.once()
    assert life.on_call() == ("cat",)
    await life.minutes(1)
    assert len(server.asked) == 1  # it is read every ten minutes
    await life.minutes(10)
    assert len(server.asked) == 2  # and was as its etag says
    assert life.meters.value(CALENDAR_AGE, layer="ics") == 0
    server.content = calendar("ben")
    await life.minutes(10)
    assert life.on_call() == ("ben",)
    assert life.service.health().ok


@pytest.mark.parametrize("trouble", [{"status": 503}, {"content": "<html>Log in</html>"}, {"content": "x" * 2**21}])
async def test_a_calendar_that_is_gone_counts_by_its_last_copy_then_the_layer_below_does(start, server, trouble):
    life = start(WEEKLY, {"name": "ics", "calendar": "https://x.example/a.ics"})
    await life.service.once()
    vars(server).update(trouble)
    await life.minutes(30)
    assert life.service.health().ok
    await life.minutes(60)
    assert life.on_call() == ("cat",)
    assert "was last read 2026-03-04 12:00 UTC, its last copy counts" in life.service.health().message
    assert not life.service.health().ok
    life.restart()
    await life.service.load()
    assert life.on_call() == ("cat",)
    await life.minutes(3 * 24 * 60)
    assert life.on_call() == ("ann",)
    assert "the layers below count" in life.service.health().message
    server.status, server.content = 200, calendar("ben")
    await life.minutes(10)
    assert life.on_call() == ("ben",)
    assert life.service.health().ok


async def test_a_calendar_alone_counts_however_old_its_copy_is(start, server):
    life = start({"calendar": "https://x.example/a.ics"})
    await life.service.once()
    server.status = 404
    await life.minutes(5 * 24 * 60)
    assert life.on_call() == ("cat",)
    assert not life.service.health().ok


async def test_a_calendar_that_was_never_read_leaves_the_layer_below(start, server):
    server.status = 401
    life = start(WEEKLY, {"name": "ics", "calendar": "https://x.example/secret.ics"})
    await life.service.once()
    assert life.on_call() == ("ann",)
    health = life.service.health()
    assert (health.ok, health.message) == (False, "calendar 'ics' was never read: its server responds with HTTP 401")


async def test_overrides_stay_in_force_while_state_is_unavailable(start, monkeypatch):
    life = start(WEEKLY)
    await life.commands.cover("ann", "cat", *hours(0, 3), ANN)

    async def broken(_):
        raise StateError("the disk is full")

    monkeypatch.setattr(life.state, "transaction", broken)
    await life.minutes(1)
    assert life.on_call() == ("cat",)
    assert not life.service.health().ok
    monkeypatch.undo()
    await life.minutes(1)
    assert life.service.health().ok


async def test_the_next_gap_is_measured_and_absent_without_one(start):
    life = start({**WEEKLY, "until": "2026-03-16"})
    await life.service.once()
    gap = datetime(2026, 3, 16, 9, tzinfo=UTC)
    assert life.meters.value(NEXT_GAP) == (gap - NOW).total_seconds()
    await life.commands.override("cat", gap, gap + timedelta(days=60), ANN)
    await life.service.once()
    assert [family.name for family, _, _ in life.meters.series()] == []
    life.clock.set(gap + timedelta(days=61))
    await life.service.once()
    assert life.meters.value(NEXT_GAP) == 0


async def test_the_report_has_layers_gaps_and_who_can_not_be_reached(start):
    life = start({**WEEKLY, "until": "2026-03-16"}, {"people": ["cat"], "restrictions": [{"days": "sat"}]})
    report = on_call_report(life.service, CHANNELS, NOW, NOW, NOW + timedelta(days=7))
    assert (report.on_call, report.next_on_call) == (("ann",), ("cat",))
    assert [(name, [it.people for it in shifts]) for name, shifts in report.layers] == [
        ("layer 1", [("ann",), ("ben",)]),
        ("layer 2", [("cat",)]),
    ]
    assert [it.people for it in report.final] == [("ann",), ("cat",), ("ann",), ("ben",)]
    assert report.gaps[0] == (datetime(2026, 3, 16, 9, tzinfo=UTC), datetime(2026, 3, 21, tzinfo=UTC))
    assert report.unreachable == ["ben", "cat"]
    gap, nameless = schedule_problems(life.service.schedule, life.settings, CHANNELS, ZoneInfo("Asia/Tokyo"), NOW)
    assert "the first one from 2026-03-16 18:00 to 2026-03-21 09:00 JST" in gap
    assert nameless.startswith("no channel that pages: ben, cat")


async def test_a_feed_is_read_with_its_secret_alone_and_a_new_one_ends_it(start):
    life = start(WEEKLY)
    secret = await life.commands.new_feed("ann", ANN)
    assert "SUMMARY:On call: Ann" in await life.commands.feed(secret)
    assert "SUMMARY:当番: Ann" in await life.commands.feed(secret, "ja")
    again = await life.commands.new_feed("ann", ANN)
    for wrong in (secret, "", again[:-1], "\udc00"):
        with pytest.raises(NotFoundError):
            await life.commands.feed(wrong)
    assert await life.commands.feed(again)
    with pytest.raises(InvalidCommandError, match="unknown person"):
        await life.commands.new_feed("zoe", ANN)


async def test_escalations_ask_the_schedule_when_a_step_is_made(start):
    life = start(WEEKLY)
    found = policy({"people": PEOPLE}, duty=life.service.duty)
    assert targets(found, ["on_call", "next"], NOW) == ["ann", "ben"]
    await life.commands.cover("ann", "cat", *hours(0, 1), ANN)
    assert targets(found, ["on_call", "next"], NOW) == ["cat", "ann"]


@pytest.mark.parametrize("seed", range(3))
async def test_any_sequence_of_commands_says_of_each_hour_what_a_plain_list_says(start, seed):
    """
    The list has the changes in the order in which they were decided; an open swap is none.
    """
    life, random = start(WEEKLY), Random(seed)
    changes: dict[int, tuple[int, int, str, str]] = {}
    offers: dict[int, tuple[int, int, str]] = {}
    for step in range(40):
        life.clock.advance(1)
        begin = random.randrange(1, 90)
        end = begin + random.randrange(1, 30)
        person, other = random.sample(sorted(PEOPLE), 2)
        try:
            match random.choice(["cover", "cover", "swap", "swap", "take", "take", "override", "cancel"]):
                case "cover":
                    made = await life.commands.cover(person, other, *hours(begin, end), ANN)
                    changes[made.id] = begin, end, other, person
                case "override":
                    made = await life.commands.override(person, *hours(begin, end), ANN)
                    changes[made.id] = begin, end, person, ""
                case "swap":
                    made = await life.commands.swap(person, *hours(begin, end), ANN)
                    offers[made.id] = begin, end, person
                case "take" if offers:
                    number = random.choice(sorted(offers))
                    await life.commands.take(number, person, ANN)
                    begin, end, whose = offers.pop(number)
                    changes[number] = begin, end, person, whose
                case "cancel" if changes or offers:
                    number = random.choice([*changes, *offers])
                    await life.commands.cancel(number, ANN)
                    changes.pop(number, None)
                    offers.pop(number, None)
        except InvalidCommandError as error:
            assert any(text in str(error) for text in ("is not on call", "takes their own"))
        if step % 10 == 9:
            life.restart()
            await life.service.load()
        expected = []
        for hour in range(120):
            people = ["ann"] if NOW + timedelta(hours=hour) < datetime(2026, 3, 9, 9, tzinfo=UTC) else ["ben"]
            for first, last, who, whose in changes.values():
                if first <= hour < last:
                    people = [who if one == whose else one for one in people] if whose else [who]
            expected.append(tuple(people))
        assert [life.service.duty.on_call(NOW + timedelta(hours=hour)) for hour in range(120)] == expected
    assert set(await life.audit()) == {
        "ann covered a shift",
        "ann overrode the on-call schedule",
        "ann offered a swap",
        "ann took a swap",
        "ann cancelled an on-call override",
    }
