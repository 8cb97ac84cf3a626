"""Hold messages back for a time: add, list, end."""

import json
from pathlib import Path

import click

from toban.cli.client import current_user, data_option, get, json_option, post
from toban.cli.formatting import align_columns, echo


@click.group
def command() -> None:
    """Hold messages back for a time. What was told before still ends with a word."""


@command.command("add")
@click.argument("match", nargs=-1, required=True)
@click.option("--for", "lasts", default="1h", show_default=True, help="How long: 30m, 2h, 1d.")
@click.option("--comment", required=True, help="Why.")
@data_option
def add(data: Path | None, match: tuple[str, ...], lasts: str, comment: str) -> None:
    """Hold back alerts whose labels meet all of MATCH, like alertname="disk_usage_high"."""
    body = {"matchers": list(match), "for": lasts, "by": current_user(), "comment": comment}
    found = post("/api/silences", data, **body)
    echo(f"{found['id']} holds until {found['ends'][:16].replace('T', ' ')}Z")


@command.command("list")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """Show silences."""
    found = get("/api/silences", data)
    if as_json:
        echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            it["id"],
            it["state"],
            it["ends"][:16].replace("T", " ") + "Z",
            ", ".join(it["matchers"]),
            it["by"],
            it["comment"],
        )
        for it in found["silences"]
    ]
    echo("\n".join(align_columns(rows)) or "nothing is silenced")


@command.command("end")
@click.argument("silence")
@data_option
def end(data: Path | None, silence: str) -> None:
    """End SILENCE (its id) now."""
    post("/api/silences/end", data, id=silence, by=current_user())
    echo(f"{silence} has ended")
