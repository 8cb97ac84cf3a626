"""The status page for customers: show, publish, update."""

import json
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option, post
from toban.cli.formatting import echo
from toban.core.terminal_columns import align_columns
from toban.status_page.posts import PostStatus


@click.group
def command() -> None:
    """Tell customers about an outage, on the page at /status (`status_page.enabled`)."""


@command.command("show")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """Show what customers read."""
    response = get("/api/status-page", data)
    if as_json:
        echo(json.dumps(response, indent=2, ensure_ascii=False))
        return
    rows = [
        (it["id"], it["status"], it["starts"][:16].replace("T", " ") + "Z", it["title"], it["updates"][-1]["text"])
        for it in response["posts"]
    ]
    echo("\n".join(align_columns(rows)) or "no posts")


@command.command("publish")
@click.argument("title")
@click.argument("text")
@click.option("--component", "components", multiple=True, help="An affected component; can be given several times.")
@data_option
def publish(data: Path | None, title: str, text: str, components: tuple[str, ...]) -> None:
    """Publish a post with a TITLE and a first message."""
    published = post("/api/status-page/publish", data, title=title, text=text, components=list(components))
    echo(f"{published['id']} is published")


@command.command("update")
@click.argument("post_id", metavar="POST")
@click.argument("status", type=click.Choice([it.value for it in PostStatus]))
@click.argument("text")
@data_option
def update(data: Path | None, post_id: str, status: str, text: str) -> None:
    """Add a message to POST (its id); `resolved` ends it."""
    post("/api/status-page/update", data, id=post_id, status=status, text=text)
    echo(f"{post_id} is {status}")
