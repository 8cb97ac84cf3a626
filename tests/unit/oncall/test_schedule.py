"""Schedules, against a slow model that looks at every minute."""

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from toban.oncall.duty import ScheduledDuty
from toban.oncall.rotation import Rotation, Shift
from toban.oncall.schedule import FixedShifts, Override, Schedule, schedule_of
from toban.oncall.schedule_settings import WEEKDAYS, Layer
from toban.oncall.settings import OnCallSettings

MINUTE = timedelta(minutes=1)
QUARTER = timedelta(minutes=15)
PEOPLE = {"ann": {}, "ben": {}, "cat": {}, "dan": {}}
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Africa/Casablanca"]


class MinuteModel:
    """What a schedule says of each minute of a period, found by looking at each minute."""

    def __init__(self, zone: ZoneInfo, start: datetime, days: int) -> None:
        before, after = 3 * 1440, 3 * 1440
        self.minutes = [start + number * MINUTE for number in range(-before, days * 1440 + after)]
        self.wall = [at.astimezone(zone).replace(tzinfo=None) for at in self.minutes]
        self.inside = range(before, before + days * 1440)
        # The latest time that clocks have shown so far, and the earliest that they will still show.
        self.shown = list(accumulate(self.wall, max))
        self.coming = list(accumulate(reversed(self.wall), min))[::-1]

    def covered(self, begins: datetime, ends: datetime) -> range:
        """The minutes of a period on the wall clock: from the first instant of its begin to the last one of its end."""
        last = bisect_right(self.coming, ends) - 1  # the last minute that is not after the end
        return range(bisect_left(self.shown, begins), last if self.wall[last] == ends else last + 1)

    def people(self, layer: Layer) -> list[list[str]]:
        """Who is on call on a layer in each minute."""
        found: list[list[str]] = [[] for _ in self.minutes]
        first = datetime.combine(layer.starts, layer.handoff_time)
        turn = first
        while layer.handoff_day and WEEKDAYS[turn.weekday()] != layer.handoff_day:
            turn -= timedelta(days=1)
        end = datetime.combine(layer.until, layer.handoff_time) if layer.until else datetime(2100, 1, 1)
        worked = 0
        while turn <= self.wall[-1] + timedelta(days=1):
            here = [
                (start, stop) for start, stop in runs(layer, turn, turn + layer.every) if stop > first and start < end
            ]
            for start, stop in here:
                for place in self.covered(max(start, first), min(stop, end)):
                    found[place] += layer.people[worked % len(layer.people)]
            is_worked = bool(here) if turn <= first else bool(runs(layer, turn, turn + layer.every))
            worked += is_worked
            turn += layer.every
        return [sorted(set(it)) for it in found]

    def final(self, layers: list[Layer], overrides: list[Override]) -> list[tuple[str, ...]]:
        on_layers = [self.people(layer) for layer in layers]
        found = []
        for place in self.inside:
            people: list[str] = []
            for layer in on_layers:
                people = layer[place] or people
            for it in overrides:
                if it.start <= self.minutes[place] < it.end:
                    people = (
                        sorted({it.person if one == it.instead_of else one for one in people})
                        if it.instead_of
                        else [it.person]
                    )
            found.append(tuple(people))
        return found


def runs(layer: Layer, begins: datetime, ends: datetime) -> list[tuple[datetime, datetime]]:
    """The runs of quarters of an hour on the wall clock in which a layer applies: its times are whole quarters."""
    if not layer.restrictions:
        return [(begins, ends)]
    found: list[tuple[datetime, datetime]] = []
    for number in range(round((ends - begins) / QUARTER)):
        quarter = begins + number * QUARTER
        if any(applies(one, quarter) for one in layer.restrictions):
            if found and found[-1][1] == quarter:
                found[-1] = found[-1][0], quarter + QUARTER
            else:
                found.append((quarter, quarter + QUARTER))
    return found


def applies(restriction, quarter: datetime) -> bool:
    at, today, yesterday = quarter.time(), WEEKDAYS[quarter.weekday()], WEEKDAYS[quarter.weekday() - 1]
    if restriction.ends > restriction.starts:
        return today in restriction.days and restriction.starts <= at < restriction.ends
    late, early = at >= restriction.starts, at < restriction.ends
    return (late and today in restriction.days) or (early and yesterday in restriction.days)


def minutes_of(shifts: list[Shift], start: datetime, days: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()] * (days * 1440)
    for shift in shifts:
        for place in range(round((shift.start - start) / MINUTE), round((shift.end - start) / MINUTE)):
            found[place] = tuple(sorted(shift.people))
    return found


