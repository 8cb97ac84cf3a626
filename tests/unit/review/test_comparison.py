"""What was recorded, beside what a replay fired."""

from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from toban.core.labels import Labels
from toban.core.replay import ReplayedFiring, RuleReplay
from toban.review.comparison import ReplayComparison, compare
from toban.review.firing import Firing

NOW = FakeClock().now()
WEB, WORKER = Labels(alertname="down", job="web"), Labels(alertname="down", job="worker")


def replay_of(*firings):
    found = [ReplayedFiring(labels, at(minute), at(minute)) for labels, minute in firings]
    return RuleReplay("down", NOW, at(600), timedelta(seconds=15), found)


def recorded(*firings):
    return [
        Firing("down", ReplayedFiring(labels, NOW, NOW).fingerprint, labels, at(minute), at(minute), "2026-01")
        for labels, minute in firings
    ]


def at(minute):
    return NOW + timedelta(minutes=minute)


@pytest.mark.parametrize(
    ("replayed", "stored", "expected"),
    [
        ([], [], (0, 0, 0)),
        ([(WEB, 5)], [(WEB, 5.4)], (1, 0, 0)),
        ([(WEB, 5)], [(WEB, 7)], (0, 1, 1)),
        ([(WEB, 5)], [(WORKER, 5)], (0, 1, 1)),
        ([(WEB, 5), (WEB, 5.5)], [(WEB, 5.2)], (1, 0, 1)),
        ([(WEB, 5)], [(WEB, 5), (WEB, 700)], (1, 0, 0)),
    ],
)
def test_firings_of_the_same_alert_at_about_the_same_time_match_once(replayed, stored, expected):
    assert compare(replay_of(*replayed), recorded(*stored)) == ReplayComparison(*expected)


@pytest.mark.parametrize(
    ("comparison", "agrees"), [((0, 0, 0), True), ((9, 1, 1), True), ((8, 2, 0), False), ((0, 1, 0), False)]
)
def test_a_replay_is_trusted_where_nine_of_ten_firings_match(comparison, agrees):
    assert ReplayComparison(*comparison).agrees is agrees
