"""Silence alerts: add, list, expire."""

import json
from pathlib import Path

import click

from toban.cli.client import current_user, data_option, get, json_option, post
from toban.cli.formatting import echo
from toban.core.terminal_columns import align_columns


@click.group
def command() -> None:
    """Silence alerts for a time. The end of what was notified before is still notified."""


@command.command("add")
@click.argument("matchers", nargs=-1, required=True)
@click.option("--for", "duration", default="1h", show_default=True, help="How long: 30m, 2h, 1d.")
@click.option("--comment", required=True, help="Why.")
@data_option
def add(data: Path | None, matchers: tuple[str, ...], duration: str, comment: str) -> None:
    """Silence alerts whose labels match all MATCHERS, like alertname="disk_usage_high"."""
    body = {"matchers": list(matchers), "duration": duration, "created_by": current_user(), "comment": comment}
    silence = post("/api/silences", data, **body)
    echo(f"{silence['id']} ends at {silence['ends'][:16].replace('T', ' ')}Z")


@command.command("list")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """List silences."""
    response = get("/api/silences", data)
    if as_json:
        echo(json.dumps(response, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            it["id"],
            it["state"],
            it["ends"][:16].replace("T", " ") + "Z",
            ", ".join(it["matchers"]),
            it["created_by"],
            it["comment"],
        )
        for it in response["silences"]
    ]
    echo("\n".join(align_columns(rows)) or "no silences")


@command.command("expire")
@click.argument("silence")
@data_option
def expire(data: Path | None, silence: str) -> None:
    """Expire SILENCE (its id) now."""
    post("/api/silences/expire", data, id=silence)
    echo(f"{silence} has expired")
