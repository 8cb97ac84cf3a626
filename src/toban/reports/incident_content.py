"""Writes the report of an incident: what happened, what it cost, what helped, and what is still to do."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from toban.core.message_catalogue import catalogue
from toban.core.number_format import format_money
from toban.incidents.incident import EntryKind, Incident, TimelineEntry
from toban.incidents.incident_messages import length_text, summary_of
from toban.incidents.incident_report import time_to_acknowledge, time_to_resolve
from toban.incidents.policy import IncidentPolicy
from toban.incidents.timeline_text import entry_text
from toban.reports.blocks import Block, Bullets, Checklist, Content, Heading, Paragraph, Table


def incident_content(
    incident: Incident, timeline: Sequence[TimelineEntry], policy: IncidentPolicy, language: str, made: datetime
) -> Content:
    """Return the report of an incident in a language, made at a time."""
    say = catalogue("toban.incidents", language)

    def at(time: datetime) -> str:
        return f"{time.astimezone(policy.zone):%Y-%m-%d %H:%M:%S %Z}"

    acknowledge, resolve = time_to_acknowledge(incident), time_to_resolve(incident)
    figures = [
        (say["priority"], incident.priority),
        (say["report-began"], at(incident.starts)),
        (say["report-ended"], at(incident.resolved) if incident.resolved else say["report-open"]),
        (say["report-mtta"], length_text(acknowledge) if acknowledge is not None else say["report-nobody"]),
        (say["report-mttr"], length_text(resolve) if resolve is not None else say["report-open"]),
    ]
    helped = _what_helped(timeline)
    alerts = sorted(incident.alerts.values(), key=lambda it: it.starts)
    summary = [it for it in incident.summary.splitlines() if it.strip()]
    items = [
        (it.done is not None, f"{it.text} ({policy.name_of(it.owner)})" if it.owner else it.text)
        for it in incident.action_items
    ]
    blocks: list[Block] = [
        Heading(say["report-summary"]),
        *(Paragraph(it) for it in summary or [say["report-summary-missing"].format(id=incident.id)]),
        Heading(say["report-figures"]),
        Table(("", ""), figures, frozenset({0, 1})),
        Heading(say["report-impact"]),
        Paragraph(_impact(incident, language, say)),
        Heading(say["report-alerts"]),
        Bullets([f"{summary_of(it, language)} ({it.name}), {at(it.starts)}" for it in alerts] or ["–"]),
        Heading(say["report-timeline"]),
        Bullets([f"{at(it.at)} {entry_text(it, policy, language)}" for it in timeline]),
        Heading(say["report-helped"]),
        Bullets([entry_text(it, policy, language) for it in helped])
        if helped
        else Paragraph(say["report-helped-none"]),
        Heading(say["report-actions"]),
        Checklist(items) if items else Paragraph(say["report-actions-none"].format(id=incident.id)),
    ]
    footer = catalogue("toban.reports", language)["footer"].format(at=at(made), zone=policy.zone.key)
    address = policy.address.rstrip("/")
    link = f"{address}/incidents/{incident.id}" if address else ""
    return Content(
        language, say["report-title"].format(id=incident.id, title=incident.titled(language)), blocks, footer, link
    )


def _what_helped(timeline: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    """Return what runbooks did and failed to do, the end of those that only people worked on, and who resolved it."""
    acted = {it.facts.get("run") for it in timeline if it.facts.get("event") == "acted"}

    def is_shown(it: TimelineEntry) -> bool:
        if it.kind is not EntryKind.RUNBOOK:
            return it.kind is EntryKind.RESOLVED and bool(it.actor)
        event = it.facts.get("event")
        return event in {"acted", "failed", "unknown"} or (event == "succeeded" and it.facts.get("run") not in acted)

    return [it for it in timeline if is_shown(it)]


def _impact(incident: Incident, language: str, say: Mapping[str, str]) -> str:
    impact = incident.impact
    if impact is None:
        return say["report-impact-unknown"]
    if impact.missing <= 0:
        return say["report-impact-none"]
    amounts = [format_money(it, impact.currency, language) for it in (impact.missing, impact.least, impact.most)]
    missing, least, most = amounts
    return say["report-impact-missing"].format(missing=missing, least=least, most=most, orders=f"{impact.orders:,.0f}")
