"""Who is called, when, and when nobody is any more."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from tests.incident_timeline import Night, Shifts, policy
from toban.incidents import lifecycle
from toban.incidents.book import Suppression
from toban.incidents.incident import EntryKind, IncidentState
from toban.incidents.policy import IncidentPolicy
from toban.oncall.duty import ScheduledDuty
from toban.oncall.schedule import schedule_of
from toban.oncall.settings import OnCallSettings

TEAM = {
    "people": {
        "ann": {"name": "Ann", "channels": ["phone", "sms"]},
        "ben": {"name": "Ben", "channels": ["mail"]},
    }
}
ANN_THEN_BEN = Shifts(("0:00", ("ann",)), ("10:00", ("ben",)))


@pytest.fixture(params=[False, True], ids=["straight", "restarted"])
def night(request: pytest.FixtureRequest) -> Night:
    return Night(policy(TEAM, duty=ANN_THEN_BEN), restarts=request.param)


def test_p1_calls_one_channel_more_each_time_then_the_next_person_then_everybody(night: Night) -> None:
    night.at("2:14").fires("application_down").at("3:10")
    assert [line.partition(":  ")[0] for line in night.sent() if "deadline" not in line and "%" not in line] == [
        "02:14:10 phone firing: You are called: please acknowledge within 15m.",
        "02:19:10 phone reminder: Nobody has answered for 5m: please acknowledge.",
        "02:19:10 sms reminder: Nobody has answered for 5m: please acknowledge.",
        "02:24:10 phone reminder: Nobody has answered for 10m: please acknowledge.",
        "02:24:10 sms reminder: Nobody has answered for 10m: please acknowledge.",
        "02:24:10 mail reminder: Nobody has answered for 10m: please acknowledge.",
        "02:29:10 phone reminder: The time to respond is over and nobody has answered.",
        "02:29:10 sms reminder: The time to respond is over and nobody has answered.",
        "02:29:10 mail reminder: The time to respond is over and nobody has answered.",
        "02:29:10 phone reminder: Nobody has answered for 15m: everybody is called.",
        "02:29:10 sms reminder: Nobody has answered for 15m: everybody is called.",
        "02:29:10 mail reminder: Nobody has answered for 15m: everybody is called.",
        "02:44:10 phone reminder: Nobody has answered for 30m: everybody is called.",
        "02:44:10 sms reminder: Nobody has answered for 30m: everybody is called.",
        "02:44:10 mail reminder: Nobody has answered for 30m: everybody is called.",
        "02:59:10 phone reminder: Nobody has answered for 45m: everybody is called.",
        "02:59:10 sms reminder: Nobody has answered for 45m: everybody is called.",
        "02:59:10 mail reminder: Nobody has answered for 45m: everybody is called.",
    ]


def test_whoever_was_called_hears_of_the_answer_and_of_the_end_and_nobody_else(night: Night) -> None:
    night.at("2:14").fires("application_down").at("2:16")
    night.sent()
    night.acknowledges("ann").at("2:40").ends("application_down").at("3:30")
    assert night.sent() == [
        "02:16 phone acknowledged: Ann has acknowledged it, until 02:46 UTC.",
        "02:41:30 phone resolved: All of its alerts are resolved.",
    ]
    assert night.book.incidents[1].state is IncidentState.RESOLVED


def test_nobody_is_called_and_warned_of_what_is_over_unless_it_comes_back(night: Night) -> None:
    # Given an incident whose second step and first warning are due within the 90 s after its alert has ended
    night.at("2:14").fires("application_down").at("2:18:30").ends("application_down")
    night.sent()
    assert night.at("2:19:50").sent() == []
    # When it fires again, what was due follows at once
    night.fires("application_down").at("2:20:10")
    assert night.sent() == [
        "02:19:50 phone reminder: Nobody has answered for 5m40s: please acknowledge.",
        "02:19:50 sms reminder: Nobody has answered for 5m40s: please acknowledge.",
    ]


def test_an_acknowledgement_lapses_after_a_question_without_an_answer(night: Night) -> None:
    night.at("2:14").fires("application_down").at("2:16").acknowledges("ann")
    night.sent()
    night.at("2:56")
    question = "Do you still work on it? Acknowledge it again within 5m; otherwise people are called."
    assert night.sent() == [
        f"02:46 phone reminder: {question}",
        f"02:46 sms reminder: {question}",
        "02:51 phone firing: You are called: please acknowledge within 15m.",
        "02:56 phone reminder: Nobody has answered for 41m50s: please acknowledge.",
        "02:56 sms reminder: Nobody has answered for 41m50s: please acknowledge.",
    ]
    assert night.book.incidents[1].state is IncidentState.TRIGGERED


def test_a_note_extends_an_acknowledgement(night: Night) -> None:
    night.at("2:14").fires("application_down").at("2:16").acknowledges("ann").at("2:40")
    night.does(lambda policy, incident, now: lifecycle.still_working(policy, lifecycle.Change(incident, now)))
    night.sent()
    assert night.at("3:09").sent() == []
    assert night.at("3:10").sent()


def test_a_snooze_ends_by_calling_again_from_the_first_step(night: Night) -> None:
    night.at("2:14").fires("application_down").at("2:16")
    night.does(
        lambda policy, incident, now: lifecycle.acknowledged(
            policy, incident, "ann", now, until=now.replace(hour=3, minute=0)
        )
    )
    night.sent()
    assert night.at("3:01").sent() == ["03:00 phone firing: You are called: please acknowledge within 15m."]


def test_a_more_urgent_alert_takes_the_acknowledgement_back(night: Night) -> None:
    night.at("2:14").fires("slow", severity="warning").at("2:16").acknowledges("ann")
    night.sent()
    night.suppression = Suppression(component=lambda _: "shop")
    night.book = replace(night.book, incidents={1: replace(night.book.incidents[1], component="shop")})
    night.fires("application_down").at("2:17")
    assert night.book.incidents[1].priority == "P1"
    assert night.book.incidents[1].state is IncidentState.TRIGGERED
    assert night.sent() == ["02:16:10 phone firing: You are called: please acknowledge within 15m."]


def test_a_shift_change_tells_both_while_nobody_has_answered(night: Night) -> None:
    night.at("9:58").fires("application_down").at("10:00:05")
    told = [line for line in night.sent() if "shift" in line]
    assert told == [
        "10:00 phone notice: The shift has changed: Ben is on call now, after Ann.",
        "10:00 mail notice: The shift has changed: Ben is on call now, after Ann.",
    ]
    assert [line.split()[1] for line in night.at("10:04").sent()] == ["mail"]


def test_a_shift_change_tells_only_the_new_person_of_what_is_acknowledged(night: Night) -> None:
    night.at("9:50").fires("application_down").at("9:58").acknowledges("ann")
    night.sent()
    assert night.at("10:01").sent() == [
        "10:00 mail notice: Your shift has begun with this open incident; Ann works on it."
    ]


def test_a_step_without_anybody_is_left_at_once() -> None:
    empty = Shifts(("0:00", ()), ("12:00", ("ben",)))
    night = Night(policy(TEAM, duty=empty))
    night.at("2:14").fires("application_down").at("2:14:30")
    assert [line.split()[1] for line in night.sent()] == ["mail"]  # the third step: on_call and next
    assert [entry.kind for entry in night.entries].count(EntryKind.NOBODY) == 2


def test_nobody_at_all_goes_to_the_fallback_then_to_every_channel() -> None:
    nobody = Shifts(("0:00", ()))
    steps = {"escalation": {"P1": [{"notify": ["on_call"], "wait": "5m"}]}}
    fallback = Night(policy({**TEAM, "fallback": ["ben"]}, steps, nobody))
    assert [line.split()[1] for line in fallback.at("2:14").fires("application_down").at("2:15").sent()] == ["mail"]
    everyone = Night(policy(TEAM, steps, nobody))
    assert [line.split()[1] for line in everyone.at("2:14").fires("application_down").at("2:15").sent()] == [
        "phone",
        "mail",
    ]
    unreachable = Night(policy({"people": {"ann": {}}}, steps, nobody))
    assert [line.split()[1] for line in unreachable.at("2:14").fires("application_down").at("2:15").sent()] == [
        "phone",
        "sms",
    ]


def test_without_people_the_channels_that_page_are_reminded_after_the_alerts_own_notification() -> None:
    night = Night(policy())
    night.at("2:14").fires("application_down").at("2:20")
    assert night.sent() == [
        "02:19:10 phone reminder: Nobody has answered for 5m: please acknowledge.",
        "02:19:10 sms reminder: Nobody has answered for 5m: please acknowledge.",
    ]


def test_a_channel_whose_service_calls_by_itself_is_not_reminded_of_what_it_has() -> None:
    night = Night(policy(channels={"pagerduty": True, "chat": False}, calling=frozenset({"pagerduty"})))
    night.at("2:14").fires("application_down").at("2:35")
    assert night.sent() == []


def test_quiet_hours_hold_a_warning_until_they_end_and_never_a_p1() -> None:
    people = {
        "people": {"ann": {"channels": ["phone"], "timezone": "Asia/Tokyo", "quiet": {"from": "22:00", "to": "07:00"}}}
    }
    night = Night(policy(people))
    night.at("14:00").fires("slow", severity="warning", job="a").at("21:59")  # 23:00 in Tokyo
    assert [line for line in night.sent() if "%" not in line and "over" not in line] == []
    night.at("22:00")
    assert [line.split(": ")[0] for line in night.sent() if "called" in line] == ["22:00 phone firing"]
    night.at("23:00").fires("application_down").at("23:01")
    assert any("called" in line for line in night.sent())


def test_a_silenced_incident_calls_nobody_until_the_silence_ends() -> None:
    night = Night(policy(TEAM, duty=ANN_THEN_BEN))
    night.at("2:14").fires("application_down").at("2:14:05")
    [name] = night.book.waiting
    night.suppression = Suppression(muted=frozenset({name}))
    night.at("2:40")
    assert night.sent() == []
    assert not night.book.incidents
    night.suppression = Suppression()
    night.at("2:41")
    assert [line.split()[1] for line in night.sent()] == ["phone"]


def test_steps_and_deadlines_of_a_priority_can_be_set() -> None:
    steps = {
        "escalation": {"P3": [{"notify": ["ben"], "wait": "1h"}]},
        "around_the_clock": ["P1", "P3"],
        "deadlines": {"P3": {"respond": "2h", "resolve": "8h"}},
    }
    night = Night(policy(TEAM, steps, ANN_THEN_BEN))
    night.at("2:14").fires("hint", severity="info").at("3:15")
    assert night.sent() == [
        "02:14:10 mail firing: You are called: please acknowledge within 2h.",
        "03:14:10 phone reminder: 50 % of the time to respond have passed: it ends at 03-04 04:14 UTC.",
        "03:14:10 mail reminder: Nobody has answered for 1h: please acknowledge.",
    ]


def test_an_incident_that_re_opens_has_all_of_its_time_again(night: Night) -> None:
    """
    Nobody is told of a deadline that passed while nothing was wrong.
    """
    night.at("1:00").fires("db", severity="critical").at("1:01").ends("db", severity="critical").at("1:10")
    night.at("1:14").fires("db", severity="critical").at("1:20")
    assert [line for line in night.timeline() if line.endswith("deadline")] == []
    night.at("1:22").at("1:27")
    assert [line for line in night.timeline() if line.endswith("deadline")] == [
        "01:21:40 deadline",
        "01:26:10 deadline",
    ]


def test_deadlines_outside_working_hours_stand_still() -> None:
    night = Night(policy(TEAM, {"escalation": {"P2": []}}, Shifts(("0:00", ("ann",)))))
    night.at("2d 17:29").fires("slow", severity="warning").at("4d 23:00")  # Friday to Sunday
    warnings = night.sent()
    assert len(warnings) == 1
    assert "50 %" in warnings[0]
    night.at("5d 9:25")
    assert any("80 %" in line for line in night.sent())
    night.at("5d 9:31")
    assert any("time to respond is over" in line for line in night.sent())


QUIET = {"people": {"ann": {"channels": ["phone"], "quiet": {"from": "22:00", "to": "07:00"}}}}


def test_what_quiet_hours_held_back_is_one_message_of_the_most_urgent_and_lists_the_others() -> None:
    night = Night(policy(QUIET, {"deadlines": {"P3": {"respond": "1w", "resolve": "2w"}}}))
    night.at("1:00").fires("hint_one", severity="info").at("2:00").fires("slow", severity="warning")
    night.at("3:00").fires("hint_two", severity="info").at("7:00:01")
    called = [it for it in night.messages if it.kind.value == "firing"]
    assert [(f"{it.at:%H:%M}", it.receiver, it.title) for it in called] == [("07:00", "phone", "Slow")]
    assert called[0].lines[-3:] == (
        "2 more incidents were held back until now:",
        "• #1 P3 Hint one",
        "• #3 P3 Hint two",
    )
    paged = [it.incident for it in night.entries if it.kind is EntryKind.PAGED]
    assert sorted(paged) == [1, 2, 3]


def test_one_held_call_and_those_to_other_channels_stay_as_they_are() -> None:
    people = {"people": {**QUIET["people"], "ben": {"channels": ["mail"], "quiet": {"from": "22:00", "to": "06:00"}}}}
    steps = {"escalation": {"P3": [{"notify": ["ann"], "wait": "1d"}], "P2": [{"notify": ["ben"], "wait": "1d"}]}}
    night = Night(policy(people, steps))
    night.at("1:00").fires("hint_one", severity="info").at("2:00").fires("slow", severity="warning").at("7:30")
    called = [(f"{it.at:%H:%M}", it.receiver, len(it.lines)) for it in night.messages if it.kind.value == "firing"]
    assert called == [("06:00", "mail", 3), ("07:00", "phone", 3)]


def test_a_hand_over_in_the_second_of_an_answer_leaves_the_incident_with_who_answered(night: Night) -> None:
    night.at("9:58").fires("application_down").at("9:59")
    night.sent()
    night.at("10:00").acknowledges("ann").at("10:20")
    assert night.sent() == [
        "10:00 phone notice: The shift has changed: Ben is on call now, after Ann.",
        "10:00 mail notice: The shift has changed: Ben is on call now, after Ann.",
        "10:00 phone acknowledged: Ann has acknowledged it, until 10:30 UTC.",
        "10:00 mail acknowledged: Ann has acknowledged it, until 10:30 UTC.",
    ]


def test_whoever_follows_a_gap_of_the_schedule_hears_of_what_is_open() -> None:
    gap = Shifts(("0:00", ("ann",)), ("3:00", ()), ("4:00", ("ben",)))
    night = Night(policy(TEAM, {"acknowledged_for": {"P1": "12h"}}, duty=gap))
    night.at("2:14").fires("application_down").at("2:16").acknowledges("ann").at("3:30")
    assert night.book.incidents[1].on_duty == ("ann",)
    night.sent()
    night.at("4:01")
    assert "04:00 mail notice: Your shift has begun with this open incident; Ann works on it." in night.sent()


def test_a_person_who_was_removed_while_on_duty_is_followed_by_the_layer_below() -> None:
    layers = {"layers": [{"people": ["ben"]}, {"people": ["ann"]}]}
    night = Night(scheduled({**TEAM, **layers}))
    night.at("2:14").fires("application_down").at("2:15")
    assert [line.split()[1] for line in night.sent()] == ["phone"]
    night.policy = scheduled({"people": {"ben": TEAM["people"]["ben"]}, "layers": [layers["layers"][0]]})
    night.at("2:20")
    assert {line.split()[1] for line in night.sent()} == {"mail"}


def scheduled(on_call: dict[str, object]) -> IncidentPolicy:
    schedule = schedule_of(OnCallSettings.model_validate(on_call), ZoneInfo("UTC"))
    return policy(on_call, duty=ScheduledDuty(lambda: schedule))
