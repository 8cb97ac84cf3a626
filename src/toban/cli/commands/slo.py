"""Show service levels and their error budgets."""

import json
from pathlib import Path
from typing import Any, Final

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo, short_time
from toban.core.number_format import Unit, format_value
from toban.core.terminal_columns import align_columns

MARKS: Final = {"free": "●", "careful": "◐", "spent": "▲", "no data": "◌"}


@click.command
@click.argument("name", required=False)
@json_option
@data_option
def command(name: str | None, data: Path | None, as_json: bool) -> int:
    """
    Show what is left of error budgets, of all service levels or of NAME; the exit code is 1 when one is spent.

    LEFT is the share of the budget that is left, BURN how many times faster than allowed it was spent in the last hour.
    """
    levels = get("/api/slo", data)["levels"]
    if name:
        found = [it for it in levels if it["name"] == name]
        if not found:
            known = ", ".join(it["name"] for it in levels) or "none: write `slo` in toban.yaml"
            raise click.UsageError(f"no service level {name!r}: there are {known}")
        levels = found
    if as_json:
        echo(json.dumps(levels, indent=2, ensure_ascii=False))
    elif not levels:
        echo("There are no service levels: write `slo` in toban.yaml (docs/service-levels.md).")
    elif name:
        _show(levels[0])
    else:
        rows = [("", "LEVEL", "GOOD", "TARGET", "LEFT", "BURN", "LASTS", "BLIND")]
        rows += [
            (
                MARKS[it["state"]],
                it["name"],
                _percent(it["good_percent"]),
                _percent(it["target"]),
                format_value(it["left"], Unit.SHARE),
                _burn(it),
                _lasts(it),
                format_value(it["blind_seconds"], Unit.SECONDS),
            )
            for it in levels
        ]
        echo("\n".join(align_columns(rows)))
        for it in levels:
            if it["error"]:
                echo(f"▲ {it['name']}: {it['error']}")
    return 1 if any(it["state"] == "spent" for it in levels) else 0


def _show(it: dict[str, Any]) -> None:
    period = format_value(it["period_seconds"], Unit.SECONDS)
    echo(f"{MARKS[it['state']]} {it['name']}: {it['state']}")
    if it["error"]:
        echo(it["error"])
    rows = [
        ("good", f"{_percent(it['good_percent'])} of {it['events']:,.0f} events; target {_percent(it['target'])}"),
        ("bad", f"{it['bad']:,.1f}"),
        ("outside planned windows", _percent(it["outside_planned_percent"])),
        ("budget left", f"{format_value(it['left'], Unit.SHARE)} of {period}"),
        ("burn in the last hour", _burn(it)),
        ("lasts at this rate", _lasts(it)),
        ("observed since", short_time(it["since"]) if it["since"] else "–"),
        ("blind since then", format_value(it["blind_seconds"], Unit.SECONDS)),
        ("planned windows", format_value(it["planned_seconds"], Unit.SECONDS)),
        ("alerts", ", ".join(it["alerts"])),
    ]
    echo("\n".join(align_columns(rows)))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") + " %"


def _burn(it: dict[str, Any]) -> str:
    return "–" if it["burn"] is None else f"{it['burn']:.2g}x"


def _lasts(it: dict[str, Any]) -> str:
    return format_value(it["lasts_seconds"], Unit.SECONDS) if it["burn"] else "–"
