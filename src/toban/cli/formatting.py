"""Responses as text for a terminal."""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, BinaryIO, Final, TextIO
from zoneinfo import ZoneInfo

import click

from toban.charts.terminal import Segment
from toban.cli.options import given_value
from toban.core.labels import Labels
from toban.core.number_format import Unit, format_value
from toban.core.terminal_columns import align_columns, text_width, wrap_cells
from toban.core.terminal_escapes import escape_controls, escape_line

MARKS: Final = {"healthy": "●", "unhealthy": "▲", "not configured": "○", "no data yet": "◌"}
"""The marks of states."""

OVERALL: Final = {
    "healthy": "healthy",
    "unhealthy": "something is wrong",
    "not configured": "nothing of a shop is monitored: `toban init` sets it up",
    "no data yet": "waiting for the first collection",
}


def short_time(text: str) -> str:
    """Return a time of a response, to the minute."""
    return text[:16].replace("T", " ") + "Z"


def zone_time(text: str, zone: str) -> str:
    """Return a time of a response on the clock of a zone, to the minute."""
    return f"{datetime.fromisoformat(text).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def time_left(text: str, now: datetime) -> str:
    """Return how long it is until a time of a response; to the minute once it is longer than that."""
    left = max(datetime.fromisoformat(text) - now, timedelta())
    unit = timedelta(minutes=1) if left >= timedelta(minutes=1) else timedelta(seconds=1)
    return format_value((left // unit * unit).total_seconds(), Unit.SECONDS)


def printed_as_json(result: Any) -> bool:
    """Print the result of a command as JSON if that is asked for, and tell whether it was."""
    if given_value("as_json"):
        echo(json.dumps(result, indent=2, ensure_ascii=False))
        return True
    return False


def fit_columns(rows: Iterable[Sequence[str]]) -> str:
    """Return rows in columns; where the terminal is too narrow for them, each row as some lines."""
    rows = list(rows)
    lines = align_columns(rows)
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or all(text_width(line) <= width for line in lines):
        return "\n".join(lines)
    return "\n".join(line for row in rows for line in wrap_cells(row, width))


def start_summary(status: Mapping[str, Any], first_admin_link: str = "") -> str:
    """Return the greeting: targets, addresses, which targets failed and why, and how the first admin is made."""
    lines = [f"toban {status['version']} is on duty.", "", *_targets(status["targets"]), ""]
    failed = [target for target in status["targets"] if not target["up"]]
    if failed:
        lines += [escape_line(f"Failed: {it['error'] or it['name'] + ': no response yet'}") for it in failed]
        lines.append("")
    lines += [
        f"Pages     {status['pages']}/",
        f"Health    {status['pages']}/health",
        f"Metrics   {status['pages']}/metrics",
        f"Data      {status['data']}",
        "",
    ]
    if first_admin_link:
        lines += ["No user exists yet. Make the first admin within 15 minutes:", first_admin_link, ""]
    lines.append("Next: `toban status`, `toban query EXPR`; Ctrl-C stops it.")
    return "\n".join(lines)


def format_status(status: Mapping[str, Any]) -> str:
    """Return the status of everything."""
    lines = [
        f"{MARKS[status['state']]} {OVERALL[status['state']]}   toban {status['version']} at {status['pages']}/",
        *([] if status["notified"] else [f"{MARKS['not configured']} no notification channel is configured"]),
        *_alerts(status),
        "",
        *_targets(status["targets"]),
        *_shop(status),
        "",
        "Health of the shop",
        *align_columns((_mark(it["up"]), it["name"], it["message"]) for it in status["health"]),
        *align_columns(("?", it["name"], f"not monitored: {it['reason']}") for it in status["unavailable_checks"]),
        *_missing(status),
        "",
        "toban itself",
        *align_columns((MARKS[it["state"]], it["name"], it["message"]) for it in status["services"]),
    ]
    return "\n".join(lines)


def _alerts(found: Mapping[str, Any]) -> list[str]:
    """Return what fires and what is pending."""
    marks = {"firing": "▲", "pending": "◌"}
    rows = [
        (
            marks[it["status"]],
            it["priority"],
            it["name"],
            "; ".join([it["status"], *alert_handling(it)]),
            it["annotations"].get("summary", ""),
        )
        for it in found["alerts"]
    ]
    return ["", "Alerts (details: `toban alerts`)", *align_columns(rows)] if rows else []


def alert_handling(alert: Mapping[str, Any]) -> list[str]:
    """Return who acknowledged an alert, and why nobody is notified of it."""
    by = [f"acknowledged by {alert['acknowledged']['by']}"] if alert["acknowledged"] else []
    return [*by, *alert["suppressed"]]


def _shop(found: Mapping[str, Any]) -> list[str]:
    """Return the key figures of the shop, as far as they are known."""
    if not found["figures"]:
        return []
    rows = [(f"{it['title']}{' (' + it['of'] + ')' if it['of'] else ''}", it["text"]) for it in found["figures"]]
    return ["", "The shop", *align_columns(rows)]


def _missing(found: Mapping[str, Any]) -> list[str]:
    """Return what is not monitored of a shop that is monitored, and what enables it."""
    if not found["figures"] or not found["not_monitored"]:
        return []
    return [
        "",
        "Not monitored",
        *align_columns((it["title"], f"enable with {it['remedy']}") for it in found["not_monitored"]),
    ]


def _targets(targets: Iterable[Mapping[str, Any]]) -> list[str]:
    return align_columns(
        (
            MARKS[it["state"]],
            it["name"],
            it["labels"]["instance"],
            f"{it['samples']} samples, {it['duration'] * 1000:.0f} ms"
            if it["last_collection"]
            else "not collected yet",
            it["error"],
        )
        for it in targets
    )


def format_result(found: Mapping[str, Any]) -> str:
    """Return the result of an instant query as a table."""
    data = found["data"]
    if data["resultType"] in {"scalar", "string"}:
        return "\n".join([str(data["result"][1]), *query_notes(found)])
    if not data["result"]:
        return "\n".join([NO_SERIES, *query_notes(found)])
    rows = [(str(Labels(series["metric"])), series["value"][1]) for series in data["result"]]
    return "\n".join([*align_columns(rows), *query_notes(found)])


NO_SERIES: Final = "no series: nothing has this name and these labels in the last five minutes"


def query_notes(found: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a result."""
    return [f"note: {note}" for note in [*found.get("warnings", ()), *found.get("infos", ())]]


def _mark(up: bool) -> str:
    return "●" if up else "▲"


def echo(text: str, *, err: bool = False) -> None:
    """Print a text. All output of commands goes through here: no text from outside controls the terminal."""
    click.echo(_encodable(escape_controls(text), sys.stderr if err else sys.stdout), err=err)


def echo_segments(lines: Iterable[Sequence[Segment]], *, has_colors: bool) -> None:
    """Print lines of coloured parts, each escaped as in `echo`."""
    for line in lines:
        parts = ((_encodable(escape_line(text), sys.stdout), color) for text, color in line)
        text = "".join(click.style(text, fg=color) if has_colors and color else text for text, color in parts)
        click.echo(text.rstrip(), color=has_colors)


def _encodable(text: str, file: TextIO) -> str:
    r"""Return a text in which what the encoding of a file lacks is written like ``\u25cf``."""
    encoding = file.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def echo_over(text: str) -> None:
    """Print a text over the last line."""
    echo_control(f"\r\x1b[K{escape_line(text)}")


def echo_control(sequence: str) -> None:
    """Print control sequences of toban's own; texts from outside in them are escaped already."""
    click.echo(sequence, nl=False)
    sys.stdout.flush()


def echo_bytes(pieces: Iterable[bytes], file: BinaryIO) -> None:
    """Write bytes into a file unchanged, and into a terminal as `echo` does."""
    file.writelines(
        escape_controls(piece.decode(errors="replace")).encode() if file.isatty() else piece for piece in pieces
    )
