"""Shipped inhibitions of shipped rules: one cause is one incident, in either order."""

import re

import pytest

from tests.timelines import Timeline
from toban.alerting.rule_loader import shipped_groups
from toban.core.alerts import priority
from toban.core.notification import NotificationKind
from toban.notify.default_inhibitions import CAUSES, INHIBITIONS

ALERTS = {rule.name: rule for group in shipped_groups() for rule in group.alerts}
SPECIFIC = {
    "method": "card",
    "queue": "mails",
    "task": "clean-sessions",
    "instance": "one",
    "mount": "/data",
    "service": "api",
}


def labels(name: str, equal: tuple[str, ...] = ()) -> dict[str, str]:
    """Return labels as a shipped rule gives them, of one thing."""
    rule = ALERTS[name]
    return {"severity": rule.severity, "channels": rule.labels["channels"].source, **{it: SPECIFIC[it] for it in equal}}


def _pairs():
    for source, targets, equal in CAUSES:
        for cause in ALERTS:
            for effect in ALERTS:
                if re.fullmatch(source, cause) and re.fullmatch(targets, effect) and not re.fullmatch(source, effect):
                    yield cause, effect, equal


PAIRS = list(_pairs())


def line() -> Timeline:
    channels = {"slack": False, "email": False, "pagerduty": True, "business_team": False}
    return Timeline(channels, inhibit=list(INHIBITIONS))


def test_each_inhibition_names_existing_rules():
    for source, targets, _ in CAUSES:
        for name in (*source.split("|"), *targets.split("|")):
            assert any(re.fullmatch(name, rule) for rule in ALERTS), name


def test_no_two_rules_inhibit_each_other():
    """Nobody would be notified of either."""
    explained = {(cause, effect) for cause, effect, _ in PAIRS}
    assert [pair for pair in explained if pair[::-1] in explained] == []


@pytest.mark.parametrize(("cause", "effect", "equal"), PAIRS)
def test_a_cause_that_is_first_is_the_only_incident(cause, effect, equal):
    it = line()
    it.at("0s").fires(cause, **labels(cause, equal))
    it.at("30s").fires(effect, **labels(effect, equal))
    it.at("10m").ends(effect, **labels(effect, equal))
    it.at("11m").ends(cause, **labels(cause, equal))
    it.want("1h")
    assert {message.group_id for message in it.messages} == {it.messages[0].group_id}
    assert {alert.name for message in it.messages for alert in message.alerts} == {cause}


@pytest.mark.parametrize(("cause", "effect", "equal"), PAIRS)
def test_a_cause_after_its_effect_pages_nobody_again(cause, effect, equal):
    """Whoever was paged for the effect finds the cause in the same incident; it ends once."""
    it = line()
    it.at("0s").fires(effect, **labels(effect, equal))
    it.at("2m").fires(cause, **labels(cause, equal))
    it.at("10m").ends(cause, **labels(cause, equal))
    it.at("11m").ends(effect, **labels(effect, equal))
    it.want("2h")
    incidents = {message.group_id for message in it.messages if message.receiver == "pagerduty"}
    urgent = {priority({"alertname": name, **labels(name)}) for name in (cause, effect)}
    assert len(incidents) == (1 if "P1" in urgent else 0)
    slack = [message for message in it.messages if message.receiver == "slack"]
    assert sum(message.kind is NotificationKind.RESOLVED for message in slack) == len(
        {message.group_id for message in slack}
    )


@pytest.mark.parametrize("first", ["", "card"])
def test_payments_that_fail_by_all_methods_are_one_incident(first):
    """Whether one method or all of them together are seen first."""
    it = line()
    methods = ["card", "paypal", "invoice", ""]
    methods.sort(key=lambda method: method != first)
    given = labels("payments_failing")
    for place, method in enumerate(methods):
        it.at(f"{60 * place}s").fires("payments_failing", **given, **({"method": method} if method else {}))
    for method in methods:
        it.at("10m").ends("payments_failing", **given, **({"method": method} if method else {}))
    it.want("1h")
    pages = [message for message in it.messages if message.receiver == "pagerduty"]
    assert len({message.group_id for message in pages}) == 1
    assert len(pages) == (2 if first == "" else 5)
