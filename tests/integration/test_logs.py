"""Log lines in the whole program: pushed, searched, followed."""

import asyncio
import json
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.fake_log_engines import FakeLokiEngine
from tests.program import eventually, toban


def loki(program, path: str, **parameters: str):
    status, body = program.get(f"/loki/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
    assert status == 200, body
    return json.loads(body)


def test_pushed_lines_are_found_and_followed(tmp_path):
    """
    By Loki's API, by toban's own, and by the command.
    """
    at = time.time_ns()
    values = [
        [str(at + number), json.dumps({"level": "error", "message": f"payment {number} failed"})] for number in range(3)
    ]
    push = {"streams": [{"stream": {"app": "shop", "env": "prod"}, "values": values}]}
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        with urllib.request.urlopen(f"{program.url}/logs/tail?query=later", timeout=30) as stream:
            assert stream.readline() == b"retry: 2000\n"
            assert program.post("/loki/api/v1/push", json.dumps(push).encode()) == (204, "")
            assert program.post("/api/logs", b'{"message": "later, by JSON"}') == (200, '{"accepted":1}')
            stream.readline()
            assert json.loads(stream.readline().removeprefix(b"data: "))["message"] == "later, by JSON"

        found = loki(program, "query_range", query='{service="shop", level="error"} |= "payment 1"')
        (stream,) = found["data"]["result"]
        assert (stream["stream"]["environment"], stream["values"][0][1]) == ("prod", "payment 1 failed")
        counted = eventually(
            lambda: loki(program, "query", query='sum(count_over_time({level="error"}[1m]))')["data"]["result"]
        )
        assert counted[0]["value"][1] == "3"
        assert loki(program, "query", query="vector(1)+vector(1)")["data"]["result"][0]["value"][1] == "2"
        assert "shop" in loki(program, "label/service/values")["data"]

        page = program.json("/api/logs", query="payment", limit="2")
        assert [it["message"] for it in page["lines"]] == ["payment 2 failed", "payment 1 failed"]
        rest = program.json("/api/logs", query="payment", limit="2", cursor=page["cursor"])
        assert [it["message"] for it in rest["lines"]] == ["payment 0 failed"]
        shown = program.run("logs", "payment -2", "--since", "1h").stdout.splitlines()
        assert [line.split(": ")[1] for line in shown] == ["payment 0 failed", "payment 1 failed"]


def upgrade(program, path: str, *headers: str) -> tuple[socket.socket, bytes]:
    """Open a WebSocket; return the connection, and the beginning of the response."""
    parts = urllib.parse.urlsplit(program.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    head = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: websocket"]
    head += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers]
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    response = b""
    while b"\r\n\r\n" not in response:
        received = connection.recv(1)
        assert received, response
        response += received
    return connection, response


def frame(connection: socket.socket) -> bytes:
    """Return the content of the next frame of text."""
    file = connection.makefile("rb")
    while True:
        first, length = file.read(2)
        if length == 126:
            length = int.from_bytes(file.read(2))
        content = file.read(length)
        if first == 0x81:
            return content


def test_lines_are_followed_by_web_socket(tmp_path):
    """
    First those that are there, then new ones, as logcli and Grafana read them.
    """
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        assert program.post("/api/logs", b'{"message": "first"}')[0] == 200
        start = time.time_ns() - 3600 * 10**9
        logcli = {"delay_for": "0", "limit": "30", "query": '{level="info"} |~ "first|second"', "start": str(start)}
        headers = ("User-Agent: loki-logcli/3.5.0", "X-Scope-OrgID: ", "X-Query-Tags: Source=logcli")
        connection, response = upgrade(program, "/loki/api/v1/tail?" + urllib.parse.urlencode(logcli), *headers)
        with connection:
            assert response.startswith(b"HTTP/1.1 101")
            assert json.loads(frame(connection))["streams"][0]["values"][0][1] == "first"
            assert program.post("/api/logs", b'{"message": "second"}')[0] == 200
            streams = json.loads(frame(connection))["streams"]
            assert [value[1] for stream in streams for value in stream["values"]] == ["second"]
        assert program.stop() == 0


def test_a_web_socket_needs_the_permission_and_toban_s_own_origin(tmp_path):
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        path = "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": '{level="info"}'})
        for target, headers, status in (
            (path, ["Origin: https://evil.example"], b"403"),
            (path, ["Sec-Fetch-Site: cross-site"], b"403"),
            (path, [f"Origin: {program.url}"], b"101"),
            ("/loki/api/v1/tail?query=%7B", [], b"400"),
            ("/live", [], b"403"),
            ("/nowhere", [], b"403"),
        ):
            connection, response = upgrade(program, target, *headers)
            connection.close()
            assert response.split(b" ", 2)[1] == status, (target, headers, response)
        assert program.get("/loki/api/v1/tail") == (400, "this path is a WebSocket\n")


