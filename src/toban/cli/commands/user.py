"""Users who sign in to toban: add, list, change."""

import json
import sys
from pathlib import Path

import click

from toban.cli.client import data_option, get, json_option, post
from toban.cli.formatting import echo, short_time
from toban.core.terminal_columns import align_columns

ROLES = ("viewer", "operator", "admin")


@click.group
def command() -> None:
    """Manage the users who sign in to toban."""


@command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the user may do.")
@click.option("--link", is_flag=True, help="Print a one-time link by which the user chooses the password.")
@data_option
def add(data: Path | None, name: str, role: str, link: bool) -> None:
    """Add the user NAME. Without --link the password is asked for, or read from standard input."""
    password = {} if link else {"password": _password()}
    response = post("/api/users", data, name=name, role=role, **password)
    echo(f"{response['user']['name']} is {role}")
    _print_link(response)


@command.command("list")
@json_option
@data_option
def show(data: Path | None, as_json: bool) -> None:
    """List users."""
    response = get("/api/users", data)
    if as_json:
        echo(json.dumps(response, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            it["name"],
            it["role"],
            "disabled" if not it["enabled"] else "" if it["has_password"] else "has no password yet",
            f"{it['sessions']} sessions",
            f"last sign-in {short_time(it['last_sign_in'])}" if it["last_sign_in"] else "never signed in",
        )
        for it in response["users"]
    ]
    echo("\n".join(align_columns(rows)) or "no users")


@command.command("disable")
@click.argument("name")
@data_option
def disable(data: Path | None, name: str) -> None:
    """End all sessions of NAME, who can't sign in any more."""
    post("/api/users/disable", data, name=name)
    echo(f"{name} is disabled")


@command.command("enable")
@click.argument("name")
@data_option
def enable(data: Path | None, name: str) -> None:
    """Let NAME sign in again."""
    post("/api/users/enable", data, name=name)
    echo(f"{name} is enabled")


@command.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@data_option
def set_role(data: Path | None, name: str, role: str) -> None:
    """Give NAME the role ROLE; sessions end."""
    post("/api/users/role", data, name=name, role=role)
    echo(f"{name} is {role}")


@command.command("password")
@click.argument("name")
@data_option
def set_password(data: Path | None, name: str) -> None:
    """Set the password of NAME: it is asked for, or read from standard input. Sessions end."""
    post("/api/users/password", data, name=name, password=_password())
    echo(f"the password of {name} is set")


@command.command("link")
@click.argument("name")
@data_option
def link(data: Path | None, name: str) -> None:
    """Print a one-time link by which NAME chooses a password."""
    _print_link(post("/api/users/link", data, name=name))


@command.command("passkeys")
@json_option
@data_option
def passkeys(data: Path | None, as_json: bool) -> None:
    """List the passkeys of all users."""
    response = get("/api/passkeys", data)
    if as_json:
        echo(json.dumps(response, indent=2, ensure_ascii=False))
        return
    rows = [
        (
            it["id"],
            it["user"],
            it["name"],
            f"last used {short_time(it['last_used'])}" if it["last_used"] else "never used",
        )
        for it in response["passkeys"]
    ]
    echo("\n".join(align_columns(rows)) or "no passkeys")


@command.command("remove-passkey")
@click.argument("passkey")
@data_option
def remove_passkey(data: Path | None, passkey: str) -> None:
    """Remove PASSKEY (its id): nobody can sign in with it any more."""
    post("/api/passkeys/remove", data, id=passkey)
    echo(f"{passkey} is removed")


def _password() -> str:
    """Ask for a new password twice at a terminal; else read the first line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt("Password (at least 12 characters)", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _print_link(response: dict[str, str]) -> None:
    if response["link"]:
        echo(f"Valid once, for 15 minutes:\n{response['link']}")
