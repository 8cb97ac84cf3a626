"""Say why an alert was told, or wasn't."""

import json
from pathlib import Path
from typing import Any

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import align_columns, echo
from toban.core.terminal_escapes import escape_line


@click.command
@click.argument("alert")
@data_option
@json_option
def command(alert: str, data: Path | None, as_json: bool) -> None:
    """
    Say for ALERT (a name or a fingerprint), stage by stage, why people were or weren't notified of it.

    For the name of a rule also what its expression comes to now, against which limit, and whether its data is there.
    """
    found = get("/api/alerts/why", data, alert=alert)
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for rule in found["rules"]:
        echo("\n".join(_rule(rule)))
    for one in found["alerts"]:
        labels = ", ".join(f"{name}={value}" for name, value in one["labels"].items() if name != "alertname")
        echo(escape_line(f"{one['name']} {one['fingerprint']} is {one['status']}   {labels}"))
        for said in one["suppressed"]:
            echo(f"  {said}")
        for line in align_columns(
            (it["at"][:19].replace("T", " ") + "Z", it["stage"], it["says"]) for it in one["notes"]
        ):
            echo(f"  {line}")


def _rule(rule: dict[str, Any]) -> list[str]:
    """Return how a rule stands."""
    hold = f" for {rule['for']}" if rule["for"] != "0s" else ""
    lines = [
        f"rule {rule['rule']} ({rule['group']}, {rule['file']}): {rule['health']}",
        f"  expr: {escape_line(' '.join(rule['expr'].split()))}{hold}",
    ]
    if rule["error"]:
        lines.append(f"  error: {rule['error']}")
    for one in rule["comparisons"]:
        limit = _values(one["limit"]) if one["limit"]["series"] else one["right"]
        lines.append(f"  now: {_values(one['now'])}   {one['operator']} {limit}   ({escape_line(one['left'])})")
    for one in rule["reads"]:
        there = one["error"] or (f"{one['series']} series" if one["series"] else "no data")
        lines.append(f"  reads: {escape_line(one['selector'])}: {there}")
    return lines


def _values(found: dict[str, Any]) -> str:
    """Return the values of a side of a comparison."""
    if found["error"]:
        return str(found["error"])
    shown = [f"{it['value']:.6g}{_labels(it['labels'])}" for it in found["series"]]
    more = found["many"] - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])]) or "no data"


def _labels(labels: dict[str, str]) -> str:
    said = ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__")
    return f" ({escape_line(said)})" if said else ""
