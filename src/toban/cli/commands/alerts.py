"""Show what fires; acknowledge alerts, test channels, run a drill."""

import json
from pathlib import Path
from typing import Any

import click

from toban.cli.client import current_user, data_option, get, json_option, post
from toban.cli.formatting import alert_handling, echo
from toban.core.terminal_columns import align_columns


@click.group(invoke_without_command=True)
@data_option
@json_option
@click.pass_context
def command(context: click.Context, data: Path | None, as_json: bool) -> int:
    """Show alerts, rules that can't be evaluated, and the state of channels; exit 1 while an alert fires."""
    if context.invoked_subcommand:
        return 0
    response = get("/api/alerts", data)
    echo(json.dumps(response, indent=2, ensure_ascii=False) if as_json else format_alerts(response))
    return 1 if any(alert["status"] == "firing" for alert in response["alerts"]) else 0


@command.command("ack")
@click.argument("alert")
@click.option("--comment", default="", help="What you are doing about it.")
@click.option("--undo", is_flag=True, help="Take your acknowledgement back.")
@data_option
def acknowledge(data: Path | None, alert: str, comment: str, undo: bool) -> None:
    """Acknowledge ALERT (its name or fingerprint): it is not repeated, and others see who is working on it."""
    user = current_user()
    response = post("/api/alerts/acknowledge", data, alert=alert, by=user, comment=comment, undo=undo)
    echo(f"{response['acknowledged']} {'no longer ' if undo else ''}acknowledged by {user}")


@command.command("test")
@click.argument("channel")
@data_option
def test(data: Path | None, channel: str) -> None:
    """Send a test notification through CHANNEL, on the path that alerts take."""
    post("/api/alerts/test", data, channel=channel)
    echo(f"Test notification sent to {channel}. If it does not arrive, `toban alerts` shows the channel's error.")


@command.command("drill")
@data_option
def drill(data: Path | None) -> None:
    """Let an alert fire on purpose, to check that its notification is delivered."""
    response = post("/api/alerts/drill", data)
    echo(f"Drill started: it must reach {', '.join(response['channels'])} within ten minutes (`toban status`).")


def format_alerts(response: dict[str, Any]) -> str:
    """Return alerts, rules and channels for a terminal."""
    marks = {"firing": "▲", "pending": "◌", "resolved": "●"}
    rows = [
        (
            marks.get(it["status"], "?"),
            it["priority"],
            it["name"],
            "; ".join([it["status"], *alert_handling(it)]),
            it["starts"][:16].replace("T", " ") + "Z",
            it["annotations"].get("summary", ""),
        )
        for it in response["alerts"]
    ]
    parts = ["\n".join(align_columns(rows)) if rows else "no alert is pending or firing"]
    if response["rule_errors"]:
        lines = align_columns(("?", it["rule"], it["health"], it["error"]) for it in response["rule_errors"])
        parts.append("Rules that can't be evaluated\n" + "\n".join(lines))
    if response["inactive_rules"]:
        lines = align_columns(("○", it["rule"], ", ".join(it["metrics"])) for it in response["inactive_rules"])
        parts.append("Inactive rules: no data\n" + "\n".join(lines))
    if response["channels"]:
        channels = (
            ("▲" if it["error"] else "●", it["name"], it["kind"], f"{it['waiting']} waiting", it["error"])
            for it in response["channels"]
        )
        parts.append("Channels\n" + "\n".join(align_columns(channels)))
    else:
        parts.append("No notification channel is configured. See docs/send-alerts.md.")
    return "\n\n".join(parts)