quarters = st.builds(lambda hour, quarter: time(hour, quarter * 15), st.integers(0, 23), st.integers(0, 3))
turns = st.lists(
    st.one_of(
        st.sampled_from(sorted(PEOPLE)), st.lists(st.sampled_from(sorted(PEOPLE)), min_size=1, max_size=2, unique=True)
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def layers(draw, day: datetime):
    restrictions = [
        {
            "days": draw(st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=7, unique=True)),
            "from": draw(quarters),
            "to": draw(quarters),
        }
        for _ in range(draw(st.integers(0, 2)))
    ]
    handoff = f"{draw(quarters):%H:%M}"
    first = day.date() - timedelta(days=draw(st.integers(-4, 9)))
    return Layer.model_validate(
        {
            "people": draw(turns),
            "every": draw(st.sampled_from(["1w", "1d", "12h", "2d", "5h", "2w"])),
            "handoff": draw(st.sampled_from([handoff, f"{draw(st.sampled_from(WEEKDAYS))} {handoff}"])),
            "from": first,
            "until": draw(st.one_of(st.none(), st.just(first + timedelta(days=draw(st.integers(1, 30)))))),
            "restrictions": restrictions,
        }
    )


@st.composite
def overrides(draw, start: datetime, days: int):
    begins = start + draw(st.integers(-1440, days * 1440)) * MINUTE
    person = draw(st.sampled_from(sorted(PEOPLE)))
    others = [it for it in sorted(PEOPLE) if it != person]
    return Override(begins, begins + draw(st.integers(1, 4000)) * MINUTE, person, draw(st.sampled_from(["", *others])))


DAYS = 5


def clock_changes(zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    hours = [start + number * timedelta(hours=1) for number in range(round((end - start) / timedelta(hours=1)))]
    offsets = [at.astimezone(zone).utcoffset() for at in hours]
    return [at for at, before, after in zip(hours[1:], offsets, offsets[1:], strict=False) if before != after]


YEARS = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC))
CHANGES = [(zone, at - timedelta(days=2)) for zone in ZONES for at in clock_changes(ZoneInfo(zone), *YEARS)]
"""Two days before each change of the clocks in three years."""
CHANGES.append(("Asia/Tokyo", datetime(2026, 3, 27, tzinfo=UTC)))


def test_all_changes_of_three_years_are_there():
    found = Counter(zone for zone, _ in CHANGES)
    assert found == dict.fromkeys(ZONES, 6) | {"Asia/Tokyo": 1}


@cache
def model_of(zone: ZoneInfo, start: datetime) -> MinuteModel:
    """The minutes of a period: the same for each example, and slow to make."""
    return MinuteModel(zone, start, DAYS)


def check_against_the_model(data) -> None:
    name, at = data.draw(st.sampled_from(CHANGES))
    zone, start = ZoneInfo(name), at.replace(hour=0)
    day = start.replace(tzinfo=None)
    found = data.draw(st.lists(layers(day), min_size=1, max_size=3))
    on_top = data.draw(st.lists(overrides(start, DAYS), max_size=4))
    schedule = Schedule(tuple(Rotation.of("", it, zone) for it in found), tuple(on_top), frozenset(PEOPLE))
    shifts = schedule.shifts(start, start + timedelta(days=DAYS))
    assert minutes_of(shifts, start, DAYS) == model_of(zone, start).final(found, on_top)
    assert all(it.start < it.end for it in shifts)
    gaps = schedule.gaps(start, start + timedelta(days=DAYS))
    total = sum(((b - a) for a, b in [*gaps, *((it.start, it.end) for it in shifts)]), timedelta())
    assert total == timedelta(days=DAYS)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_layers_and_overrides_say_of_every_minute_what_the_slow_model_says(data):
    check_against_the_model(data)


@pytest.mark.soak
@given(data=st.data())
@settings(max_examples=1_000, deadline=None)
def test_many_layers_and_overrides_say_of_every_minute_what_the_slow_model_says(data):
    check_against_the_model(data)


def rotation(zone: str, **fields: object) -> Rotation:
    values = {"people": ["ann", "ben"], "from": "2025-12-29", **fields}
    return Rotation.of("", Layer.model_validate(values), ZoneInfo(zone))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("every", ["1w", "1d", "12h", "1h"])
