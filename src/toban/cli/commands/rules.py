"""Check rule files, and run their tests."""

import json
import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import click

from toban.alerting import rule_lint
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_lint import LintContext
from toban.alerting.rule_loader import shipped_groups
from toban.alerting.rule_unit_tests import run
from toban.cli.client import config_option, data_option, get, json_option, post
from toban.cli.formatting import echo, echo_over, short_time
from toban.cli.metric_catalog import declared_metrics, transient_metrics
from toban.cli.param_types import DurationType
from toban.core.errors import SettingsError, TobanError
from toban.core.number_format import Unit, format_value
from toban.core.paths import read_text
from toban.core.terminal_columns import align_columns
from toban.settings import QUERY_PARSERS, load_settings

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))

POLL_SECONDS: Final = 0.3
SHOWN: Final = 20
"""How many firings of a rule are shown."""


@click.group
def command() -> None:
    """Check rule files as `toban up` reads them, and run their tests in promtool's form."""


@command.command("check")
@FILES
@config_option
@data_option
def check(files: tuple[Path, ...], config: Path | None, data: Path | None) -> int:
    """
    Read rule FILES; show errors, and what is doubtful.

    Doubtful are an unknown metric, a matcher without series, a limit that seems to be in another unit, a metric that
    is not always there, a count of log lines that falls apart into single ones, and an unknown channel. A running toban
    knows the metrics of exporters too.
    """
    invalid, groups = 0, {}
    for path in files:
        try:
            groups[path] = parse_rule_file(read_text(path), str(path), QUERY_PARSERS)
        except SettingsError as error:
            echo(str(error), err=True)
            invalid += 1
    known, note = _known(config, data)
    recorded = rule_lint.recorded_metrics(group for found in [shipped_groups(), *groups.values()] for group in found)
    known = replace(known, metrics={*known.metrics, *recorded})
    for path, found in groups.items():
        rules = [rule for group in found for rule in group.rules]
        echo(f"{path}: {len(rules)} rules")
        for rule in rules:
            for doubt in rule_lint.lint_rule(rule, known):
                echo(f"  {rule.name}: {doubt}")
    if note:
        echo(note)
    return 1 if invalid else 0


@command.command("list")
@data_option
@json_option
def listed(data: Path | None, as_json: bool) -> None:
    """List the rules that a running toban evaluates: severity, state, error, and what data is missing."""
    groups = get("/api/v1/rules", data)["data"]["groups"]
    if as_json:
        echo(json.dumps(groups, indent=2, ensure_ascii=False))
        return
    inactive = {it["rule"]: ", ".join(it["metrics"]) for it in get("/api/alerts", data)["inactive_rules"]}
    for group in groups:
        echo(f"{group['name']}   every {group['interval']:g} s   {group['file']}")
        rows = [
            (
                *_row(rule, rule["name"] in inactive),
                f"no data: {inactive[rule['name']]}" if rule["name"] in inactive else "",
            )
            for rule in group["rules"]
        ]
        for line in align_columns(rows) if rows else ():
            echo(f"  {line}")


def _row(rule: dict[str, Any], is_inactive: bool) -> tuple[str, ...]:
    marks = {"firing": "▲", "pending": "◌"}
    state = rule.get("state", "recording")
    error = rule.get("lastError", "")
    mark = "?" if error else "○" if is_inactive else marks.get(state, "●")
    return mark, rule["name"], rule.get("labels", {}).get("severity", ""), state, error


@command.command("history")
@click.argument("rule", required=False, default="")
@click.option("--days", type=click.IntRange(1, 761), default=90, show_default=True, help="Of how many days until now.")
@json_option
@data_option
def history(data: Path | None, as_json: bool, rule: str, days: int) -> None:
    """
    Show when alerts fired, all or those of RULE: by month, and the newest ones.

    An alert is acted on by a runbook, a silence with a comment, a note on its incident or a deploy, until an hour after
    its end; an acknowledgement is no act.
    """
    found = get("/api/firings", data, rule=rule, days=str(days))
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found["months"]:
        echo("Nothing has fired.")
        return
    rows = [("MONTH", "RULE", "FIRED", "FOR", "ACKNOWLEDGED", "ACTED ON", "USELESS", "MESSAGES", "PAGES")]
    rows += [
        (
            it["month"],
            it["rule"],
            str(it["fired"]),
            format_value(it["seconds"], Unit.SECONDS),
            *(str(it[name]) for name in ("acknowledged", "acted_on", "useless", "messages", "pages")),
        )
        for it in found["months"]
    ]
    echo("\n".join(align_columns(rows)))
    echo("")
    echo("\n".join(align_columns(_firing(it) for it in found["firings"][:20])))


