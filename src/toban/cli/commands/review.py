"""Review alerts: how good each rule was."""

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from toban.cli.client import data_option, get, json_option, post
from toban.cli.formatting import echo, echo_over
from toban.cli.review_text import applied_text, proposals_text
from toban.core.errors import TobanError
from toban.core.number_format import Unit, format_value
from toban.core.terminal_columns import align_columns

RELOADED: Final = "The configuration is reloaded."
POLL_SECONDS: Final = 0.5


@click.command
@click.option("--month", default="", metavar="YYYY-MM", help="Which month.  [default: this one]")
@click.option("--propose", is_flag=True, help="Look for better limits, by replay of the last 90 days; takes minutes.")
@click.option("--apply", "rule", metavar="RULE", help="Write the proposed limit of RULE into toban.yaml, and reload.")
@click.option("--last", is_flag=True, help="Show what the last review found, and whether applied limits helped.")
@json_option
@data_option
def command(data: Path | None, as_json: bool, month: str, propose: bool, rule: str | None, last: bool) -> None:
    """
    Show how good each rule was in a month: how often it fired, and what came of it.

    IGNORED are rules on whose firings too seldom anybody acted, USELESS those whose alerts were over in five minutes,
    FLAPPING those that fired again within half an hour. MTTA and MTTR are medians. With fewer than five firings nothing
    is judged.
    """
    if rule:
        _apply(rule, data, as_json=as_json)
    elif propose:
        _propose(data, as_json=as_json)
    elif last:
        run = get("/api/review/proposals", data)
        echo(json.dumps(run, indent=2, ensure_ascii=False) if as_json else proposals_text(run))
    else:
        _show(month, data, as_json=as_json)


def _show(month: str, data: Path | None, *, as_json: bool) -> None:
    """Show the review of a month."""
    found = get("/api/review", data, month=month)
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    echo(f"{found['month']}: {found['pages_at_night']} firings of rules that page began at night")
    if found["rules"]:
        rows: list[tuple[str, ...]] = [
            ("RULE", "FIRED", "FOR", "NIGHT", "SEEN", "ACTED ON", "USELESS", "PAGES", "MTTA", "MTTR", "")
        ]
        rows += [_row(it) for it in found["rules"]]
        echo("\n".join(align_columns(rows)))
    else:
        echo("Nothing fired.")
    if found["without_data"]:
        echo("\nRules whose data has never been there:")
        for line in align_columns((it["rule"], ", ".join(it["metrics"])) for it in found["without_data"]):
            echo(f"  {line}")
    if found["quiet"]:
        echo(f"\nNot fired for 90 days: {', '.join(it['rule'] for it in found['quiet'])}")
    if applied := get("/api/review/proposals", data)["applied"]:
        echo("\n" + applied_text(applied))


def _propose(data: Path | None, *, as_json: bool) -> None:
    """Let toban look for better limits, and show what it found. Raises ``TobanError`` where a reload ends it."""
    run = post("/api/review/propose", data)
    started = run["started"]
    while run["ended"] is None:
        if not as_json and sys.stderr.isatty():
            echo_over(f"{run['done']} of {run['total']} rules")
        time.sleep(POLL_SECONDS)
        run = get("/api/review/proposals", data)
        if run["started"] != started:
            raise TobanError("the configuration was reloaded meanwhile: review it again")
    if run["error"]:
        raise TobanError(run["error"])
    echo(json.dumps(run, indent=2, ensure_ascii=False) if as_json else proposals_text(run))


def _apply(rule: str, data: Path | None, *, as_json: bool) -> None:
    """Let toban write a proposal into its configuration and reload it; where it can't, show the lines to copy."""
    try:
        found = post("/api/review/apply", data, rule=rule)
    except TobanError as error:
        proposed = [it for it in get("/api/review/proposals", data)["proposals"] if it["rule"] == rule]
        if not proposed or proposed[0]["is_void"]:
            raise
        raise TobanError(f"{error}\n\n{proposed[0]['lines']}") from error
    echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else f"{found['difference']}\n{RELOADED}")


def _row(it: dict[str, Any]) -> tuple[str, ...]:
    acted = str(it["acted_on"]) if it["precision"] is None else f"{it['acted_on']} ({it['precision']:.0%})"
    return (
        it["rule"],
        str(it["fired"]),
        format_value(it["firing_seconds"], Unit.SECONDS),
        str(it["at_night"]),
        str(it["acknowledged"]),
        acted,
        str(it["useless"]),
        str(it["pages"]),
        _median(it["to_acknowledge"]),
        _median(it["to_resolve"]),
        ", ".join(it["faults"]),
    )


def _median(spread: dict[str, float] | None) -> str:
    return format_value(spread["median"], Unit.SECONDS) if spread else "–"