def test_a_web_socket_needs_credentials_where_there_are_some(tmp_path):
    token = "t" * 40
    path = "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": '{level="info"}'})
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0", TOBAN_TOKEN=token) as program:
        for headers, status in (
            ([], b"401"),
            (["Authorization: Bearer wrong"], b"401"),
            ([f"Authorization: Bearer {token}"], b"101"),
            ([f"Authorization: Bearer {token}", "Origin: https://evil.example"], b"403"),
        ):
            connection, response = upgrade(program, path, *headers)
            connection.close()
            assert response.split(b" ", 2)[1] == status, (headers, response)


def test_a_web_socket_takes_no_large_messages(tmp_path):
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        connection, _ = upgrade(program, "/loki/api/v1/tail?" + urllib.parse.urlencode({"query": '{level="info"}'}))
        with connection:
            head = b"\x81\xff" + (2**20).to_bytes(8) + bytes(4)
            try:
                connection.sendall(head + b"a" * 2**20)
                while connection.recv(2**16):
                    pass
            except ConnectionError:
                pass  # it was closed before everything was sent
        assert program.get("/loki/api/v1/status/buildinfo")[0] == 200


OLD = "payment declined long ago"


def search_inside_and_outside(folder: Path, loki_url: str, break_loki: Callable[[], None]) -> None:
    """Search from the terminal, by both APIs and on the page, while Loki answers and while it does not."""
    old = {
        "streams": [{"stream": {"service": "api", "level": "error"}, "values": [[str(long_ago()), OLD, {"rows": "3"}]]}]
    }
    push(loki_url, old)
    config = folder / "toban.yaml"
    config.write_text(
        f"log_sinks:\n  loki: {{kind: loki, url: '{loki_url}'}}\nlogs:\n  outside: {{kind: loki, url: '{loki_url}'}}\n"
    )
    with toban(folder / "data", "--listen", "127.0.0.1:0", "--config", str(config)) as program:
        program.post("/api/logs", b'{"level":"error","message":"payment declined just now","service":"api"}')
        checked = program.run("check", "--config", str(config)).stdout
        assert re.search(r"Outside log engine:\n● +http://127\.0\.0\.1:\d+ +answers queries", checked), checked
        assert re.search(r"Log sinks:\n● +loki +takes these credentials", checked), checked

        shown = program.run("logs", "payment").stdout.splitlines()
        assert [line.partition(": ")[2] for line in shown] == [f"{OLD}  rows=3", "payment declined just now"]
        query = {"query": '{level="error"}', "start": str(long_ago() // 10**9 - 60), "limit": "10"}
        found = loki(program, "query_range", **query)
        assert (len(found["data"]["result"]), "warnings" in found) == (2, False)
        assert "searched in the outside engine" in program.get("/logs?from=now-100d&query=payment")[1]
        assert OLD in program.get("/logs?from=now-100d&query=payment")[1]

        break_loki()
        result = program.run("logs", "payment")
        assert "could not be searched: loki at http://127.0.0.1" in result.stderr
        assert [line.partition(": ")[2] for line in result.stdout.splitlines()] == ["payment declined just now"]
        assert "could not be searched" in loki(program, "query_range", **query)["warnings"][0]
        (missing,) = program.json("/api/logs", query="payment")["missing"]
        assert "answered 401" in missing["reason"]
        page = program.get("/logs?from=now-100d&query=payment")[1]
        assert "could not be searched and are missing here" in page
        assert "Not all lines are counted" in page
        assert "payment declined just now" in page
        checked = program.run("check", "--config", str(config))
        assert (checked.returncode, checked.stdout.count("answered 401")) == (1, 2), checked.stdout


def long_ago() -> int:
    """Return a time of 90 days ago, in nanoseconds, the same during a day."""
    return (time.time_ns() // 86_400_000_000_000 - 90) * 86_400_000_000_000


def push(url: str, content: object) -> None:
    request = urllib.request.Request(
        f"{url}/loki/api/v1/push", json.dumps(content).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 204


async def test_lines_that_only_loki_has_are_found_and_named_while_it_fails(tmp_path):
    async with FakeLokiEngine() as fake_loki:

        def break_loki() -> None:
            fake_loki.authorization = "Bearer another"

        await asyncio.to_thread(search_inside_and_outside, tmp_path, fake_loki.url, break_loki)
        assert {text for _, _, text, _ in fake_loki.lines} == {OLD, "payment declined just now"}
