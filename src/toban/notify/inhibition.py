"""Inhibition: an alert that explains others suppresses their notifications."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from toban.core.alerts import Alert, AlertStatus
from toban.core.item_isolation import NOT_ISOLATED, ItemIsolation
from toban.core.labels import Labels
from toban.core.matcher_syntax import parse_matchers
from toban.core.matchers import Matcher, matches_all
from toban.notify.settings import Inhibition

DETECTION_DELAY: Final = timedelta(minutes=1)
"""How much later than a source its last target may be seen: a collection and an evaluation interval."""


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """A rule with its matchers parsed."""

    source: Sequence[Matcher]
    target: Sequence[Matcher]
    equal: tuple[str, ...]

    def equal_values(self, alert: Alert) -> tuple[str, ...]:
        """Return the values in which a source and a target must agree."""
        return tuple(alert.labels.get(label, "") for label in self.equal)


@dataclass(frozen=True, slots=True)
class Inhibited:
    """By which alert one is inhibited (a fingerprint), and until when; nothing while that isn't known."""

    source: str
    until: datetime | None = None


class MatchedRules(NamedTuple):
    """The rules, by their places, whose source and whose target matchers some labels meet."""

    as_source: frozenset[int]
    as_target: frozenset[int]


class Inhibitor:
    """The inhibit rules."""

    def __init__(self, rules: Iterable[Inhibition]) -> None:
        self._rules = [
            InhibitRule(parse_matchers(it.source_matchers), parse_matchers(it.target_matchers), it.equal)
            for it in rules
        ]
        self._matched: Mapping[Labels, MatchedRules] = {}
        """What was matched for the alerts of the last call: labels never match otherwise."""

    def _match(self, labels: Labels) -> MatchedRules:
        return self._matched.get(labels) or MatchedRules(
            frozenset(place for place, rule in enumerate(self._rules) if matches_all(rule.source, labels)),
            frozenset(place for place, rule in enumerate(self._rules) if matches_all(rule.target, labels)),
        )

    def inhibited(
        self,
        alerts: Mapping[str, Alert],
        now: datetime,
        unsent_ends: frozenset[str] = frozenset(),
        isolation: ItemIsolation = NOT_ISOLATED,
    ) -> dict[str, Inhibited]:
        """
        Return which of the firing alerts are inhibited, by fingerprint.

        1. A firing alert inhibits, and so does a resolved one until its end was notified (``unsent_ends``).
        2. After that it inhibits what began before its end, for the length of that alert's own window: a rate over five
           minutes is high for five minutes more.

        An alert that meets both sides of a rule is not inhibited by one that does so too, itself included.
        """
        matched: dict[str, MatchedRules] = {}
        by_labels: dict[Labels, MatchedRules] = {}
        sources: dict[int, dict[tuple[str, ...], list[str]]] = {}
        for name, alert in alerts.items():
            with isolation.item("alert", name):
                matched[name] = by_labels[alert.labels] = self._match(alert.labels)
                for place in matched[name].as_source:
                    values = self._rules[place].equal_values(alert)
                    sources.setdefault(place, {}).setdefault(values, []).append(name)
        self._matched = by_labels
        found: dict[str, Inhibited] = {}
        for name, alert in alerts.items() if sources else ():
            with isolation.item("alert", name):
                if alert.status is AlertStatus.FIRING and name in matched:
                    for place in sorted(matched[name].as_target & sources.keys()):
                        explaining = sources[place].get(self._rules[place].equal_values(alert), ())
                        inhibited = _first(place, explaining, name, alerts, matched, now, unsent_ends)
                        if inhibited:
                            found[name] = inhibited
                            break
        return found


def _first(
    place: int,
    sources: Iterable[str],
    name: str,
    alerts: Mapping[str, Alert],
    matched: Mapping[str, MatchedRules],
    now: datetime,
    unsent_ends: frozenset[str],
) -> Inhibited | None:
    """Return by which of the sources of a rule an alert is inhibited, if by any."""
    is_source = place in matched[name].as_source
    for source in sources:
        if source == name or (is_source and place in matched[source].as_target):
            continue
        until = _until(alerts[source], alerts[name], is_unsent=source in unsent_ends)
        if until is None or now < until:
            return Inhibited(source, until)
    return None


def _until(source: Alert, target: Alert, *, is_unsent: bool) -> datetime | None:
    if source.status is AlertStatus.FIRING or is_unsent or source.ends is None:
        return None
    began_meanwhile = target.starts <= source.ends + DETECTION_DELAY
    return source.ends + target.window + DETECTION_DELAY if began_meanwhile else source.ends
