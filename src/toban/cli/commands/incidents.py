"""Incidents: list, show, acknowledge, note, snooze, assign, resolve, declare, report."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from toban.cli.client import current_user, data_option, get, json_flag, json_option, post
from toban.cli.formatting import echo, printed_as_json, zone_time
from toban.cli.incident_text import incident_list, incident_text


@click.group(invoke_without_command=True)
@click.option("--all", "show_all", is_flag=True, help="Also those that are resolved.")
@json_option
@data_option
@click.pass_context
def command(context: click.Context, data: Path | None, as_json: bool, show_all: bool) -> None:
    """List open incidents, or act on one by its number ID."""
    if context.invoked_subcommand:
        return
    found = get("/api/incidents", data, limit="200")["incidents"]
    found = found if show_all else [it for it in found if it["state"] != "resolved"]
    if as_json:
        echo(json.dumps({"incidents": found}, indent=2, ensure_ascii=False))
        return
    echo(incident_list(found, datetime.now(UTC)) or ("no incident so far" if show_all else "no open incident"))


ITEM_COMMANDS: Final = {"done": "tick", "undone": "untick", "delete": "delete-action-item"}
"""The commands on an action item that need no more than its number, by their options."""


@command.command("show")
@click.argument("number", metavar="ID", type=int)
@json_option
@data_option
def show(data: Path | None, as_json: bool, number: int) -> None:
    """Show an incident with its timeline."""
    it = get("/api/incidents/details", data, id=str(number))
    if as_json:
        echo(json.dumps(it, indent=2, ensure_ascii=False))
        return
    alerts = {alert["fingerprint"] for alert in it["members"]}
    runbooks = get("/api/runbooks", data)["runbooks"] if it["state"] != "resolved" else []
    runs = [run for book in runbooks for run in book["runs"] if run["fingerprint"] in alerts]
    echo(incident_text(it, datetime.now(UTC), runs))


@command.command("report")
@click.argument("number", metavar="ID", type=int)
@click.option("--language", type=click.Choice(["en", "ja"]), default="en", show_default=True)
@click.option("--html", "as_html", is_flag=True, help="Print HTML, to be saved as a file.")
@data_option
def report(data: Path | None, number: int, language: str, as_html: bool) -> None:
    """Print the report of an incident as Markdown."""
    found = get("/api/incidents/report", data, id=str(number), language=language)
    echo(found["html" if as_html else "markdown"])


def _act(path: str, data: Path | None, number: int, said: str, **fields: Any) -> None:
    it = post(f"/api/incidents/{path}", data, id=number, by=current_user(), **fields)
    if printed_as_json(it):
        return
    until = zone_time(it["answer"]["until"], it["timezone"]) if it["answer"] else ""
    echo(f"#{it['id']} {said.format(**it, until=until)}")


@command.command("ack")
@click.argument("number", metavar="ID", type=int)
@click.option("--comment", default="", help="What you do about it.")
@click.option("--undo", is_flag=True, help="Take the acknowledgement back: people are called again.")
@json_flag
@data_option
def acknowledge(data: Path | None, number: int, comment: str, undo: bool) -> None:
    """Acknowledge an incident: nobody else is called."""
    if undo:
        _act("unacknowledge", data, number, "is no longer acknowledged")
    else:
        _act("acknowledge", data, number, "is acknowledged until {until}", comment=comment)


@command.command("note")
@click.argument("number", metavar="ID", type=int)
@click.argument("text")
@json_flag
@data_option
def note(data: Path | None, number: int, text: str) -> None:
    """Add a note to the timeline."""
    _act("note", data, number, "has a note", text=text)


@command.command("snooze")
@click.argument("number", metavar="ID", type=int)
@click.option("--for", "duration", default="30m", show_default=True, help="How long: 15m, 2h.")
@click.option("--comment", default="", help="Why.")
@json_flag
@data_option
def snooze(data: Path | None, number: int, duration: str, comment: str) -> None:
    """Let nobody be called for a while."""
    _act("snooze", data, number, "is snoozed until {until}", duration=duration, comment=comment)


@command.command("assign")
@click.argument("number", metavar="ID", type=int)
@click.argument("person")
@json_flag
@data_option
def assign(data: Path | None, number: int, person: str) -> None:
    """Assign an incident to PERSON."""
    _act("assign", data, number, "is assigned to {assignee_name}", person=person)


@command.command("escalate")
@click.argument("number", metavar="ID", type=int)
@json_flag
@data_option
def escalate(data: Path | None, number: int) -> None:
    """Call everybody now."""
    _act("escalate", data, number, "is escalated")


@command.command("priority")
@click.argument("number", metavar="ID", type=int)
@click.argument("priority", type=click.Choice(["P1", "P2", "P3", "P4"]))
@json_flag
@data_option
def set_priority(data: Path | None, number: int, priority: str) -> None:
    """Change the priority; raising it calls people again."""
    _act("priority", data, number, "is {priority}", priority=priority)


@command.command("resolve")
@click.argument("number", metavar="ID", type=int)
@click.option("--comment", default="", help="What ended it.")
@json_flag
@data_option
def resolve(data: Path | None, number: int, comment: str) -> None:
    """Resolve an incident, whatever its alerts do."""
    _act("resolve", data, number, "is resolved", comment=comment)


@command.command("reopen")
@click.argument("number", metavar="ID", type=int)
@json_flag
@data_option
def reopen(data: Path | None, number: int) -> None:
    """Open a resolved incident again."""
    _act("reopen", data, number, "is open")


@command.command("merge")
@click.argument("number", metavar="ID", type=int)
@click.argument("into", type=int)
@json_flag
@data_option
def merge(data: Path | None, number: int, into: int) -> None:
    """Merge an incident INTO another one."""
    _act("merge", data, number, f"holds the alerts of #{number} now", into=into)


@command.command("split")
@click.argument("number", metavar="ID", type=int)
@click.argument("alert")
@json_flag
@data_option
def split(data: Path | None, number: int, alert: str) -> None:
    """Take ALERT (a name or fingerprint) out of an incident, into a new one."""
    _act("split", data, number, "is the new incident", alert=alert)


@command.command("declare")
@click.argument("title")
@click.option("--priority", type=click.Choice(["P1", "P2", "P3", "P4"]), default="P2", show_default=True)
@click.option("--text", default="", help="What is known.")
@json_flag
@data_option
def declare(data: Path | None, title: str, priority: str, text: str) -> None:
    """Declare an incident that no alert has seen; people are called as for any other."""
    it = post("/api/incidents/declare", data, title=title, priority=priority, text=text, by=current_user())
    if not printed_as_json(it):
        echo(f"#{it['id']} is declared")


@command.command("summary")
@click.argument("number", metavar="ID", type=int)
@click.argument("text")
@json_flag
@data_option
def summary(data: Path | None, number: int, text: str) -> None:
    """Write what happened, for the report."""
    if not printed_as_json(post("/api/incidents/summary", data, id=number, text=text)):
        echo(f"#{number} has a summary")


@command.command("action")
@click.argument("number", metavar="ID", type=int)
@click.argument("text", required=False)
@click.option("--owner", help="Who does it; with --edit '' for nobody.")
@click.option("--edit", type=int, help="Change the TEXT or the owner of the action item with this number.")
@click.option("--done", type=int, help="Tick the action item with this number.")
@click.option("--undone", type=int, help="Take its tick back.")
@click.option("--delete", type=int, help="Delete it.")
@json_flag
@data_option
def action(data: Path | None, number: int, text: str | None, owner: str | None, **items: int | None) -> None:
    """Add an action item; or change, tick, untick or delete one."""
    given = [(name, item) for name, item in items.items() if item is not None]
    said = "has {open_action_items} open action items"
    fields = {name: value for name, value in (("text", text), ("owner", owner)) if value is not None}
    match given:
        case [] if text:
            _act("action-item", data, number, said, **fields)
        case [("edit", item)] if fields:
            _act("edit-action-item", data, number, said, item=item, **fields)
        case [(name, item)] if name in ITEM_COMMANDS and not fields:
            _act(ITEM_COMMANDS[name], data, number, said, item=item)
        case _:
            raise click.UsageError(
                "give the TEXT of an action item, or --edit NUMBER with TEXT or --owner, or one of --done NUMBER, "
                "--undone NUMBER and --delete NUMBER"
            )
