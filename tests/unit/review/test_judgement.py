"""What another limit would have done, by its replay beside the present one."""

from datetime import timedelta

from tests.fakes import FakeClock
from toban.core.labels import Labels
from toban.core.replay import ReplayedFiring, RuleChange, RuleReplay
from toban.review.firing import Firing
from toban.review.judgement import MOST_LISTED, ListedFiring, PresentRule, judge
from toban.review.true_incident import TrueIncident

BEGIN = FakeClock().now()
WEB, WORKER = (Labels(alertname="slow", severity="warning", job=it) for it in ("web", "worker"))


def at(minute):
    return BEGIN + timedelta(minutes=minute)


def replay(*firings):
    found = [ReplayedFiring(labels, at(first), at(first), at(last)) for labels, first, last in firings]
    return RuleReplay("slow", BEGIN, at(100_000), timedelta(seconds=15), found)


def recorded(it, pages):
    return Firing("slow", it.fingerprint, it.labels, it.began, it.fired, "2026-01", it.ended, pages=pages)


def judged(present, replayed, incidents, pages=0):
    rule = PresentRule.of(present, [recorded(it, pages) for it in present.firings], incidents)
    return judge(RuleChange(95.0), "quantile 99.0%", rule, replayed)


def test_saved_firings_are_named_with_their_time_and_pages():
    present = replay((WEB, 10, 20), (WORKER, 15, 20), (WEB, 100, 130), (WEB, 200, 210), (WEB, 300, 310))
    found = judged(present, replay((WEB, 105, 120)), [], pages=2)
    assert (found.saved, found.saved_pages, found.is_enough) == (4, 8, True)
    assert found.saved_firings[:2] == (
        ListedFiring("job=web", at(10), at(20), 2),
        ListedFiring("job=worker", at(15), at(20), 2),
    )


def test_what_it_finds_and_misses_is_named_with_how_much_later():
    incidents = [TrueIncident("disk", at(10), at(40), 1), TrueIncident("cpu", at(100), at(140), 2)]
    incidents += [TrueIncident("net", at(200), at(240), 3), TrueIncident("none", at(900), at(940), 4)]
    present = replay((WEB, 10, 40), (WEB, 100, 140), (WEB, 200, 240))
    found = judged(present, replay((WEB, 12, 40), (WEB, 220, 240)), incidents)
    assert [(it.incident.name, it.later) for it in found.found] == [
        ("#1 disk", timedelta(minutes=2)),
        ("#3 net", timedelta(minutes=20)),
    ]
    assert [it.name for it in found.missed] == ["#2 cpu"]
    assert (found.later, found.worst) == (timedelta(minutes=11), timedelta(minutes=20))


def test_a_firing_that_becomes_two_saves_none():
    found = judged(replay((WEB, 10, 60)), replay((WEB, 12, 20), (WEB, 40, 50)), [])
    assert (found.saved, found.saved_firings, found.is_enough) == (-1, (), False)


def test_what_is_listed_is_bounded_and_counts_are_not():
    found = judged(replay(*((WEB, 100 * it, 100 * it + 5) for it in range(200))), replay(), [], pages=1)
    assert (found.saved, found.saved_pages, len(found.saved_firings)) == (200, 200, MOST_LISTED)
    assert found.saved_firings[-1].fired == at(19_900)