@pytest.mark.parametrize("handoff", ["09:00", "02:00", "02:30", "03:00"])
def test_duty_is_all_time_over_the_clock_changes_of_five_years(zone, every, handoff):
    one = rotation(zone, every=every, handoff=handoff, **{"from": "2023-12-25"})
    spans = []
    for year in range(2024, 2029):
        start, end = datetime(year, 1, 2, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        near = clock_changes(ZoneInfo(zone), start, end)
        is_whole = every != "1h" and year >= 2026
        spans += [(start, end)] if is_whole else [(at - timedelta(days=2), at + timedelta(days=2)) for at in near]
    for start, end in spans:
        shifts = one.shifts(start, end)
        assert all(it.start < it.end for it in shifts)
        assert shifts[0].start <= start
        assert max(it.end for it in shifts) >= end
        for before, after in pairwise(shifts):
            assert after.start <= before.end  # never a gap
            assert before.end - after.start <= timedelta(hours=1)
        assert Schedule((one,), (), frozenset(PEOPLE)).gaps(start, end) == []


def local(shift: Shift, zone: str) -> str:
    start, end = (at.astimezone(ZoneInfo(zone)) for at in (shift.start, shift.end))
    return f"{start:%a %d %H:%M%z} {end:%a %d %H:%M%z} {'+'.join(shift.people)}"


def test_in_autumn_two_overlap_and_in_spring_a_time_that_does_not_exist_is_the_end_of_the_gap():
    one = rotation("Europe/Berlin", every="1d", handoff="02:30")
    autumn = one.shifts(datetime(2026, 10, 25, 0, 45, tzinfo=UTC), datetime(2026, 10, 25, 1, 15, tzinfo=UTC))
    assert [local(it, "Europe/Berlin") for it in autumn] == [
        "Sat 24 02:30+0200 Sun 25 02:30+0100 ben",
        "Sun 25 02:30+0200 Mon 26 02:30+0100 ann",
    ]
    spring = one.shifts(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 3, tzinfo=UTC))
    assert [local(it, "Europe/Berlin") for it in spring] == [
        "Sat 28 02:30+0100 Sun 29 03:00+0200 ben",
        "Sun 29 03:00+0200 Mon 30 02:30+0200 ann",
    ]


def test_a_turn_on_weekdays_alone_advances_by_shifts_worked():
    days = {
        "every": "1d",
        "people": ["ann", "ben", "cat"],
        "restrictions": [{"days": "mon-fri", "from": "09:00", "to": "17:00"}],
    }
    one = rotation("UTC", **days)
    shifts = one.shifts(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 10, tzinfo=UTC))
    assert [f"{it.start:%a} {it.people[0]}" for it in shifts] == [
        "Fri ben",
        "Mon cat",
        "Tue ann",
        "Wed ben",
        "Thu cat",
        "Fri ann",
    ]


def test_a_first_turn_in_which_nothing_is_worked_counts_for_nobody():
    one = rotation(
        "UTC",
        **{
            "from": "2026-01-07",
            "handoff": "mon 09:00",
            "restrictions": [{"days": "mon", "from": "09:00", "to": "17:00"}],
        },
    )
    shifts = one.shifts(datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 20, tzinfo=UTC))
    assert [f"{it.start:%d} {it.people[0]}" for it in shifts] == ["12 ann", "19 ben"]


def test_a_new_version_of_a_rotation_leaves_the_past_and_the_order_of_others():
    on_call = OnCallSettings.model_validate(
        {
            "people": PEOPLE,
            "layers": [
                {"people": ["ann", "ben", "cat"], "from": "2026-01-05", "handoff": "mon 10:00", "until": "2026-02-02"},
                {"people": ["ben", "cat"], "from": "2026-02-02", "handoff": "mon 10:00"},
            ],
        }
    )
    schedule = schedule_of(on_call, ZoneInfo("UTC"))
    shifts = schedule.shifts(datetime(2026, 1, 5, 10, tzinfo=UTC), datetime(2026, 2, 16, 10, tzinfo=UTC))
    assert [f"{it.start:%m-%d %H} {it.people[0]}" for it in shifts] == [
        "01-05 10 ann",
        "01-12 10 ben",
        "01-19 10 cat",
        "01-26 10 ann",
        "02-02 10 ben",
        "02-09 10 cat",
    ]


AT = datetime(2026, 1, 6, 12, tzinfo=UTC)
HOURS = [AT + timedelta(hours=number) for number in range(10)]


def fixed(*shifts: tuple[int, int, str], overrides: tuple[Override, ...] = (), people=PEOPLE) -> Schedule:
    layer = FixedShifts("", tuple(Shift(HOURS[start], HOURS[end], tuple(who.split("+"))) for start, end, who in shifts))
    return Schedule((layer,), overrides, frozenset(people))


def said(schedule: Schedule) -> list[str]:
    shifts = schedule.shifts(HOURS[0], HOURS[9])
    return [f"{HOURS.index(it.start)}-{HOURS.index(it.end)} {'+'.join(it.people)}" for it in shifts]


