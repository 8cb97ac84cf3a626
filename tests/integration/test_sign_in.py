"""Users and API tokens of the whole program: from the first start where other machines reach it."""

import json
import re
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.program import toban
from toban.access.service import MARKER

PASSWORD = "correct horse battery"
LISTEN = ("--listen", "0.0.0.0:0")


def browser(program):
    address = f"http://127.0.0.1:{urlsplit(program.url).port}"
    headers = {"accept": "text/html", "origin": address}
    return httpx2.Client(base_url=address, headers=headers, timeout=30)


def first_admin_link(program):
    """Return the path of the link that was printed."""
    _ = program.url
    [line] = [it for it in program.output if "/welcome/" in it]
    assert (
        program.output[program.output.index(line) - 1] == "No user exists yet. Make the first admin within 15 minutes:"
    )
    return urlsplit(line).path


def audited(folder):
    """Return the actors, addresses and actions of the audit log, without those of toban itself."""
    with closing(sqlite3.connect(folder / "data" / "toban.db")) as database:
        query = "SELECT actor, via, address, action FROM audit_log WHERE via != 'toban' ORDER BY id"
        return database.execute(query).fetchall()


@pytest.fixture
def program(tmp_path):
    with toban(tmp_path / "data", *LISTEN) as program:
        program.until("is on duty")
        yield program


def test_the_first_admin_is_made_by_the_link_that_toban_prints(program, tmp_path):
    """
    Before, everything else is closed; afterwards a restart changes nothing for who is signed in.
    """
    link = first_admin_link(program)
    assert not any(link in line for line in program.logged)
    with browser(program) as client:
        for path in ("/", "/dashboards", "/api/status", "/metrics", "/api/v1/query?query=up", "/api/users"):
            assert client.get(path, headers={"accept": "*/*"}).status_code == 401
        assert client.get("/users").headers["location"] == "/sign-in?next=%2Fusers"
        assert client.get("/-/ready").status_code == 200
        new = {"name": "ann", "password": PASSWORD, "repeated": PASSWORD}
        assert client.post(link, data=new, headers={"origin": "http://evil.example"}).status_code == 403
        assert client.post(link, data=new).headers["location"] == "/"
        assert client.get("/").status_code == 200
        assert client.get("/api/status").status_code == 200
        assert client.get("/users").status_code == 200
        assert client.get(link).status_code == 404
        cookies = dict(client.cookies)
    assert program.stop() == 0
    with toban(tmp_path / "data", *LISTEN) as again, browser(again) as client:
        assert client.get("/").status_code == 303
        client.cookies.update(cookies)
        assert client.get("/").status_code == 200
        assert not any("/welcome/" in line for line in again.output)
    assert audited(tmp_path) == [
        ("ann", "one-time link", "127.0.0.1", "added a user"),
        ("ann", "one-time link", "127.0.0.1", "signed in"),
    ]


def test_users_and_tokens_are_managed_at_a_terminal(program, tmp_path):
    """
    Through the socket in the data folder: also when nobody can sign in any more.
    """
    assert program.run("user", "list").stdout == "no users\n"
    assert program.run("token", "list").stdout == "no API tokens\n"
    assert program.run("user", "add", "ann", "--role", "admin", given=f"{PASSWORD}\n").stdout == "ann is admin\n"
    added = program.run("user", "add", "bob", "--role", "viewer", "--link")
    host = urlsplit(program.url).hostname
    assert host != "0.0.0.0"
    assert re.fullmatch(
        rf"bob is viewer\nValid once, for 15 minutes:\nhttp://{re.escape(host)}:\d+/welcome/\S{{43}}\n", added.stdout
    )
    refused = program.run("user", "add", "ann", "--role", "admin", given=f"{PASSWORD}\n")
    assert (refused.returncode, refused.stderr) == (1, "name: user ann exists already\n")
    assert "at least 12 are required" in program.run("user", "password", "bob", given="short\n").stderr
    for arguments in (("password", "bob"), ("role", "bob", "operator"), ("disable", "bob"), ("enable", "bob")):
        done = program.run("user", *arguments, given="another password\n")
        assert done.returncode == 0, done.stderr
    assert "/welcome/" in program.run("user", "link", "bob").stdout
    assert "is the only admin" in program.run("user", "disable", "ann").stderr
    rows = [line.split()[:2] for line in program.run("user", "list").stdout.splitlines()]
    assert rows == [["ann", "admin"], ["bob", "operator"]]
    assert json.loads(program.run("user", "list", "--json").stdout)["users"][1]["has_password"]

    with browser(program) as client:
        assert client.post("/sign-in", data={"name": "bob", "password": "another password"}).status_code == 303
        assert client.get("/api/status").status_code == 200
        assert client.get("/api/users").status_code == 403

    secret = program.run("token", "add", "ci", "--scope", "push", "--scope", "read", "--expires", "30d").stdout.strip()
    token_id = secret.split("_")[1]
    assert re.match(rf"{token_id}  ci  push,read  created by \w+", program.run("token", "list").stdout)
    with browser(program) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        assert client.get("/api/status").status_code == 200
        assert client.post("/api/silences", json={}).status_code == 403
        assert program.run("token", "revoke", token_id).returncode == 0
        assert client.get("/api/status").status_code == 401
    written = "".join([*program.output, *program.logged])
    assert not any(it in written for it in (PASSWORD, "another password", secret))
    actions = [action for *_, action in audited(tmp_path)]
    assert actions[-3:] == ["signed in", "created an API token", "revoked an API token"]


def test_toban_stays_closed_when_its_state_is_lost(tmp_path):
    """
    Also on loopback: the file that says so is beside the database.
    """
    with toban(tmp_path / "data") as program:
        assert program.get("/api/status")[0] == 200
        assert program.run("user", "add", "ann", "--role", "admin", given=f"{PASSWORD}\n").returncode == 0
        assert program.get("/api/status")[0] == 401
        assert program.stop() == 0
    for file in (tmp_path / "data").glob("toban.db*"):
        file.unlink()
    assert (tmp_path / "data" / MARKER).is_file()
    with toban(tmp_path / "data") as program:
        assert program.get("/api/status")[0] == 401
        assert program.run("user", "list").stdout == "no users\n"
        assert program.run("user", "add", "ann", "--role", "admin", given=f"{PASSWORD}\n").returncode == 0
        with browser(program) as client:
            assert client.post("/sign-in", data={"name": "ann", "password": PASSWORD}).status_code == 303
