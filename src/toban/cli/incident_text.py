"""Incidents as text for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from toban.cli.formatting import fit_columns, time_left, zone_time
from toban.core.number_format import format_money

STATES: Final = {"triggered": "nobody has answered", "acknowledged": "acknowledged", "resolved": "resolved"}


def incident_list(found: Iterable[Mapping[str, Any]], now: datetime) -> str:
    """Return incidents one by one: the most urgent first, those that are resolved last."""
    ordered = sorted(found, key=lambda it: (it["state"] == "resolved", it["priority"], -it["id"]))
    return fit_columns(_row(it, now) for it in ordered) if ordered else ""


def _row(it: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    due = next((_deadline(step, now) for step in it["deadlines"]), "")
    since = f"since {zone_time(it['starts'], it['timezone'])}"
    return f"#{it['id']}", it["priority"], STATES[it["state"]], since, _who(it), due, it["title"]


def _who(it: Mapping[str, Any]) -> str:
    if answer := it["answer"]:
        return f"by {answer['name']}"
    return f"by {it['resolved_by']}" if it["resolved_by"] else ""


def _deadline(step: Mapping[str, Any], now: datetime, zone: str = "") -> str:
    if step["share"] >= 1:
        return f"{step['name']}: over"
    if not step["is_running"]:
        return f"{step['name']}: stands still until working hours"
    at = f" by {zone_time(step['due'], zone)}," if zone else " in"
    return f"{step['name']}{at} {time_left(step['due'], now)}{' left' if zone else ''}"


def incident_text(it: Mapping[str, Any], now: datetime, runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return an incident with its alerts, what its runbooks ask, its timeline and its action items."""
    zone = it["timezone"]
    lines = [f"#{it['id']} {it['priority']} {it['title']}", _state(it), *_facts(it, now)]
    lines += ["", "Alerts", *(_alert(alert) for alert in it["members"])] if it["members"] else []
    asked = [run for run in runs if run["ended"] is None and run["question"]]
    if asked:
        lines += ["", "Runbooks"]
        lines += [f"  {run['runbook']}: {run['question']}   toban run --approve {run['id']}" for run in asked]
    lines += ["", "Timeline"]
    lines += fit_columns((f"  {zone_time(entry['at'], zone)}", entry["text"]) for entry in it["timeline"]).split("\n")
    if it["action_items"]:
        lines += ["", "Action items"]
        for item in it["action_items"]:
            lines.append(
                f"  {item['number']}. [{'x' if item['done'] else ' '}] {item['text']} {item['owner']}".rstrip()
            )
    if it["state"] == "triggered":
        lines += ["", f"Answer it: toban incidents ack {it['id']}"]
    return "\n".join(lines)


def _state(it: Mapping[str, Any]) -> str:
    zone, answer = it["timezone"], it["answer"]
    parts = [STATES[it["state"]]]
    if answer:
        verb = "snoozed" if answer["is_snooze"] else "acknowledged"
        comment = f": {answer['comment']}" if answer["comment"] else ""
        parts = [f"{verb} by {answer['name']} until {zone_time(answer['until'], zone)}{comment}"]
    if it["resolved"]:
        by = f" by {it['resolved_by']}" if it["resolved_by"] else ""
        parts = [f"resolved at {zone_time(it['resolved'], zone)}{by}"]
    if it["merged_into"]:
        parts.append(f"merged into #{it['merged_into']}")
    if it["next_call"]:
        parts.append(f"next call at {zone_time(it['next_call'], zone)}")
    return "; ".join(parts)


def _facts(it: Mapping[str, Any], now: datetime) -> Iterable[str]:
    zone = it["timezone"]
    yield f"since {zone_time(it['starts'], zone)}"
    if it["assignee"]:
        yield f"assigned to {it['assignee_name']}"
    yield from (_deadline(step, now, zone) for step in it["deadlines"])
    if (impact := it["impact"]) and impact["least"] > 0:
        money = {
            key: format_money(impact[key], impact["currency"]) for key in ("missing", "least", "most", "per_minute")
        }
        rate = f", {money['per_minute']} a minute now" if impact["per_minute"] > 0 and it["state"] != "resolved" else ""
        yield f"about {money['missing']} of revenue missing, between {money['least']} and {money['most']}{rate}"
    if it["seconds_to_acknowledge"] is not None:
        yield f"answered after {it['seconds_to_acknowledge'] / 60:.0f} min"


def _alert(alert: Mapping[str, Any]) -> str:
    notes = alert["annotations"]
    value = f": {notes['value']}" if notes.get("value") else ""
    mark = "▲" if alert["status"] == "firing" else "●"
    return f"  {mark} {alert['name']} {alert['status']}{value}   {notes.get('summary', '')}".rstrip()
