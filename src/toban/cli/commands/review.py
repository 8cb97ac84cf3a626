"""Review alerts: how good each rule was."""

import difflib
import getpass
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from toban.cli.client import config_option, data_option, get, json_option, post
from toban.cli.formatting import echo, echo_over
from toban.core.errors import SettingsError
from toban.core.number_format import Unit, format_value
from toban.core.paths import CONFIGURATION, read_text
from toban.core.terminal_columns import align_columns
from toban.review.config_override import with_override
from toban.settings import load_rules, load_settings

POLL_SECONDS: Final = 0.5


@click.command
@click.option("--month", default="", metavar="YYYY-MM", help="Which month.  [default: this one]")
@click.option("--propose", is_flag=True, help="Look for better limits, by replay of the last 90 days; takes minutes.")
@click.option("--apply", "rule", metavar="RULE", help="Write the proposed limit of RULE into toban.yaml, and reload.")
@config_option
@json_option
@data_option
def command(data: Path | None, as_json: bool, config: Path | None, month: str, propose: bool, rule: str | None) -> None:
    """
    Show how good each rule was in a month: how often it fired, and what came of it.

    IGNORED are rules on whose firings too seldom anybody acted, USELESS those whose alerts were over in five minutes,
    FLAPPING those that fired again within half an hour. MTTA and MTTR are medians. With fewer than five firings nothing
    is judged.
    """
    if rule:
        _apply(rule, config, data)
        return
    if propose:
        _propose(data, as_json=as_json)
        return
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


def _propose(data: Path | None, *, as_json: bool) -> None:
    """Let toban look for better limits, and show what it found."""
    run = post("/api/review/propose", data)
    while run["ended"] is None:
        if not as_json and sys.stderr.isatty():
            echo_over(f"{run['done']} of {run['total']} rules")
        time.sleep(POLL_SECONDS)
        run = get("/api/review/proposals", data)
    if as_json:
        echo(json.dumps(run, indent=2, ensure_ascii=False))
        return
    for it in run["proposals"]:
        later = format_value(it["later_seconds"], Unit.SECONDS)
        echo(
            f"{it['rule']}: of {it['fired']} firings in {it['days']:.0f} days {it['saved']} would not have been;"
            f" kept {it['found']} of {it['found']} true incidents, {later} later ({it['source']})"
        )
        echo("".join(f"  {name}: {value}\n" for name, value in it["override"].items()).rstrip())
    if run["proposals"]:
        echo("\n`toban review --apply RULE` writes one into toban.yaml.")
    else:
        echo("No limit saves firings without missing an incident.")
    for reason, names in groupby(sorted(run["refusals"], key=_reason), key=_reason):
        echo(f"  {reason}: {', '.join(it['rule'] for it in names)}")


def _reason(refusal: dict[str, str]) -> str:
    return refusal["reason"]


def _apply(rule: str, config: Path | None, data: Path | None) -> None:
    """
    Write a proposal into the configuration and reload it.

    Raises ``SettingsError`` when the rule has changed since, or the file can't be changed.
    """
    found = next((it for it in get("/api/review/proposals", data)["proposals"] if it["rule"] == rule), None)
    if found is None:
        raise SettingsError(f"nothing is proposed for {rule!r}: `toban review --propose` looks for better limits")
    path = config or Path(CONFIGURATION)
    present = [it for group in load_rules(load_settings(path, os.environ)) for it in group.alerts if it.name == rule]
    if [(it.query.text, it.for_.total_seconds()) for it in present] != [(found["expression"], found["for_seconds"])]:
        raise SettingsError(f"{rule} has changed since: run `toban review --propose` again")
    days, when = round(found["days"]), datetime.now(UTC)
    comment = (
        f"{when:%Y-%m-%d}, {getpass.getuser()}: saves {found['saved']} of {found['fired']} firings in {days} days,"
        f" keeps {found['found']} of {found['found']} incidents"
    )
    before = read_text(path)
    after = with_override(before, rule, found["override"], comment)
    _replace(path, after)
    try:
        load_settings(path, os.environ)
    except SettingsError:
        _replace(path, before)
        raise
    echo("\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), lineterm="")))
    post("/-/reload", data)
    echo("The configuration is reloaded.")


def _replace(path: Path, text: str) -> None:
    """Write a file as a whole: whoever reads it sees the old or the new one, and nobody else may read the new one."""
    try:
        mode = path.stat().st_mode
        # Made private, by a name of its own: it may hold secrets, and its mode is set after its content.
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SettingsError(f"{path}: can't be written: {error.strerror}") from error


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
