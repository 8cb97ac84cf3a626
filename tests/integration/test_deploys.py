"""Deploys through the doors of a real toban: its API, its command, and GitHub's signed webhook."""

import hashlib
import hmac
import json
import urllib.error
import urllib.request

import pytest

from tests.program import toban

SECRET = "It's a Secret to Everybody"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploys")
    (folder / "toban.yaml").write_text(json.dumps({"deploys": {"github_secret": SECRET}}))
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
        program.until("Ctrl-C stops it")
        yield program


def webhook(program, body: bytes, secret: str = SECRET, event: str = "release") -> int:
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-hub-signature-256": signature, "x-github-event": event}
    request = urllib.request.Request(f"{program.url}/hooks/github", body, headers)
    try:
        with urllib.request.urlopen(request) as answered:
            return answered.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_deploy_is_recorded_by_command_and_by_webhook_and_marked_on_boards(program):
    assert program.run("deploy", "v1", "--text", "faster").stdout == "v1 is recorded\n"
    assert program.run("deploy", "v1").stdout == "v1 was recorded before\n"
    release = {"action": "published", "release": {"tag_name": "v2"}, "sender": {"login": "ann"}}
    assert webhook(program, json.dumps(release).encode()) == 204
    listed = program.json("/api/deploys")["deploys"]
    assert [(it["version"], it["source"]) for it in listed] == [("v2", "github"), ("v1", "api")]
    shown = program.run("deploy").stdout
    assert "v2" in shown
    assert "faster" in shown
    data = program.json("/api/boards/data", name="toban", **{"from": "now-5m"})
    assert {it["title"] for it in data["annotations"] if it["severity"] == "deploy"} == {"v1", "v2"}


@pytest.mark.parametrize(
    ("body", "secret", "status"),
    [
        (b'{"action": "published", "release": {"tag_name": "evil"}}', "wrong", 403),
        (b"{", SECRET, 400),
        (b'{"action": "published", "release": {"tag_name": ""}}', SECRET, 400),
        (b'{"action": "created"}', SECRET, 204),
        (b"[]", SECRET, 204),
    ],
)
def test_only_what_is_signed_and_makes_sense_is_recorded(program, body, secret, status):
    assert webhook(program, body, secret) == status
    assert "evil" not in json.dumps(program.json("/api/deploys"))
