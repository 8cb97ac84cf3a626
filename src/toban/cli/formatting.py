"""How answers look in a terminal."""

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
"""How the states of things are marked."""

OVERALL: Final = {
    "healthy": "healthy",
    "unhealthy": "something is wrong",
    "not configured": "nothing of a shop is monitored: `toban init` sets it up",
    "no data yet": "waiting for the first collection",
}


def start_summary(found: Mapping[str, Any]) -> str:
    """Return what the start says: what is watched, where the pages are, and what could not be reached and why."""
    lines = [f"toban {found['version']} is on duty.", "", *_targets(found["targets"]), ""]
    unreached = [target for target in found["targets"] if not target["up"]]
    if unreached:
        lines += [escape_line(f"Not reached: {it['error'] or it['name'] + ': no answer yet'}") for it in unreached]
        lines.append("")
    lines += [
        f"Pages     {found['pages']}/",
        f"Health    {found['pages']}/health",
        f"Numbers   {found['pages']}/metrics",
        f"Data      {found['data']}",
        "",
        "Ask `toban status`, `toban query EXPR`; Ctrl-C stops it.",
    ]
    return "\n".join(lines)


def format_status(found: Mapping[str, Any]) -> str:
    """Return what is watched and how it is."""
    lines = [
        f"{MARKS[found['state']]} {OVERALL[found['state']]}   toban {found['version']} at {found['pages']}/",
        *([] if found["notified"] else [f"{MARKS['not configured']} no channel is configured: nobody is notified"]),
        *_alerts(found),
        "",
        *_targets(found["targets"]),
        *_shop(found),
        "",
        "Health of the shop",
        *align_columns((_mark(it["up"]), it["name"], it["message"]) for it in found["health"]),
        *align_columns(("?", it["name"], f"not known: {it['reason']}") for it in found["unknown"]),
        *_missing(found),
        "",
        "toban itself",
        *align_columns((MARKS[it["state"]], it["name"], it["says"]) for it in found["toban"]),
    ]
    return "\n".join(lines)


def _alerts(found: Mapping[str, Any]) -> list[str]:
    """Return what fires, and what soon may."""
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
    return ["", "Alerts (`toban alerts` tells more)", *align_columns(rows)] if rows else []


def alert_handling(alert: Mapping[str, Any]) -> list[str]:
    """Return who acknowledged an alert, and why nobody is notified of it."""
    by = [f"acknowledged by {alert['acknowledged']['by']}"] if alert["acknowledged"] else []
    return [*by, *alert["suppressed"]]


def _shop(found: Mapping[str, Any]) -> list[str]:
    """Return the shop in a few figures, as far as they are known."""
    if not found["shop"]:
        return []
    rows = [(f"{it['what']}{' (' + it['of'] + ')' if it['of'] else ''}", it["text"]) for it in found["shop"]]
    return ["", "The shop", *align_columns(rows)]


def _missing(found: Mapping[str, Any]) -> list[str]:
    """Return what is not known of a shop that tells something, and what would add it."""
    if not found["shop"] or not found["missing"]:
        return []
    return [
        "",
        "Not known of the shop",
        *align_columns((it["what"], f"added by {it['remedy']}") for it in found["missing"]),
    ]


def _targets(targets: Iterable[Mapping[str, Any]]) -> list[str]:
    return align_columns(
        (
            MARKS[it["state"]],
            it["name"],
            it["labels"]["instance"],
            f"{it['samples']} numbers, {it['seconds'] * 1000:.0f} ms" if it["at"] else "not looked at yet",
            it["error"],
        )
        for it in targets
    )


def format_result(found: Mapping[str, Any]) -> str:
    """Return what a query came to: a table, or a line of blocks for each series over time."""
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
        notes.insert(0, f"{_clock(min(times))} to {_clock(max(times))} UTC: curve, least, most, last")
    return "\n".join([*align_columns(rows), *notes])


def _over_time(values: Sequence[tuple[float, str]]) -> tuple[str, str, str, str]:
    numbers = [float(value) for _, value in values]
    finite = [number for number in numbers if math.isfinite(number)] or [math.nan]
    return sparkline(numbers), f"{min(finite):.6g}", f"{max(finite):.6g}", f"{numbers[-1]:.6g}"


def sparkline(numbers: Sequence[float], width: int = WIDTH) -> str:
    """Draw numbers as blocks, the least as the lowest and the most as the highest; what is no number is a gap."""
    if len(numbers) > width:
        edges = [round(place * len(numbers) / width) for place in range(width + 1)]
        parts = [numbers[first:last] for first, last in pairwise(edges)]
        # The highest of each part: a short peak is what one looks for.
        numbers = [max((n for n in part if math.isfinite(n)), default=math.nan) for part in parts]
    finite = [number for number in numbers if math.isfinite(number)]
    if not finite:
        return " " * len(numbers)
    low, high = min(finite), max(finite)
    # Halved, since the difference of two of the largest numbers is none.
    span = (high / 2 - low / 2) or 1.0
    return "".join(
        BLOCKS[min(int((number / 2 - low / 2) / span * len(BLOCKS)), len(BLOCKS) - 1)] if math.isfinite(number) else " "
        for number in numbers
    )


def _mark(well: bool) -> str:
    return "●" if well else "▲"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")


def align_columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Set cells in columns, each row on one line."""
    table = [tuple(escape_line(cell) for cell in row) for row in rows]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def _width(text: str) -> int:
    """Return how many columns a text takes: Japanese takes two a sign."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def echo(text: str, *, err: bool = False) -> None:
    """Print a text. All output of commands goes through here: what comes from outside steers no terminal."""
    click.echo(escape_controls(text), err=err)


def echo_over(text: str) -> None:
    """Print a text in place of the last line."""
    click.echo(f"\r\x1b[K{escape_line(text)}", nl=False)


def echo_bytes(pieces: Iterable[bytes], file: BinaryIO) -> None:
    """Write bytes as they are into a file, and into a terminal as `echo` does."""
    file.writelines(
        escape_controls(piece.decode(errors="replace")).encode() if file.isatty() else piece for piece in pieces
    )
