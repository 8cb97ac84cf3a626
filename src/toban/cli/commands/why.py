"""Say why an alert was told, or wasn't."""

import json
from pathlib import Path

import click

from toban.cli.asking import ask, data_option, json_option
from toban.cli.telling import columns, say
from toban.core.terminal import on_one_line


@click.command
@click.argument("alert")
@data_option
@json_option
def command(alert: str, data: Path | None, as_json: bool) -> None:
    """Say for ALERT (a name or a fingerprint), stage by stage, why people were or weren't told of it."""
    found = ask("/api/alerts/why", data, alert=alert)
    if as_json:
        say(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for one in found["alerts"]:
        labels = ", ".join(f"{name}={value}" for name, value in one["labels"].items() if name != "alertname")
        say(on_one_line(f"{one['name']} {one['fingerprint']} is {one['status']}   {labels}"))
        for line in columns((it["at"][:19].replace("T", " ") + "Z", it["stage"], it["says"]) for it in one["notes"]):
            say(f"  {line}")
