"""Renders the text of a notification in the team's language and time zone."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from toban.core.alerts import ALERTNAME, Acknowledgement, Alert, AlertStatus, priority
from toban.core.labels import common_labels
from toban.core.notification import SEVERITIES, Fact, Link, NotificationKind, worst
from toban.core.text_limits import is_web, one_line, truncate
from toban.notify.texts import texts

TITLE: Final = 200
"""How many characters a title may have."""
LINE: Final = 500
"""How many characters a line may have."""
LISTED: Final = 10
"""How many alerts are listed; of more only the count."""
OTHERS: Final = 5
"""How many other alerts are named."""
FACTS: Final = 10
"""How many facts are shown, the priority among them."""
LINKS: Final = 6
"""How many links there are."""
LINES: Final = LISTED + 10
"""How many lines there are at most."""

_NAME: Final = 60
_VALUE: Final = 200
_NO_FACT: Final = frozenset({ALERTNAME, "severity", "priority", "channels", "environment"})
"""Labels that are shown elsewhere, or matter to nobody at night."""


class RenderedText(NamedTuple):
    """The parts of a notification that people read."""

    title: str
    lines: tuple[str, ...]
    facts: tuple[Fact, ...]
    links: tuple[Link, ...]


def render(
    alerts: Sequence[Alert],
    kind: NotificationKind,
    *,
    language: str,
    zone: tzinfo,
    now: datetime,
    since: datetime,
    inhibited: Sequence[Alert] = (),
    others: Sequence[Alert] = (),
    acknowledged: Acknowledgement | None = None,
    group: Mapping[str, str] | None = None,
    title: str = "",
    address: str = "",
) -> RenderedText:
    """
    Say what is wrong, how bad it is, since when, what to do, how many more there are, and where to look.

    ``title`` is the title of the group's earlier messages: it stays whatever joins the group. ``since`` is when the
    group was opened; ``inhibited`` are alerts that these inhibit, ``others`` what else fires; ``address`` is the URL of
    toban's pages. Annotations with the language's name at their end (``summary_ja``) take precedence.
    """
    renderer = _Renderer(language, zone, now)
    chosen = sorted(alerts, key=urgency)
    named = truncate(one_line(title), TITLE) or renderer.title(chosen, group or {})
    lines = renderer.lines(chosen, kind, since, acknowledged, named)
    if others and kind in {NotificationKind.FIRING, NotificationKind.REMINDER}:
        lines = [*lines, renderer.also(sorted(others, key=urgency))]
    if inhibited:
        lines = [*lines, renderer.inhibited(inhibited)]
    fit = [truncate(one_line(line), LINE) for line in lines]
    return RenderedText(
        named, tuple(filter(None, fit))[:LINES], tuple(renderer.facts(chosen)), tuple(renderer.links(chosen, address))
    )


def render_fallback(alerts: Sequence[Alert], title: str, language: str) -> RenderedText:
    """Return the text for when `render` fails: the names of the alerts, and that there should be more."""
    names = ", ".join(dict.fromkeys(alert.name for alert in alerts))
    named = truncate(one_line(title) or one_line(names), TITLE)
    return RenderedText(named, (truncate(one_line(names), LINE), texts(language)["unrendered"]), (), ())


def urgency(alert: Alert) -> tuple[bool, int, datetime, str]:
    """Return the sort key by which the most urgent alert comes first."""
    over = alert.status is AlertStatus.RESOLVED
    return over, SEVERITIES.index(worst([alert.severity])), alert.starts, alert.fingerprint


class _Renderer:
    """Renders in one language and time zone, at one time."""

    def __init__(self, language: str, zone: tzinfo, now: datetime) -> None:
        self._language = language
        self._words = texts(language)
        self._zone = zone
        self._now = now

    def say(self, key: str, **places: object) -> str:
        return self._words[key].format(**{name: str(value) for name, value in places.items()})

    def annotation(self, alert: Alert, annotation: str) -> str:
        """Return an annotation, in the reader's language where the rule has it."""
        return one_line(alert.annotation(annotation, self._language))

    def summary(self, alert: Alert) -> str:
        return self.annotation(alert, "summary") or one_line(alert.name.replace("_", " ")) or self.say("untitled")

    def title(self, alerts: Sequence[Alert], group: Mapping[str, str]) -> str:
        """Return what is wrong in one line that holds as long as the thread does: no count, no number."""
        summaries = {self.summary(alert) for alert in alerts}
        where = self.say("comma").join(one_line(value) for name, value in group.items() if name not in _NO_FACT)
        if len(summaries) == 1:
            return truncate(summaries.pop(), TITLE)
        if not alerts:
            what = one_line(group.get(ALERTNAME, "").replace("_", " ")) or self.say("untitled")
            return truncate(self.say("place", what=what, where=where) if where else what, TITLE)
        return self.say("and-others", what=truncate(self.summary(alerts[0]), TITLE - 40))

    def lines(
        self,
        alerts: Sequence[Alert],
        kind: NotificationKind,
        since: datetime,
        acknowledged: Acknowledgement | None,
        title: str,
    ) -> list[str]:
        """Return what there is to say, the most urgent first."""
        over = kind is NotificationKind.RESOLVED
        only = alerts[0] if len(alerts) == 1 else None
        began = only.starts if only else since
        lines = [self._state(kind, began, acknowledged)]
        if only:
            description = self.annotation(only, "description")
            lines.append("" if description == title else description)
            lines += [] if over else [self._error(only), self._how_bad(only, "value")]
        if over:
            ended = max((alert.ends for alert in alerts if alert.ends), default=self._now)
            lines.append(self.say("over", time=self.time(ended), length=self.length(ended - began)))
        elif alerts:
            lines.append(self.say("since", time=self.time(began), length=self.length(self._now - began)))
            lines += self._actions(alerts)
        return lines if len(alerts) < 2 else [*lines, *self._listed(alerts)]

    def _state(self, kind: NotificationKind, since: datetime, acknowledged: Acknowledgement | None) -> str:
        if acknowledged and kind is not NotificationKind.RESOLVED:
            comment = one_line(acknowledged.comment)
            key = "acknowledged-comment" if comment else "acknowledged"
            return self.say(key, by=one_line(acknowledged.by), time=self.time(acknowledged.at), comment=comment)
        if kind is NotificationKind.REMINDER:
            return self.say("reminder", length=self.length(self._now - since))
        return self.say("flapping") if kind is NotificationKind.FLAPPING else ""

    def _error(self, alert: Alert) -> str:
        error = self.annotation(alert, "error")
        return self.say("error", error=error) if error else ""

    def _how_bad(self, alert: Alert, key: str) -> str:
        # Without words of its own a 0 or 1 says no more than that it fires.
        bare = "" if alert.value is None or alert.value in {0, 1} else _number(alert.value)
        value = self.annotation(alert, "value") or bare
        limit = self.annotation(alert, "limit")
        if not value:
            return ""
        return self.say(f"{key}-limit", value=value, limit=limit) if limit else self.say(key, value=value)

    def _actions(self, alerts: Iterable[Alert]) -> list[str]:
        found = dict.fromkeys(self._action(alert) for alert in alerts if alert.status is not AlertStatus.RESOLVED)
        return [self.say("action", action=action) for action in found if action][:3]

    def _action(self, alert: Alert) -> str:
        # A runbook that is an address is a link; one that is a sentence is what to do.
        runbook = self.annotation(alert, "runbook")
        return self.annotation(alert, "action") or ("" if is_web(runbook) else runbook)

    def _listed(self, alerts: Sequence[Alert]) -> Iterator[str]:
        shared = common_labels([alert.labels for alert in alerts])
        for alert in alerts[:LISTED]:
            where = self.say("comma").join(
                one_line(value) for name, value in alert.labels.items() if name not in _NO_FACT and name not in shared
            )
            what = self.say("place", what=self.summary(alert), where=where) if where else self.summary(alert)
            what = truncate(what, 300)
            if alert.status is AlertStatus.RESOLVED:
                yield self.say("ended", what=what, time=self.time(alert.ends or self._now))
            else:
                how = truncate(self._how_bad(alert, "at-value"), 100)
                yield self.say(
                    "still", what=what, how=how + self.say("comma") if how else "", time=self.time(alert.starts)
                )
        if len(alerts) > LISTED:
            yield self.say("more", many=len(alerts) - LISTED)

    def inhibited(self, alerts: Sequence[Alert]) -> str:
        """Return which alerts these inhibit."""
        names = list(dict.fromkeys(truncate(self.summary(alert), 80) for alert in alerts))
        shown = self.say("comma").join(names[:4])
        rest = len(names) - 4
        return self.say("inhibited-more", names=shown, many=rest) if rest > 0 else self.say("inhibited", names=shown)

    def also(self, alerts: Sequence[Alert]) -> str:
        """Return what else fires, and since when."""
        names = {truncate(self.summary(alert), 80): self.time(alert.starts) for alert in reversed(alerts[:OTHERS])}
        shown = self.say("comma").join(
            self.say("also-one", what=what, time=time) for what, time in reversed(names.items())
        )
        return self.say("also", names=shown)

    def facts(self, alerts: Sequence[Alert]) -> list[Fact]:
        """Return how urgent it is, and where: the labels that all of it has."""
        if not alerts:
            return []
        urgent = min(priority(alert.labels) for alert in alerts)
        shared = common_labels([alert.labels for alert in alerts]).items()
        chosen = ((name, value) for name, value in shared if name not in _NO_FACT)
        facts = [(self.say("priority"), urgent), *((one_line(name), one_line(value)) for name, value in chosen)]
        return [Fact(truncate(name, _NAME), truncate(value, _VALUE)) for name, value in facts[:FACTS]]

    def links(self, alerts: Sequence[Alert], address: str) -> list[Link]:
        """Return where to look: what to do first, toban last."""
        found: dict[str, str] = {}
        for alert in alerts:
            for key, href in (
                ("runbook", self.annotation(alert, "runbook")),
                ("dashboard", self.annotation(alert, "dashboard")),
                ("source", alert.link),
            ):
                if is_web(href):
                    found.setdefault(href, key)
        order = ("runbook", "dashboard", "source")
        chosen = sorted(found.items(), key=lambda pair: order.index(pair[1]))[: LINKS - 1]
        if is_web(address):
            chosen.append((page_of([alert.fingerprint for alert in alerts], address), "toban"))
        return [Link(self.say(key), href) for href, key in chosen]

    def time(self, at: datetime) -> str:
        """Return a time as the team's clocks show it."""
        here = local(at, self._zone)
        return f"{here:%Y-%m-%d %H:%M} {here.tzname() or ''}".rstrip()

    def length(self, length: timedelta) -> str:
        """Return a length of time in its two largest units."""
        minutes = max(int(length.total_seconds() // 60), 0)
        days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
        parts = [
            self.say(key, many=many) for key, many in (("days", days), ("hours", hours), ("minutes", minutes)) if many
        ]
        return self.say("between").join(parts[:2]) or self.say("moment")


def local(at: datetime, zone: tzinfo) -> datetime:
    """Return a time as a zone's clocks show it."""
    try:
        return at.astimezone(zone)
    except (OverflowError, ValueError):
        return at.astimezone(UTC)  # at the ends of time there is no local time


def _number(value: float) -> str:
    """Return a number as people write it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def page_of(fingerprints: Sequence[str], address: str) -> str:
    """Return the page of toban that shows some alerts: that of the only one, or the list."""
    return f"{address.rstrip('/')}/alerts" + (f"/{fingerprints[0]}" if len(fingerprints) == 1 else "")
