"""Runbooks: check whether they can work here."""

import json
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option
from toban.cli.formatting import echo


@click.group
def command() -> None:
    """Check runbooks; `toban run` starts one."""


@command.command("check")
@json_option
@data_option
def check(data: Path | None, as_json: bool) -> None:
    """
    Say what keeps runbooks from working here: missing settings, rights with the grants to give, unknown metrics.

    The exit code is 1 when something is missing.
    """
    found = get("/api/runbooks", data)["runbooks"]
    if as_json:
        shown = [{key: it[key] for key in ("name", "mode", "when", "missing")} for it in found]
        echo(json.dumps({"runbooks": shown}, indent=2, ensure_ascii=False))
    for it in [] if as_json else found:
        echo(f"{'▲' if it['missing'] else '●'} {it['name']} ({it['mode']})")
        for problem in it["missing"]:
            echo(f"  {problem}")
    if any(it["missing"] for it in found):
        raise SystemExit(1)
