"""The messages of an incident: whom it calls, who answered, that it is over."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from toban.core.alerts import Alert
from toban.core.config_types import format_duration
from toban.core.labels import Labels
from toban.core.message_catalogue import catalogue
from toban.core.notification import Fact, Link, Notification, NotificationKind, Offer, OfferKind
from toban.core.text_limits import one_line, truncate
from toban.incidents.incident import Incident
from toban.incidents.policy import IncidentPolicy

LISTED: Final = 5
"""How many of its alerts a message describes."""
LINE: Final = 500


def incident_messages(
    policy: IncidentPolicy,
    incident: Incident,
    kind: NotificationKind,
    channels: Iterable[str],
    reason: str,
    now: datetime,
    offers: Sequence[Offer] = (),
    **facts: Any,
) -> list[Notification]:
    """
    Return one message for each channel.

    ``reason`` is the key of the sentence that says why the message comes; ``facts`` are for its places. ``offers`` are
    what people can do beside answering the incident.
    """
    say = catalogue("toban.incidents", policy.language)
    lines = [say[f"message-{reason}"].format(**facts)]
    if kind is not NotificationKind.RESOLVED:
        lines += _alerts(incident, policy, say)
    length = length_text((incident.resolved or now) - incident.starts)
    since = f"{incident.starts.astimezone(policy.zone):%Y-%m-%d %H:%M:%S %Z}"
    lines.append(say["message-since" if incident.is_open else "message-over"].format(time=since, length=length))
    shown = [Fact(say["incident"], f"#{incident.id}"), Fact(say["priority"], incident.priority)]
    if incident.impact and incident.impact.least > 0:
        amount = f"{incident.impact.missing:,.0f} {incident.impact.currency}"
        shown.append(Fact(say["impact"], say["impact-missing"].format(amount=amount)))
    if incident.answer and incident.is_open:
        shown.append(Fact(say["answered-by"], one_line(policy.name_of(incident.answer.by))))
    address = policy.address.rstrip("/")
    links = (Link(say["open-incident"], f"{address}/incidents/{incident.id}"),) if address else ()
    return [
        Notification(
            group_id=incident.thread,
            number=incident.messages,
            key=f"{incident.thread}.{incident.messages}.{channel}",
            kind=kind,
            severity=incident.severity,
            title=truncate(one_line(incident.titled(policy.language)), 200),
            lines=tuple(truncate(one_line(line), LINE) for line in lines if line),
            facts=tuple(shown),
            links=links,
            at=now,
            since=incident.opened,
            language=policy.language,
            alerts=tuple(incident.firing[:LISTED]),
            group_labels=Labels(incident=str(incident.id)),
            receiver=channel,
            offers=(*incident_offers(incident), *offers),
        )
        for channel in dict.fromkeys(channels)
    ]


def incident_offers(incident: Incident) -> tuple[Offer, ...]:
    """Return the answers to an incident; none once it is resolved. Their value is its number and its last message's."""
    if not incident.is_open:
        return ()
    value = f"i{incident.id}.v{incident.messages}"
    answers = (OfferKind.ACKNOWLEDGE, OfferKind.SNOOZE, OfferKind.NOTE, OfferKind.RESOLVE)
    return tuple(Offer(kind, value) for kind in answers)


def _alerts(incident: Incident, policy: IncidentPolicy, say: Any) -> list[str]:
    """Return what the alerts say: their summaries and values, and what to do about the most urgent."""
    lines = []
    firing = incident.firing
    for alert in firing[:LISTED]:
        summary = summary_of(alert, policy.language)
        value = alert.annotation("value", policy.language)
        lines.append(say["message-alert-value"].format(summary=summary, value=value) if value else f"• {summary}")
    if len(firing) > LISTED:
        lines.append(say["message-more"].format(many=len(firing) - LISTED))
    actions = dict.fromkeys(alert.annotation("action", policy.language) for alert in firing)
    lines += [say["message-action"].format(action=action) for action in actions if action][:1]
    return lines


def summary_of(alert: Alert, language: str) -> str:
    """Return what an alert says in one line."""
    return one_line(alert.annotation("summary", language)) or alert.name.replace("_", " ")


def summaries_of(alert: Alert, name: str = "summary") -> dict[str, str]:
    """Return what an alert says in one line by the name of a fact, and in Japanese where it says that differently."""
    found = {name: summary_of(alert, "en"), f"{name}_ja": summary_of(alert, "ja")}
    return found if found[name] != found[f"{name}_ja"] else {name: found[name]}


def length_text(length: timedelta) -> str:
    """Return a length of time as people say it: without seconds once it is longer than an hour."""
    unit = timedelta(minutes=1) if length >= timedelta(hours=1) else timedelta(seconds=1)
    return format_duration(length // unit * unit)
