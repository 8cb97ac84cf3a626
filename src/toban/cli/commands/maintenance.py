"""Maintenance: list tasks, run one, see what it did."""

import json
import time
from pathlib import Path
from typing import Any, Final

import click

from toban.cli.client import data_option, get, json_option, post
from toban.cli.formatting import echo, short_time
from toban.core.terminal_columns import align_columns

POLL_SECONDS: Final = 0.5
MARKS: Final = {"done": "✓", "failed": "✗", "skipped": "–", "begun": "…", "planned": "·"}
SIGNS: Final = {"critical": "✗", "warning": "▲", "info": "·"}
WELL: Final = {"succeeded", "dry"}


@click.group
def command() -> None:
    """Maintenance tasks: what keeps the shop's stores in order, and proves its backups."""


@command.command("list")
@json_option
@data_option
def list_tasks(data: Path | None, as_json: bool) -> None:
    """List all tasks: schedule, mode, last run, next time."""
    found = get("/api/maintenance", data)
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [("TASK", "MODE", "SCHEDULE", "LAST", "NEXT")]
    rows += [(it["name"], it["mode"], it["cron"], _last(it), _next(it)) for it in found["tasks"]]
    echo("\n".join(align_columns(rows)))


@command.command("run")
@click.argument("task")
@click.option("--dry", is_flag=True, help="Only say what it would do.")
@json_option
@data_option
def run_task(data: Path | None, as_json: bool, task: str, dry: bool) -> None:
    """
    Run TASK now and follow it; Ctrl-C stops following, `toban maintenance cancel` ends the run.

    The exit code is 1 when it fails.
    """
    run = post("/api/maintenance/start", data, task=task, dry=dry)
    if not as_json:
        echo(f"run {run['id']} of {task} begins")
    run = _follow(run, data, quiet=as_json)
    if as_json:
        echo(json.dumps(run, indent=2, ensure_ascii=False))
    else:
        _show_end(run)
    if run["state"] not in WELL:
        raise SystemExit(1)


@command.command
@click.argument("what")
@json_option
@data_option
def show(data: Path | None, as_json: bool, what: str) -> None:
    """Show a task by its name, with what it lacks and its last runs, or a run by its number."""
    if what.isdigit():
        run = get("/api/maintenance/run", data, id=what)
        if as_json:
            echo(json.dumps(run, indent=2, ensure_ascii=False))
            return
        by = f", by {run['by']}" if run["by"] else ""
        echo(f"run {run['id']} of {run['task']}, {short_time(run['started'])}{by}")
        for step in run["steps"]:
            _show_step(step)
        _show_end(run)
        return
    missing = get("/api/maintenance/missing", data, task=what)["missing"]
    task = next(it for it in get("/api/maintenance", data)["tasks"] if it["name"] == what)
    if as_json:
        echo(json.dumps({**task, "missing": missing}, indent=2, ensure_ascii=False))
        return
    echo(f"{task['name']} ({task['kind']}): {task['mode']}, {task['cron']} {task['timezone']}, next {_next(task)}")
    if missing:
        echo(f"▲ {missing}")
    if task["held"]:
        echo(f"is due and waits: {task['held']}")
    rows = [
        (str(it["id"]), short_time(it["started"]), it["state"], _seconds(it), it["text"] or it["progress"])
        for it in task["runs"]
    ]
    echo("\n".join(align_columns(rows)) or "no runs so far")


@command.command
@click.argument("run", type=int)
@data_option
def cancel(data: Path | None, run: int) -> None:
    """End RUN, which goes on: its step is cancelled within seconds."""
    ended = post("/api/maintenance/cancel", data, id=run)
    echo(f"run {run} of {ended['task']} ends within seconds")


def _follow(run: dict[str, Any], data: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Show the steps of a run as they end, until it has ended."""
    shown, progress = 0, ""
    while True:
        for step in run["steps"][shown:]:
            if step["ended"] is None:
                break
            shown += 1
            if not quiet:
                _show_step(step)
        if run["ended"]:
            return run
        if run["progress"] != progress:
            progress = run["progress"]
            if progress and not quiet:
                echo(f"  {progress}")
        time.sleep(POLL_SECONDS)
        run = get("/api/maintenance/run", data, id=str(run["id"]))


def _show_step(step: dict[str, Any]) -> None:
    echo(f"{MARKS[step['outcome']]} {step['name']}: {step['text'] or step['description']}")


def _show_end(run: dict[str, Any]) -> None:
    if run["state"] == "dry":
        for step in run["steps"]:
            _show_step(step)
    for it in run["findings"]:
        remedy = f" ▸ {it['remedy']}" if it["remedy"] else ""
        echo(f"{SIGNS[it['severity']]} {it['name']}: {it['text']}{remedy}")
    echo(f"run {run['id']} {run['state']}: {run['text']}")


def _last(task: dict[str, Any]) -> str:
    last = next((it for it in task["runs"] if it["ended"]), None)
    return f"{last['state']} {short_time(last['started'])}" if last else "never"


def _next(task: dict[str, Any]) -> str:
    if task["not_configured"]:
        return f"not configured: {task['not_configured']}"
    return short_time(task["next"]) if task["next"] else "by hand"


def _seconds(run: dict[str, Any]) -> str:
    return "" if run["seconds"] is None else f"{run['seconds']:.1f}s"
