"""The alert machine."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from toban.alerting import repository
from toban.alerting.states import RESOLVED_RETENTION, RuleResult, resolve_all, step
from toban.core.alerts import AlertStatus
from toban.core.labels import Labels

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = [Labels(alertname="a", instance=it) for it in "xyz"]
LENGTHS = st.sampled_from([timedelta(), timedelta(seconds=30), timedelta(minutes=2)])
SIGHTS = st.lists(
    st.tuples(st.integers(1, 90), st.sets(st.sampled_from(LABELS))).map(lambda it: (timedelta(seconds=it[0]), it[1])),
    max_size=40,
)


def lived(sights, hold, keep, *, forgetful=False):
    """Return the changes of a history; a forgetful one is written down and read again after each step."""
    standings, now, changes = {}, BEGAN, []
    for after, found in sights:
        now += after
        done = step(standings, {labels: RuleResult(1.0, {}) for labels in found}, now, hold, keep)
        standings = done.after
        if forgetful:
            standings = {labels: repository.parse_alert(repository.dump_alert(it)) for labels, it in standings.items()}
        changes += done.changes
    return standings, changes


@given(SIGHTS, LENGTHS, LENGTHS)
def test_each_alert_fires_and_resolves_in_turn(sights, hold, keep):
    """
    Each firing is followed by at most one resolved before the next, and there is no resolved without a firing.
    """
    _, changes = lived(sights, hold, keep)
    for labels in LABELS:
        words = [change.alert.status for change in changes if change.alert.labels == labels]
        assert words == [AlertStatus.FIRING, AlertStatus.RESOLVED] * (len(words) // 2) + [AlertStatus.FIRING] * (
            len(words) % 2
        )


@given(SIGHTS, LENGTHS, LENGTHS)
def test_an_alert_fires_after_for_and_resolves_after_keep_firing_for(sights, hold, keep):
    """
    Found at every look for as long as ``for`` says before it fires; at none for as long as it is kept before it ends.
    """
    scrapes, now = [], BEGAN
    for after, found in sights:
        now += after
        scrapes.append((now, found))
    for change in lived(sights, hold, keep)[1]:
        if change.alert.status is AlertStatus.FIRING:
            span = [found for at, found in scrapes if change.alert.starts <= at <= change.at]
            assert all(change.alert.labels in found for found in span)
            assert change.at - change.alert.starts >= hold
        else:
            last = max((at for at, found in scrapes if at < change.at and change.alert.labels in found), default=None)
            assert last is not None
            # Time is counted from the first look that no longer found it.
            first = min(at for at, _ in scrapes if at > last)
            assert change.at - first >= keep


@given(SIGHTS, LENGTHS, LENGTHS)
def test_saved_and_loaded_alerts_have_the_same_changes(sights, hold, keep):
    """
    What is written down after each step and read again leads to the same changes.
    """
    assert lived(sights, hold, keep) == lived(sights, hold, keep, forgetful=True)


def test_a_clock_that_was_set_back_does_not_make_an_alert_wait_again():
    """
    An alert that began in what is now the future counts from now on.
    """
    found = {LABELS[0]: RuleResult(1.0, {})}
    hold = timedelta(minutes=1)
    standings = step({}, found, BEGAN + timedelta(days=1), hold, timedelta()).after
    standings = step(standings, found, BEGAN, hold, timedelta()).after
    assert step(standings, found, BEGAN + hold, hold, timedelta()).changes[0].alert.status is AlertStatus.FIRING


def test_a_resolved_alert_is_kept_for_a_while():
    """
    And found again within that time it begins anew.
    """
    found = {LABELS[0]: RuleResult(1.0, {})}
    firing = step({}, found, BEGAN, timedelta(), timedelta()).after
    over = step(firing, {}, BEGAN + timedelta(minutes=1), timedelta(), timedelta()).after
    assert over[LABELS[0]].alert.status is AlertStatus.RESOLVED
    again = step(over, found, BEGAN + timedelta(minutes=2), timedelta(minutes=5), timedelta()).after
    assert again[LABELS[0]].alert.status is AlertStatus.PENDING
    assert step(over, {}, BEGAN + timedelta(minutes=1) + RESOLVED_RETENTION, timedelta(), timedelta()).after == {}


def test_alerts_of_removed_rules_are_resolved():
    """
    Those that fire with a word why, the others without one.
    """
    found = {labels: RuleResult(1.0, {}) for labels in LABELS[:2]}
    standings = step({}, found, BEGAN, timedelta(), timedelta()).after
    done = resolve_all(standings, BEGAN + timedelta(minutes=1), "its rule was removed")
    assert {change.why for change in done.changes} == {"its rule was removed"}
    assert [change.alert.status for change in done.changes] == [AlertStatus.RESOLVED] * 2
