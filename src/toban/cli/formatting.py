"""Responses as text for a terminal."""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, BinaryIO, Final

import click

from toban.core.labels import Labels
from toban.core.terminal_escapes import escape_controls, escape_line

BLOCKS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 60

MARKS: Final = {"healthy": "●", "unhealthy": "▲", "not configured": "○", "no data yet": "◌"}
"""The marks of states."""

OVERALL: Final = {
    "healthy": "healthy",
    "unhealthy": "something is wrong",
    "not configured": "nothing of a shop is monitored: `toban init` sets it up",
    "no data yet": "waiting for the first collection",
}


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
    """Return the result of a query: a table, or a sparkline for each series over time."""
    data = found["data"]
    notes = [f"note: {note}" for note in [*found.get("warnings", ()), *found.get("infos", ())]]
    if data["resultType"] in {"scalar", "string"}:
        return "\n".join([str(data["result"][1]), *notes])
    if not data["result"]:
        return "\n".join(["no series: nothing has this name and these labels in the last five minutes", *notes])
    rows = [
        (
            str(Labels(series["metric"])),
            *(_over_time(series["values"]) if "values" in series else (series["value"][1],)),
        )
        for series in data["result"]
    ]
    if data["resultType"] == "matrix":
        times = [float(at) for series in data["result"] for at, _ in series["values"]]
        notes.insert(0, f"{_clock(min(times))} to {_clock(max(times))} UTC: trend, min, max, last")
    return "\n".join([*align_columns(rows), *notes])


def _over_time(values: Sequence[tuple[float, str]]) -> tuple[str, str, str, str]:
    numbers = [float(value) for _, value in values]
    finite = [number for number in numbers if math.isfinite(number)] or [math.nan]
    return sparkline(numbers), f"{min(finite):.6g}", f"{max(finite):.6g}", f"{numbers[-1]:.6g}"


def sparkline(numbers: Sequence[float], width: int = WIDTH) -> str:
    """Draw numbers as blocks between their minimum and maximum; what is not finite is a gap."""
    if len(numbers) > width:
        edges = [round(place * len(numbers) / width) for place in range(width + 1)]
        parts = [numbers[first:last] for first, last in pairwise(edges)]
        # The maximum of each part: a short peak must be seen.
        numbers = [max((n for n in part if math.isfinite(n)), default=math.nan) for part in parts]
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        return " " * len(numbers)
    low, high = min(finite), max(finite)
    # Halved: the difference of two of the largest floats overflows.
    span = (high / 2 - low / 2) or 1.0
    return "".join(
        BLOCKS[min(int((number / 2 - low / 2) / span * len(BLOCKS)), len(BLOCKS) - 1)] if math.isfinite(number) else " "
        for number in numbers
    )


def _mark(up: bool) -> str:
    return "●" if up else "▲"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")


def align_columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Align cells in columns, each row on one line."""
    table = [tuple(escape_line(cell) for cell in row) for row in rows]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _width(text: str) -> int:
    """Return how many columns a text takes: a Japanese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def echo(text: str, *, err: bool = False) -> None:
    """Print a text. All output of commands goes through here: no text from outside controls the terminal."""
    click.echo(escape_controls(text), err=err)


def echo_over(text: str) -> None:
    """Print a text over the last line."""
    click.echo(f"\r\x1b[K{escape_line(text)}", nl=False)


def echo_bytes(pieces: Iterable[bytes], file: BinaryIO) -> None:
    """Write bytes into a file unchanged, and into a terminal as `echo` does."""
    file.writelines(
        escape_controls(piece.decode(errors="replace")).encode() if file.isatty() else piece for piece in pieces
    )
