"""Check the configuration and test each connection."""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from toban.cli.client import config_option, get
from toban.cli.formatting import echo
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import TobanError
from toban.core.lifecycle import run
from toban.core.log_setup import configure_logging
from toban.core.terminal_columns import align_columns
from toban.logs.tail.preflight import PatternCheck
from toban.preflight import (
    check_channels,
    check_log_files,
    check_log_sinks,
    check_outside_logs,
    check_programs,
    check_remote,
    check_schedule,
    check_streams,
    not_sent_outside,
    probe_targets,
    unproven,
    unreachable_hooks,
)
from toban.review import traffic
from toban.settings import Settings, load_rules, load_settings, service_levels


@click.command
@config_option
def command(config: Path | None) -> int:
    """Check the configuration exactly as `toban up` loads it, and collect once from each target."""
    configure_logging("error")  # errors are shown below
    settings = load_settings(config, os.environ)
    groups = load_rules(settings)
    targets, unknown = run(probe_targets(settings))
    echo("The configuration is valid.\n")
    for line in align_columns(
        (
            "●" if target.up else "▲",
            target.name,
            target.instance,
            target.error or f"{target.samples} samples",
        )
        for target in targets
    ):
        echo(line)
    for target in targets:
        for note in target.notes:
            echo(f"\n{target.name}: {note}")
    if unknown:
        echo("\nNot part of /health:")
        for line in align_columns((it.name, it.reason) for it in unknown):
            echo(line)
    remote = run(check_remote(settings))
    logs = run(check_streams(settings))
    outside = run(check_outside_logs(settings))
    programs = run(check_programs(settings))
    for title, healthy, found in (
        ("Remote storage:", "accepts samples", remote),
        ("Fly's logs:", "reachable", logs),
        ("Outside log engine:", "answers queries", outside),
        ("Programs of maintenance tasks:", "new enough", programs),
    ):
        if found:
            echo(f"\n{title}")
        for line in align_columns(("▲" if trouble else "●", url, trouble or healthy) for url, trouble in found):
            echo(line)
    if warning := not_sent_outside(settings):
        echo(warning)
    files = run(check_log_files(settings))
    _show_files(files)
    sinks = run(check_log_sinks(settings))
    if sinks:
        echo("\nLog sinks:")
    _show_connections(sinks)
    proofs = run(check_channels(settings))
    echo(f"\n{sum(len(group.rules) for group in groups)} rules loaded. {_channels(len(proofs))}")
    _show_connections(proofs)
    _warn_of_channels(settings)
    _show_schedule(run(check_schedule(settings)))
    _show_levels(settings)
    all_up = all([*(target.up for target in targets), *(proof.ok for _, proof in [*proofs, *sinks])])
    troubles = [*(trouble for _, trouble in [*remote, *logs, *outside, *programs]), *(one.errors for one in files)]
    return 0 if all_up and not any(troubles) else 1


def _show_connections(checks: Sequence[tuple[str, ConnectionCheck]]) -> None:
    for line in align_columns(("●" if check.ok else "▲", name, check.message) for name, check in checks):
        echo(line)


def _warn_of_channels(settings: Settings) -> None:
    if warning := unproven(settings):
        echo(warning)
    for problem in unreachable_hooks(settings):
        echo(f"▲ {problem}")


def _show_files(checks: Sequence[PatternCheck]) -> None:
    if checks:
        echo("\nLog files:")
    for line in align_columns(
        ("●" if check.readable and not check.errors else "▲", check.pattern, check.message) for check in checks
    ):
        echo(line)


def _show_schedule(problems: Sequence[str]) -> None:
    if problems:
        echo("\nOn-call schedule:")
    for problem in problems:
        echo(f"▲ {problem}")


def _show_levels(settings: Settings) -> None:
    """Show whether there are enough events for each service level, by what a running toban has stored."""
    levels = service_levels(settings)
    if levels:
        echo("\nService levels:")
    rows: list[tuple[str, str, str]] = []
    for level in levels:
        try:
            events = _number(traffic.events_an_hour(level), settings.data)
            found = [] if events is None else list(traffic.doubts(level, events))
            if level.bucket and events and _number(level.bucket, settings.data) is None:
                found.append(
                    f"the histogram has no bucket with the bound {level.settings.below:g}: nothing counts as good"
                )
            known = "no events so far" if events is None else f"{events:.3g} events an hour"
        except TobanError:
            found, known = [], "no toban is running here: the number of events was not checked"
        rows += [("▲" if found else "●", level.name, it) for it in found or [known]]
    for line in align_columns(rows):
        echo(line)


def _number(query: str, data: Path) -> float | None:
    """Return the value of a query, None where it has none."""
    result = get("/api/v1/query", data, query=query)["data"]
    values = [result["result"]] if result["resultType"] == "scalar" else [it["value"] for it in result["result"]]
    return float(values[0][1]) if values else None


def _channels(count: int) -> str:
    return "Channels:" if count else "No notification channel is configured (docs/send-alerts.md)."
