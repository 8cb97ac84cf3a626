"""Runbooks: start one, answer what it asks, stop automation."""

import json
import time
from pathlib import Path
from typing import Any, Final

import click

from toban.cli.client import data_option, get, json_option, post
from toban.cli.formatting import echo, fit_columns

POLL_SECONDS: Final = 0.5
BY_FILE: Final = "stop-automation in the data folder"
PATIENCE: Final = 1_800
"""Seconds that the command follows a run; it goes on without it."""


@click.command
@click.argument("runbook", required=False)
@click.option("--alert", default="", help="The firing alert that it is for: its name or fingerprint.")
@click.option("--dry", is_flag=True, help="Only say what it would do.")
@click.option("--yes", is_flag=True, help="Approve what it asks for without a question.")
@click.option("--approve", type=int, metavar="RUN", help="Answer a run that asks or waits.")
@click.option("--refuse", type=int, metavar="RUN", help="Refuse what a run asks for, or end one that waits.")
@click.option("--stop", is_flag=True, help="Stop automation: nothing acts any more.")
@click.option("--resume", is_flag=True, help="Start automation again.")
@click.option("--reason", default="", help="Why automation is stopped or started, or a run refused.")
@json_option
@data_option
def command(
    data: Path | None,
    as_json: bool,
    runbook: str | None,
    alert: str,
    dry: bool,
    yes: bool,
    approve: int | None,
    refuse: int | None,
    stop: bool,
    resume: bool,
    reason: str,
) -> None:
    """
    Start RUNBOOK, and answer what it asks; without a name, list all runbooks.

    It shows what it would do before it acts, and goes on when you say yes; with --json it prints the run and asks
    nothing. The exit code is 1 when it fails.
    """
    wanted = [bool(runbook), approve is not None, refuse is not None, stop, resume]
    if sum(wanted) > 1:
        raise click.UsageError("give one of RUNBOOK, --approve, --refuse, --stop and --resume")
    if (dry or alert) and not runbook:
        raise click.UsageError("name the RUNBOOK: `toban run` lists them")
    if stop or resume:
        switch = post(f"/api/runbooks/{'stop' if stop else 'resume'}", data, reason=reason)
        by_file = f" by a file: delete {BY_FILE} to start it again" if resume and switch["by_file"] else ""
        echo(f"automation is stopped{by_file}" if switch["is_stopped"] else "automation runs")
    elif approve is not None:
        _follow(get("/api/runbooks/run", data, id=str(approve)), data, yes, as_json)
    elif refuse is not None:
        refused = post("/api/runbooks/refuse", data, id=refuse, comment=reason)
        echo(
            json.dumps(refused, indent=2, ensure_ascii=False)
            if as_json
            else f"run {refused['id']} refused: {refused['text']}"
        )
    elif runbook:
        _follow(post("/api/runbooks/start", data, runbook=runbook, alert=alert, dry=dry), data, yes, as_json)
    else:
        _list(get("/api/runbooks", data), as_json)


def _list(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if found["switch"]["is_stopped"]:
        why = [f"by {found['switch']['by']}"] if found["switch"]["by"] else []
        why += [found["switch"]["reason"]] if found["switch"]["reason"] else []
        why += [f"by the file {BY_FILE}"] if found["switch"]["by_file"] else []
        echo(f"▲ automation is stopped {': '.join(why)}".rstrip())
    rows = [
        ("▲" if it["missing"] else "●", it["name"], it["mode"], ", ".join(it["when"]), it["title"])
        for it in found["runbooks"]
    ]
    echo(fit_columns(rows) if rows else "no runbooks")
    if any(it["missing"] for it in found["runbooks"]):
        echo("▲ can't work here yet: `toban runbooks check` says what is missing")
    for run in (run for it in found["runbooks"] for run in it["runs"] if run["ended"] is None):
        question = f": {run['question']}   toban run --approve {run['id']}" if run["question"] else ""
        echo(f"run {run['id']} of {run['runbook']} {run['state']}{question}")


def _follow(run: dict[str, Any], data: Path | None, yes: bool, as_json: bool) -> None:
    """Show a run until it ends, and answer its questions; as JSON, until it asks one."""
    shown, until = 0, time.monotonic() + PATIENCE
    while True:
        for step in run["steps"][shown:]:
            if step["ended"] is None:
                break
            shown += 1
            if not as_json:
                echo(f"{'✓' if step['ok'] else '✗'} {step['kind']}: {step['text']}")
        if run["ended"]:
            break
        if run["state"] in {"asked", "waiting"}:
            if as_json and not yes:
                break
            run = _answered(run, data, yes)
            continue
        if time.monotonic() > until:
            echo(f"run {run['id']} goes on: toban run --approve {run['id']} shows it")
            return
        time.sleep(POLL_SECONDS)
        run = get("/api/runbooks/run", data, id=str(run["id"]))
    if as_json:
        echo(json.dumps(run, indent=2, ensure_ascii=False))
    else:
        hint = " (`toban run --resume` starts it again)" if run["state"] == "stopped" else ""
        echo(f"run {run['id']} {run['state']}: {run['text']}{hint}")
    if run["state"] not in {"succeeded", "dry", "asked", "waiting"}:
        raise SystemExit(1)


def _answered(run: dict[str, Any], data: Path | None, yes: bool) -> dict[str, Any]:
    targets = f" ({', '.join(run['targets'])})" if run["targets"] else ""
    question = f"{run['question']}{targets}: {'do it' if run['state'] == 'asked' else 'done'}?"
    answered: dict[str, Any]
    try:
        agrees = yes or click.confirm(question, err=True)
    except click.Abort:
        echo(f"\nrun {run['id']} goes on waiting: toban run --approve {run['id']}, or --refuse {run['id']}", err=True)
        raise
    if not agrees:
        answered = post("/api/runbooks/refuse", data, id=run["id"])
    elif run["state"] == "asked":
        answered = post("/api/runbooks/approve", data, id=run["id"], approval=run["approval"])
    else:
        answered = post("/api/runbooks/tick", data, id=run["id"])
    return answered