def test_a_cover_replaces_one_person_where_they_are_on_call():
    cover = Override(HOURS[1], HOURS[5], "cat", "ann")
    assert said(fixed((0, 3, "ann+ben"), (3, 4, "ben"), (4, 6, "ann"), overrides=(cover,))) == [
        "0-1 ann+ben",
        "1-3 cat+ben",
        "3-4 ben",
        "4-5 cat",
        "5-6 ann",
    ]


def test_a_cover_of_a_cover_and_one_who_is_on_call_already():
    first, second = Override(HOURS[1], HOURS[5], "cat", "ann"), Override(HOURS[2], HOURS[3], "dan", "cat")
    assert said(fixed((0, 6, "ann"), overrides=(first, second))) == [
        "0-1 ann",
        "1-2 cat",
        "2-3 dan",
        "3-5 cat",
        "5-6 ann",
    ]
    assert said(fixed((0, 3, "ann+ben"), overrides=(Override(HOURS[0], HOURS[3], "ben", "ann"),))) == ["0-3 ben"]


def test_an_override_of_everybody_fills_a_gap_too():
    over = Override(HOURS[2], HOURS[5], "cat")
    assert said(fixed((0, 3, "ann"), overrides=(over,))) == ["0-2 ann", "2-5 cat"]


def test_whoever_was_removed_leaves_the_layer_below_and_no_override():
    layers = (
        FixedShifts("", (Shift(HOURS[0], HOURS[9], ("ann",)),)),
        FixedShifts("", (Shift(HOURS[2], HOURS[4], ("gone",)),)),
    )
    schedule = Schedule(layers, (Override(HOURS[1], HOURS[3], "gone"),), frozenset(PEOPLE))
    assert said(schedule) == ["0-9 ann"]


def test_duty_knows_who_is_next_and_when():
    duty = ScheduledDuty(lambda: schedule)
    schedule = fixed((0, 3, "ann"), (3, 4, "ann+ben"), (5, 7, "cat"))
    assert duty.on_call(HOURS[1]) == ("ann",)
    assert duty.next_on_call(HOURS[1]) == ("ben",)
    assert duty.next_on_call(HOURS[3]) == ("cat",)
    assert duty.on_call(HOURS[4]) == ()
    assert duty.next_on_call(HOURS[4]) == ("cat",)
    assert [duty.next_change(HOURS[it]) for it in (0, 3, 4, 5, 7)] == [HOURS[3], HOURS[4], HOURS[5], HOURS[7], None]
    schedule = replace(schedule, overrides=(Override(HOURS[0], HOURS[2], "dan"),))
    assert duty.on_call(HOURS[1]) == ("dan",)


def test_an_override_in_settings_is_on_the_wall_clock():
    on_call = OnCallSettings.model_validate(
        {
            "people": PEOPLE,
            "layers": [{"people": ["ann"]}],
            "overrides": [{"person": "ben", "from": "2026-10-25T02:30", "to": "2026-10-25T02:45"}],
        }
    )
    schedule = schedule_of(on_call, ZoneInfo("Europe/Berlin"))
    shifts = schedule.shifts(datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 10, 25, 4, tzinfo=UTC))
    assert [f"{it.start:%H:%M}-{it.end:%H:%M} {it.people[0]}" for it in shifts] == [
        "00:00-00:30 ann",
        "00:30-01:45 ben",
        "01:45-04:00 ann",
    ]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({}, "give either `people` or a `calendar`"),
        ({"people": ["ann"], "calendar": "https://x.example/a.ics"}, "give either"),
        ({"people": ["ann", "ben"]}, "`from` is missing"),
        ({"people": [[]]}, "must be a person"),
        ({"people": ["ann"], "every": "90m"}, "whole hours"),
        ({"people": ["ann"], "every": "30m"}, "whole hours"),
        ({"people": ["ann"], "handoff": "monday"}, "invalid hand-off 'monday'"),
        ({"people": ["ann"], "handoff": "xyz 10:00"}, "invalid hand-off"),
        ({"people": ["ann"], "handoff": "24:00"}, "invalid hand-off"),
        ({"people": ["ann"], "from": "2026-01-05", "until": "2026-01-05"}, "`until` must be later"),
        ({"people": ["ann"], "restrictions": [{"days": "someday"}]}, "invalid weekdays"),
        ({"calendar": "https://x.example/a.ics", "handoff": "10:00"}, "says itself"),
    ],
)
def test_an_invalid_layer_says_what_is_wrong(layer, message):
    with pytest.raises(ValidationError, match=message):
        Layer.model_validate(layer)
