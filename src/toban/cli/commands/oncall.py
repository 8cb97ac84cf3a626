"""On-call: who is, the coming shifts, covers and swaps, a calendar for the phone."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from toban.cli.client import data_option, get, json_flag, json_option, post
from toban.cli.formatting import echo, fit_columns, printed_as_json

MOST_GAPS: Final = 5


@click.group(invoke_without_command=True)
@click.option("--at", default="", metavar="TIME", help="Who is on call then, like 2026-08-10T18:00; default: now.")
@click.option("--days", type=click.IntRange(0, 92), default=14, show_default=True, help="How many days of shifts.")
@json_option
@data_option
@click.pass_context
def command(context: click.Context, data: Path | None, as_json: bool, at: str, days: int) -> None:
    """Show who is on call, or change the schedule. Times are on the clock of the schedule's zone."""
    if context.invoked_subcommand:
        return
    found = get("/api/oncall", data, days=str(days), **({"at": at} if at else {}))
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    echo("\n".join(_schedule(found)))


def _schedule(found: dict[str, Any]) -> list[str]:
    def time(text: str) -> str:
        return f"{datetime.fromisoformat(text).astimezone(ZoneInfo(found['timezone'])):%a %Y-%m-%d %H:%M %Z}"

    def names(people: Sequence[str]) -> str:
        return ", ".join(map(name, people)) or "nobody"

    def name(person: str) -> str:
        title = found["people"].get(person, person)
        return person if title.casefold() == person.casefold() else f"{person} ({title})"

    lines = [f"on call: {names(found['on_call'])}"]
    if not found["has_schedule"]:
        lines.append("There is no schedule, so everybody is always on call: write on_call.layers (docs/incidents.md).")
    if found["next_change"]:
        after = f", then {names(found['next_on_call'])}" if found["next_on_call"] else ""
        lines.append(f"until {time(found['next_change'])}{after}")
    if found["has_schedule"] and found["final"]:
        lines += [
            "",
            fit_columns((time(it["start"]), time(it["end"]), names(it["people"])) for it in found["final"]),
        ]
    if found["overrides"]:
        lines += ["", fit_columns(_override(it, time(it["starts"]), time(it["ends"])) for it in found["overrides"])]
    notes = [f"▲ nobody is on call from {time(it['start'])} to {time(it['end'])}" for it in found["gaps"][:MOST_GAPS]]
    if len(found["gaps"]) > MOST_GAPS:
        notes.append(f"▲ {len(found['gaps']) - MOST_GAPS} further gaps in the next 30 days: `toban oncall --json`")
    if found["unreachable"]:
        notes.append(
            f"▲ no channel that pages, so nothing wakes them: {names(found['unreachable'])} (`pages` of a channel)"
        )
    for calendar in found["calendars"]:
        read = f"; last read {time(calendar['read'])}" if calendar["read"] else ""
        notes += [f"▲ calendar of {calendar['layer']}: {calendar['error']}{read}"] if calendar["error"] else []
        notes += [f"▲ calendar of {calendar['layer']}: {warning}" for warning in calendar["warnings"]]
    return [*lines, "", *notes] if notes else lines


def _override(it: dict[str, Any], starts: str, ends: str) -> tuple[str, ...]:
    if it["is_open"]:
        what = f"{it['instead_of']} offers it: toban oncall take {it['id']} --by PERSON"
    elif it["instead_of"]:
        what = f"{it['person']} in place of {it['instead_of']}"
    else:
        what = f"{it['person']} alone"
    return f"#{it['id']}", starts, ends, what, it["comment"]


def _time(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        return datetime.fromisoformat(value).isoformat()
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a time like 2026-08-10T18:00") from error


from_option = click.option("--from", "starts", required=True, metavar="TIME", callback=_time, help="2026-08-10T18:00")
to_option = click.option("--to", "ends", required=True, metavar="TIME", callback=_time, help="2026-08-17T10:00")
comment_option = click.option("--comment", default="", help="Why.")


@command.command("cover")
@click.argument("person")
@click.option("--by", required=True, metavar="OTHER", help="Who is on call instead.")
@from_option
@to_option
@comment_option
@json_flag
@data_option
def cover(data: Path | None, person: str, by: str, starts: str, ends: str, comment: str) -> None:
    """Let OTHER be on call where PERSON is."""
    it = post("/api/oncall/cover", data, person=person, by=by, starts=starts, ends=ends, comment=comment)
    if not printed_as_json(it):
        echo(f"#{it['id']} {by} is on call in place of {person}")


@command.command("swap")
@click.argument("person")
@from_option
@to_option
@comment_option
@json_flag
@data_option
def swap(data: Path | None, person: str, starts: str, ends: str, comment: str) -> None:
    """Offer shifts of PERSON, who stays on call until somebody takes them."""
    it = post("/api/oncall/swap", data, person=person, starts=starts, ends=ends, comment=comment)
    if not printed_as_json(it):
        echo(f"#{it['id']} is offered: toban oncall take {it['id']} --by PERSON")


@command.command("take")
@click.argument("number", metavar="ID", type=int)
@click.option("--by", required=True, metavar="PERSON", help="Who takes it.")
@json_flag
@data_option
def take(data: Path | None, number: int, by: str) -> None:
    """Take shifts that somebody offered."""
    it = post("/api/oncall/take", data, id=number, by=by)
    if not printed_as_json(it):
        echo(f"#{number} {by} is on call in place of {it['instead_of']}")


@command.command("override")
@click.argument("person")
@from_option
@to_option
@comment_option
@json_flag
@data_option
def override(data: Path | None, person: str, starts: str, ends: str, comment: str) -> None:
    """Let PERSON alone be on call, whatever the layers say."""
    it = post("/api/oncall/override", data, person=person, starts=starts, ends=ends, comment=comment)
    if not printed_as_json(it):
        echo(f"#{it['id']} {person} alone is on call")


@command.command("cancel")
@click.argument("number", metavar="ID", type=int)
@data_option
def cancel(data: Path | None, number: int) -> None:
    """Cancel a cover, a swap or an override; one that has begun ends now."""
    post("/api/oncall/cancel", data, id=number)
    echo(f"#{number} is cancelled")


@command.command("feed")
@click.argument("person")
@data_option
def feed(data: Path | None, person: str) -> None:
    """Print a new address of the calendar of PERSON; the last one ends."""
    echo(post("/api/oncall/feed", data, person=person)["url"])
