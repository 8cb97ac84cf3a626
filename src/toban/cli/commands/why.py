"""Explain why somebody was or wasn't notified of an alert."""

import json
from pathlib import Path
from typing import Any

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo
from toban.core.terminal_columns import align_columns
from toban.core.terminal_escapes import escape_line


@click.command
@click.argument("alert")
@data_option
@json_option
def command(alert: str, data: Path | None, as_json: bool) -> None:
    """
    Explain for ALERT (a name or fingerprint), stage by stage, why somebody was or wasn't notified.

    For the name of a rule also the value of its expression now, the limit, and whether its data is there.
    """
    response = get("/api/alerts/why", data, alert=alert)
    if as_json:
        echo(json.dumps(response, indent=2, ensure_ascii=False))
        return
    for rule in response["rules"]:
        echo("\n".join(_rule(rule)))
    for one in response["alerts"]:
        labels = ", ".join(f"{name}={value}" for name, value in one["labels"].items() if name != "alertname")
        echo(escape_line(f"{one['name']} {one['fingerprint']} is {one['status']}   {labels}"))
        for reason in one["suppressed"]:
            echo(f"  {reason}")
        for line in align_columns(
            (it["at"][:19].replace("T", " ") + "Z", it["stage"], it["reason"]) for it in one["stages"]
        ):
            echo(f"  {line}")


def _rule(rule: dict[str, Any]) -> list[str]:
    """Return a rule and the values of its expression, for a terminal."""
    duration = f" for {rule['duration']}" if rule["duration"] != "0s" else ""
    lines = [
        f"rule {rule['rule']} ({rule['group']}, {rule['file']}): {rule['health']}",
        f"  expr: {escape_line(' '.join(rule['expr'].split()))}{duration}",
    ]
    if rule["error"]:
        lines.append(f"  error: {rule['error']}")
    for one in rule["comparisons"]:
        limit = _values(one["limit"]) if one["limit"]["series"] else one["right"]
        lines.append(f"  value: {_values(one['value'])}   {one['operator']} {limit}   ({escape_line(one['left'])})")
    for one in rule["selectors"]:
        data = one["error"] or (f"{one['series']} series" if one["series"] else "no data")
        lines.append(f"  data: {escape_line(one['selector'])}: {data}")
    return lines


def _values(found: dict[str, Any]) -> str:
    """Return the values of one side of a comparison."""
    if found["error"]:
        return str(found["error"])
    shown = [f"{float(it['value']):.6g}{_labels(it['labels'])}" for it in found["series"]]
    more = found["total"] - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])]) or "no data"


def _labels(labels: dict[str, str]) -> str:
    text = ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__")
    return f" ({escape_line(text)})" if text else ""
