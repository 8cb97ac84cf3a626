"""The report of an incident: what happened, what it cost, what helped, and what is still to do, as Markdown."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from toban.core.message_catalogue import catalogue
from toban.core.text_limits import one_line
from toban.incidents.incident import EntryKind, Incident, TimelineEntry
from toban.incidents.incident_messages import length_text, summary_of
from toban.incidents.policy import IncidentPolicy
from toban.incidents.timeline_text import entry_text


def time_to_acknowledge(incident: Incident) -> timedelta | None:
    """Return how long it took until somebody answered."""
    return incident.responded - incident.opened if incident.responded else None


def time_to_resolve(incident: Incident) -> timedelta | None:
    """Return how long it took until it was resolved."""
    return incident.resolved - incident.opened if incident.resolved else None


def markdown(incident: Incident, timeline: Sequence[TimelineEntry], policy: IncidentPolicy, language: str) -> str:
    """Return the report."""
    say = catalogue("toban.incidents", language)
    acknowledge, resolve = time_to_acknowledge(incident), time_to_resolve(incident)
    rows = [
        (say["priority"], incident.priority),
        (say["report-began"], _time(incident.starts, policy)),
        (say["report-ended"], _time(incident.resolved, policy) if incident.resolved else say["report-open"]),
        (say["report-mtta"], length_text(acknowledge) if acknowledge is not None else say["report-nobody"]),
        (say["report-mttr"], length_text(resolve) if resolve is not None else say["report-open"]),
    ]
    helped = [it for it in timeline if it.kind is EntryKind.RUNBOOK and it.facts.get("event") == "succeeded"]
    alerts = sorted(incident.alerts.values(), key=lambda it: it.starts)
    parts = [
        f"# {_escaped(say['report-title'].format(id=incident.id, title=incident.title))}",
        f"## {say['report-summary']}",
        incident.summary or say["report-summary-missing"].format(id=incident.id),
        f"## {say['report-figures']}",
        "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]),
        f"## {say['report-impact']}",
        _impact(incident, say),
        f"## {say['report-alerts']}",
        _list([f"{summary_of(it, language)} ({it.name}), {_time(it.starts, policy)}" for it in alerts]) or "–",
        f"## {say['report-timeline']}",
        _list([f"{_time(it.at, policy)} {entry_text(it, policy, language)}" for it in timeline]),
        f"## {say['report-helped']}",
        _list([entry_text(it, policy, language) for it in helped]) or say["report-helped-none"],
        f"## {say['report-actions']}",
        "\n".join(
            f"- [{'x' if it.done else ' '}] {_escaped(it.text)}{f' ({_escaped(it.owner)})' if it.owner else ''}"
            for it in incident.action_items
        )
        or say["report-actions-none"].format(id=incident.id),
    ]
    return "\n\n".join(parts) + "\n"


def _impact(incident: Incident, say: Mapping[str, str]) -> str:
    impact = incident.impact
    if impact is None:
        return say["report-impact-unknown"]
    if impact.missing <= 0:
        return say["report-impact-none"]
    return say["report-impact-missing"].format(
        missing=f"{impact.missing:,.0f}",
        least=f"{impact.least:,.0f}",
        most=f"{impact.most:,.0f}",
        orders=f"{impact.orders:,.0f}",
        currency=impact.currency,
    )


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _time(at: datetime, policy: IncidentPolicy) -> str:
    return f"{at.astimezone(policy.zone):%Y-%m-%d %H:%M:%S %Z}"


def _escaped(text: str) -> str:
    """Return a text of people or alerts as one line that Markdown shows as it is."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return one_line(text)
