"""Search and follow log lines."""

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click

from toban.charts.terminal import Segment, stdout_style
from toban.cli.client import data_option, events, get, json_option
from toban.cli.formatting import echo, echo_segments
from toban.core.terminal_escapes import escape_line

LEVELS = ("error", "warn", "info", "verbose", "debug")

COLORS: Final = {"error": "red", "warn": "yellow", "verbose": "bright_black", "debug": "bright_black"}
"""The colours of levels."""

RECONNECT: Final = 1.0
"""Seconds between the end of a stream and the next one."""

MAX_LINES: Final = 5_000
"""Lines that are shown at most, and that are remembered while new ones follow."""

Line = dict[str, Any]


@click.command
@click.argument("query", default="")
@click.option("--since", default="", help="The start: how long ago, like 1h, or a time.")
@click.option("--until", default="", help="The end: how long ago, or a time.")
@click.option("--follow", "-f", is_flag=True, help="Show new lines as they are stored, until Ctrl-C.")
@click.option("--context", "-C", default=0, type=click.IntRange(0, 500), help="Lines around each one.")
@click.option("--level", type=click.Choice(LEVELS), default="info", show_default=True, help="This level, and worse.")
@click.option("--service", default="", help="The process, like vendure-worker.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, MAX_LINES), help="How many lines at most."
)
@data_option
@json_option
def command(
    query: str,
    since: str,
    until: str,
    follow: bool,
    context: int,
    level: str,
    service: str,
    limit: int,
    data: Path | None,
    as_json: bool,
) -> None:
    """
    Show the newest log lines, the newest last: all, or those that a QUERY finds.

    A query is words, like: toban logs 'payment failed service:worker', or LogQL, like: toban logs '{level="error"} |=
    "payment" | json'.
    """
    if follow and (until or context):
        raise click.UsageError("--follow goes with neither --until nor --context")
    selected = {"query": query, "level": level, "service": service}
    selected = {name: value for name, value in selected.items() if value}
    times = {name: value for name, value in (("since", since), ("until", until)) if value}
    show = _show_json if as_json else _show
    if follow:
        try:
            _follow(data, selected, times, limit, show)
        except KeyboardInterrupt:
            return
    lines, is_complete = _search(data, {**selected, **times}, limit)
    if context:
        lines = _with_context(data, lines, context)
    for line in lines:
        show(line)
    if not lines and not as_json and is_complete:
        echo("no line matches")


def _search(data: Path | None, parameters: dict[str, str], limit: int) -> tuple[list[Line], bool]:
    """
    Return lines, the newest last, and whether all could be searched: what could not is printed.

    They come page by page: a slow search says how far back it has looked.
    """
    found: list[Line] = []
    cursor, is_complete = "", True
    while True:
        page = {"cursor": cursor} if cursor else {}
        response = get("/api/logs", data, **parameters, **page, limit=str(limit - len(found)))
        found += response["lines"]
        cursor = response["cursor"]
        is_complete = _print_missing(response) and is_complete
        if not cursor or len(found) >= limit:
            break
        if sys.stderr.isatty():
            echo(f"looked back to {response['reached'][:19]}Z ...", err=True)
    return found[::-1], is_complete


def _print_missing(response: Any) -> bool:
    """Print which lines could not be searched, and why; return whether there are none."""
    for it in response["missing"]:
        times = f"{it['start'][:19]}Z to {it['end'][:19]}Z"
        echo(escape_line(f"the lines from {times} could not be searched: {it['reason']}"), err=True)
    return not response["missing"]


def _with_context(data: Path | None, lines: list[Line], count: int) -> list[Line]:
    """Return lines with those around them, each once."""
    around: dict[tuple[int, ...], Line] = {}
    for line in lines:
        response = get("/api/logs", data, around=line["position"], limit=str(count))
        _print_missing(response)
        around.update((tuple(map(int, it["position"].rsplit("-", 1))), it) for it in response["lines"])
    return [line for _, line in sorted(around.items())]


def _follow(data: Path | None, selected: dict[str, str], times: dict[str, str], limit: int, show: Any) -> None:
    """Show the newest lines, then new ones; when toban is restarted, go on with those that were stored meanwhile."""
    shown: dict[str, None] = {}
    while True:
        stream = events("/logs/tail", data, **selected)
        # The stream is open before the search: no line is lost between the two.
        next(stream, None)
        for line in chain(_search(data, {**selected, **times}, MAX_LINES if shown else limit)[0], _new_lines(stream)):
            if line["position"] not in shown:
                show(line)
                times = {"since": line["timestamp"]}
                shown[line["position"]] = None
                if len(shown) > MAX_LINES:
                    del shown[next(iter(shown))]
        time.sleep(RECONNECT)


def _new_lines(stream: Iterator[tuple[str, str]]) -> Iterator[Line]:
    for kind, content in stream:
        if kind == "dropped":
            echo(f"up to {content} lines were not shown: they came too fast", err=True)
        elif content:
            yield json.loads(content)


def _show_json(line: Line) -> None:
    echo(json.dumps(line, ensure_ascii=False))


def _show(line: Line) -> None:
    echo_segments(_segments(line), has_colors=stdout_style(0, os.environ).has_colors)


def format_line(line: Line) -> str:
    """Return one line for a terminal."""
    return "\n".join("".join(text for text, _ in segments) for segments in _segments(line))


def _segments(line: Line) -> list[list[Segment]]:
    who = "/".join(part for part in (line.get("service"), line.get("context")) if part)
    facts = " ".join(f"{name}={value}" for name, value in line.get("facts", {}).items())
    head: list[Segment] = [
        (escape_line(f"{line['timestamp'][:19]}Z "), ""),
        (escape_line(f"{line['level']:<7}"), COLORS.get(line["level"], "")),
        (escape_line(f" {who}: {line.get('message', '')}"), ""),
    ]
    if facts:
        head.append((f"  {escape_line(facts)}", "bright_black"))
    # A trace is indented: none of its lines looks like a line of the log.
    return [head, *([(f"    {escape_line(part)}", "bright_black")] for part in line.get("trace", "").splitlines())]