def _firing(it: dict[str, Any]) -> tuple[str, ...]:
    length = "fires" if it["seconds"] is None else format_value(it["seconds"], Unit.SECONDS)
    by = f"acknowledged by {it['acknowledged_by']}" if it["acknowledged"] else ""
    return short_time(it["fired"]), it["rule"], length, by, ", ".join(act["kind"] for act in it["acts"])


@command.command("backtest")
@click.argument("what", metavar="FILE|RULE")
@click.option("--from", "begins", type=DurationType(), default="7d", show_default=True, help="How long ago it begins.")
@click.option("--to", "ends", type=DurationType(), help="How long ago it ends.  [default: now]")
@json_option
@data_option
def backtest(data: Path | None, as_json: bool, what: str, begins: timedelta, ends: timedelta | None) -> int:
    """
    Show what the rules of a rule FILE, or the RULE of a name, would have done, over the stored samples.

    It is what live evaluation would have fired: with the same states, at the rule's interval, and not while toban did
    not run. Ctrl-C cancels it. At most 92 days.
    """
    path, now = Path(what), datetime.now(UTC)
    chosen = {"rules": read_text(path)} if path.is_file() else {"rule": what}
    span = {"begins": (now - begins).isoformat(), "ends": (now - (ends or timedelta())).isoformat()}
    found = _followed(post("/api/backtests/start", data, **chosen, **span), data, quiet=as_json)
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif found["error"] or found["state"] != "done":
        echo(found["error"] or f"the backtest was {found['state']}", err=True)
    else:
        for it in found["results"]:
            _show_replay(it)
    return 0 if found["state"] == "done" else 1


def _followed(backtest: dict[str, Any], data: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Wait until a backtest has ended; an interruption cancels it."""
    try:
        while backtest["state"] in {"waiting", "running"}:
            if not quiet and sys.stderr.isatty():
                echo_over(f"{backtest['state']}: {backtest['share']:.0%}")
            time.sleep(POLL_SECONDS)
            backtest = get("/api/backtests", data, id=str(backtest["id"]))
    except KeyboardInterrupt:
        post("/api/backtests/cancel", data, id=backtest["id"])
        raise
    if not quiet and sys.stderr.isatty():
        echo_over("")
    return backtest


def _show_replay(it: dict[str, Any]) -> None:
    more = "+" if it["truncated"] else ""
    firing = format_value(it["firing_seconds"], Unit.SECONDS)
    echo(f"{it['rule']}: fired {it['fired']}{more} times, for {firing}; {it['evaluations']:,} evaluations")
    if it["before"]:
        echo(f"  {it['before']} fired when it began")
    if it["failed"]:
        echo(f"  ▲ {it['failed']} evaluations failed: {it['error']}")
    if it["blind_seconds"]:
        echo(f"  toban did not run for {format_value(it['blind_seconds'], Unit.SECONDS)}")
    if compared := it["recorded"]:
        echo(
            f"  recorded at the time: {compared['matched']} the same, {compared['only_recorded']} only recorded,"
            f" {compared['only_replayed']} only replayed"
        )
    rows = [
        (
            short_time(one["fired"]),
            short_time(one["ended"]) if one["ended"] else "fires",
            ", ".join(f"{name}={value}" for name, value in one["labels"].items() if name != "alertname"),
        )
        for one in it["firings"][:SHOWN]
    ]
    for line in align_columns(rows) if rows else ():
        echo(f"  {line}")


@command.command("test")
@FILES
def test(files: tuple[Path, ...]) -> int:
    """Run test FILES, as `promtool test rules` does."""
    failed = 0
    for path in files:
        failures = run(path, QUERY_PARSERS)
        failed += len(failures)
        echo(f"{path}: {f'{len(failures)} failed' if failures else 'passed'}")
        for failure in failures:
            echo(f"  {failure}")
    return 1 if failed else 0


def _known(config: Path | None, data: Path | None) -> tuple[LintContext, str]:
    """Return what is known of metrics and channels, and a note where that is not all."""
    settings = load_settings(config, os.environ)
    declared = declared_metrics() | {name for metric in settings.logs.metrics for name in metric.series_names}
    # Without any channel, a rule may name one that will be configured.
    channels = settings.channels or None
    try:
        stored = set(get("/api/v1/label/__name__/values", data)["data"])
    except TobanError:
        note = "No toban is running here: the series and the metrics of exporters were not checked."
        return LintContext(declared, channels, transient=transient_metrics()), note

    @cache
    def series(name: str) -> list[dict[str, Any]]:
        return list(get("/api/v1/series", data, **{"match[]": name})["data"])

    return LintContext(declared | stored, channels, series, transient_metrics()), ""
