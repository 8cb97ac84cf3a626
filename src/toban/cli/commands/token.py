"""API tokens of programs: add, list, revoke."""

import json
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option, post
from toban.cli.formatting import echo, short_time
from toban.core.terminal_columns import align_columns

SCOPES = ("read", "logs", "push", "act", "configure", "admin")


@click.group
def command() -> None:
    """Manage the API tokens by which programs use toban."""


@command.command("add")
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="What it may do.")
@click.option("--expires", metavar="DURATION", help="After what time it expires: 30d, 90d.  [default: never]")
@data_option
def add(data: Path | None, name: str, scopes: tuple[str, ...], expires: str | None) -> None:
    """Create an API token for the program NAME, and print it. It is never shown again."""
    lifetime = {"expires": expires} if expires else {}
    echo(post("/api/tokens", data, name=name, scopes=list(scopes), **lifetime)["secret"])


@command.command("list")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """List API tokens, without their secrets."""
    response = get("/api/tokens", data)
    if as_json:
        echo(json.dumps(response, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            it["id"],
            it["name"],
            ",".join(it["scopes"]),
            f"created by {it['created_by']}",
            f"last used {short_time(it['last_used'])}" if it["last_used"] else "never used",
            f"expires {short_time(it['expires'])}" if it["expires"] else "does not expire",
        )
        for it in response["tokens"]
    ]
    echo("\n".join(align_columns(rows)) or "no API tokens")


@command.command("revoke")
@click.argument("token")
@data_option
def revoke(data: Path | None, token: str) -> None:
    """Revoke TOKEN (its id)."""
    post("/api/tokens/revoke", data, id=token)
    echo(f"{token} is revoked")
