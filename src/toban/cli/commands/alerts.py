"""Show what is wrong; acknowledge it, or try a channel."""

import json
from pathlib import Path
from typing import Any

import click

from toban.cli.client import current_user, data_option, get, json_option, post
from toban.cli.formatting import alert_handling, align_columns, echo


@click.group(invoke_without_command=True)
@data_option
@json_option
@click.pass_context
def command(context: click.Context, data: Path | None, as_json: bool) -> int:
    """Show what fires, what is pending, which rules can't be judged, and how channels are; exit 1 when it fires."""
    if context.invoked_subcommand:
        return 0
    found = get("/api/alerts", data)
    echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else told(found))
    return 1 if any(alert["status"] == "firing" for alert in found["alerts"]) else 0


@command.command("ack")
@click.argument("alert")
@click.option("--comment", default="", help="What you are doing about it.")
@click.option("--back", is_flag=True, help="Take it back: you no longer look after it.")
@data_option
def acknowledge(data: Path | None, alert: str, comment: str, back: bool) -> None:
    """Say that you look after ALERT (its name or fingerprint): it is not repeated, and others can see who does."""
    found = post("/api/alerts/acknowledge", data, alert=alert, by=current_user(), comment=comment, back=back)
    echo(f"{found['acknowledged']} {'no longer ' if back else ''}acknowledged by {current_user()}")


@command.command("test")
@click.argument("channel")
@data_option
def test(data: Path | None, channel: str) -> None:
    """Send a word through CHANNEL, on the way that alerts take."""
    post("/api/alerts/test", data, channel=channel)
    echo(f"Sent to {channel}. If it does not arrive, `toban alerts` says what the channel answered.")


@command.command("drill")
@data_option
def drill(data: Path | None) -> None:
    """Let something fire on purpose, to see whether its message arrives the whole way."""
    found = post("/api/alerts/drill", data)
    echo(f"A drill runs: {', '.join(found['channels'])} must hear of it within ten minutes (`toban status`).")


def told(found: dict[str, Any]) -> str:
    """Return what stands, for a terminal."""
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
        for it in found["alerts"]
    ]
    parts = ["\n".join(align_columns(rows)) if rows else "no alert is pending or firing"]
    if found["unjudged"]:
        lines = align_columns(("?", it["rule"], it["health"], it["error"]) for it in found["unjudged"])
        parts.append("Rules that can't be judged\n" + "\n".join(lines))
    if found["asleep"]:
        lines = align_columns(("☾", it["rule"], ", ".join(it["reads"])) for it in found["asleep"])
        parts.append("Rules that sleep until what they read is there\n" + "\n".join(lines))
    if found["channels"]:
        channels = (
            ("▲" if it["trouble"] else "●", it["name"], it["kind"], f"{it['waiting']} waiting", it["trouble"])
            for it in found["channels"]
        )
        parts.append("Channels\n" + "\n".join(align_columns(channels)))
    else:
        parts.append("No channel is configured: nobody is told. See docs/NOTIFYING.md.")
    return "\n\n".join(parts)
