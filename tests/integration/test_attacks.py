"""Attacks on the whole program: authentication, and limits."""

import gzip
import http.client
import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.attacks import SILENCE, connect, held, read_until_closed, reset, send_request, sent, written
from tests.fork_server import base_environment
from tests.program import TOBAN, Program, eventually, run, toban
from toban.alerting.external_alerts import MAX_ALERTS

JSON = {"content_type": "application/json"}
MIB = 2**20


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A toban on loopback, without a token."""
    with toban(tmp_path_factory.mktemp("attacks") / "data", fresh=True) as program:  # its memory is measured
        program.until("is on duty")
        yield program


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A toban that other machines reach, with a token."""
    data = tmp_path_factory.mktemp("guarded") / "data"
    with toban(data, "--listen", "0.0.0.0:0", TOBAN_TOKEN="hush") as program:
        program.until("is on duty")
        yield program


def silences(program: Program) -> list[object]:
    done = program.run("silence", "list", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["silences"]


def goes_on(program: Program) -> None:
    """It answers, on the network and to commands."""
    assert send_request(program, "GET", "/-/ready") == (200, "toban is ready.\n")
    assert send_request(program, "GET", "/health")[0] in {200, 503}
    assert program.run("status").returncode in {0, 1}


def test_a_reset_connection_is_not_taken_for_a_local_socket(guarded):
    """
    A sender who is gone before it is accepted has no address, as the socket in the data folder has none.
    """
    for _ in range(50):
        connection = connect(guarded)
        connection.sendall(written("POST", "/api/silences", SILENCE, **JSON))
        reset(connection)
    for _ in range(3):
        assert send_request(guarded, "POST", "/api/silences", SILENCE, **JSON)[0] == 401

    assert silences(guarded) == []


def test_the_token_is_required_on_loopback(tmp_path):
    """
    Once it is set; commands need none.
    """
    with toban(tmp_path / "data", TOBAN_TOKEN="hush") as program:
        program.until("is on duty")
        assert send_request(program, "GET", "/api/status")[0] == 401
        assert send_request(program, "GET", "/nowhere")[0] == 401
        assert send_request(program, "POST", "/api/silences", SILENCE, **JSON)[0] == 401
        assert send_request(program, "GET", "/api/status", authorization="Bearer hush")[0] == 200
        assert send_request(program, "GET", "/health") == (200, send_request(program, "GET", "/health")[1])
        assert program.run("status").returncode == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"origin": "http://localhost"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "same-origin", "origin": "http://localhost"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": ""}, 415),
        ({"host": "evil.example"}, 421),
        ({"host": "localhost.evil.example"}, 421),
        ({"host": "evil.example@localhost"}, 421),
        ({"host": "93.184.216.34"}, 421),
        ({"host": ""}, 421),
        ({"host": "127.0.0.1:9119"}, 200),
        ({"host": "[::1]"}, 200),
    ],
)
def test_cross_site_requests_can_not_create_silences(program, headers, status):
    """
    Not by a form, not by a script, not by a name that leads here.
    """
    before = len(silences(program))
    assert send_request(program, "POST", "/api/silences", SILENCE, **{**JSON, **headers})[0] == status
    assert len(silences(program)) - before == (status == 200)


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/api/status", "/api/v1/query?query=up", "/nowhere"])
def test_dns_rebinding_reads_nothing(program, path):
    """
    DNS rebinding, for reading.
    """
    assert send_request(program, "GET", path, host="evil.example")[0] == 421


def test_get_requests_change_nothing(program):
    """
    GET changes nothing anywhere.
    """
    assert send_request(program, "GET", "/hooks/uptimerobot?monitorID=1&alertType=1")[0] == 405
    assert program.json("/api/v1/alerts")["data"]["alerts"] == []


def test_host_names_of_toban_are_configurable(tmp_path):
    """
    Those of `web.hosts`, and the host of `notify.address`, with TLS before them.
    """
    (tmp_path / "toban.yaml").write_text(
        "web: {hosts: [Toban.lan]}\nnotify: {address: 'https://toban.example.com/x'}\n", encoding="utf-8"
    )
    with toban(tmp_path / "data", "--config", str(tmp_path / "toban.yaml")) as program:
        program.until("is on duty")
        for host in ("toban.lan", "TOBAN.lan:80", "toban.example.com"):
            assert send_request(program, "GET", "/health", host=host)[0] == 200
        proxied = {"host": "toban.example.com", "origin": "https://toban.example.com"}
        assert send_request(program, "POST", "/api/silences", SILENCE, **JSON, **proxied)[0] == 200
        assert send_request(program, "GET", "/health", host="other.lan")[0] == 421


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/v1/query", "application/x-www-form-urlencoded"),
        ("/api/v2/alerts", "application/json"),
        ("/api/v2/silences", "application/json"),
        ("/api/silences", "application/json"),
        ("/api/events", "application/json"),
        ("/v1/traces", "application/json"),
        ("/api/v1/write", "application/x-protobuf"),
        ("/hooks/uptimerobot", "application/json"),
        ("/hooks/sentry", "application/json"),
        ("/loki/api/v1/push", "application/json"),
        ("/loki/api/v1/push", "application/x-protobuf"),
        ("/api/logs", "application/x-ndjson"),
    ],
)
def test_an_endless_body_takes_no_memory(program, path, kind):
    """
    100 MB are offered; the most that was ever held is a few.
    """
    before = program.memory("VmHWM")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Encoding: {_packed(path)}\r\n"
    with connect(program) as connection:
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        sent(connection, (b"100000\r\n" + b"a" * MIB + b"\r\n" for _ in range(100)))
        response = read_until_closed(connection)
    assert not response or b" 413 " in response.partition(b"\r\n")[0]
    assert program.memory("VmHWM") - before < 30 * MIB
    goes_on(program)


def _packed(path: str) -> str:
    return "snappy" if path == "/api/v1/write" else "identity"


@pytest.mark.parametrize("where", ["line", "one header", "many headers", "trailer"])
def test_endless_headers_take_no_memory(program, where):
    """
    Nor what stands behind a body.
    """
    before = program.memory("VmHWM")
    beginnings = {
        "line": b"GET /",
        "one header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        "many headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        "trailer": b"POST /api/silences HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    }
    piece = b"x: y\r\n" * 10_000 if where == "many headers" else b"a" * 60_000
    with connect(program) as connection:
        sent(connection, [beginnings[where], *[piece] * 800])
        response = read_until_closed(connection)
    # In the middle of a request the connection is broken off.
    assert response.startswith(b"HTTP/1.1 431 ") or (where == "trailer" and not response)
    assert program.memory("VmHWM") - before < 30 * MIB
    goes_on(program)


def test_pipelined_requests_are_limited(program):
    """
    Thousands in one piece.
    """
    before = program.memory("VmHWM")
    with connect(program) as connection:
        sent(connection, [b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5_000] * 20)
    assert program.memory("VmHWM") - before < 30 * MIB
    goes_on(program)


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHo", written("POST", "/v1/traces", b"", **JSON)[:-2]])
def test_idle_connections_do_not_block_others(program, begun):
    """
    More than there may be: who has kept toban waiting for the longest makes room.
    """
    with held(program, 700, begun):
        for _ in range(5):
            goes_on(program)


def test_stalled_uploads_do_not_block_others(program):
    """
    Five that are nearly whole hold all the room that there is.
    """
    size = 4 * MIB
    with held(program, 5, written("POST", "/v1/traces", b" " * size, **JSON)[:-1]):
        eventually(lambda: send_request(program, "POST", "/v1/traces", b" " * (MIB - 2) + b"{}", **JSON)[0] == 200)
        assert program.run("status").returncode in {0, 1}
    goes_on(program)


@pytest.mark.parametrize(
    ("path", "headers"), [("/api/v2/alerts", JSON), ("/api/events", {"content_type": "text/html"}), ("/gone", JSON)]
)
def test_an_early_response_closes_the_connection(program, path, headers):
    """
    Else whoever keeps it would send the next request where nobody reads.
    """
    with connect(program) as connection:
        connection.sendall(written("POST", path, b"", **{**headers, "content_length": str(50 * MIB)}) + b"a" * 1_000)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
    assert (response.status >= 400, response.getheader("connection")) == (True, "close")


def test_floods_of_external_alerts_are_limited(program):
    """
    A flood is refused before it is read; as many as may be are kept, the rest is counted.
    """
    many = [{"labels": {"alertname": "flood", "severity": "info", "n": str(n)}} for n in range(MAX_ALERTS + 1_000)]
    assert send_request(program, "POST", "/api/v2/alerts", json.dumps(many * 10).encode(), **JSON)[0] == 413
    assert send_request(program, "POST", "/api/v2/alerts", json.dumps(many).encode(), **JSON)[0] == 200

    assert f"{MAX_ALERTS} external alerts" in program.get("/-/healthy")[1]
    refused = r"^toban_external_alerts_rejected_total\S* 1000$"
    eventually(lambda: re.search(refused, program.get("/metrics")[1], re.MULTILINE))
    goes_on(program)


@pytest.mark.parametrize(
    "body",
    [
        b'{"' + b'a":"' * 19_000,
        b'{"a":"' + b'"' * 99_000,
        b'{"a":"' + b'","b' * 24_000,
        b"{" + b' "a" :' * 14_000,
        b"a=1&" * 24_000,
        b"[" * 99_000,
    ],
)
def test_bodies_are_parsed_in_linear_time(program, body):
    """
    An expression that goes back and forth took half a minute for one of these.
    """
    assert send_request(program, "POST", "/hooks/uptimerobot", body, **JSON)[0] == 400


@pytest.mark.parametrize("path", ["/api/silences", "/api/v2/alerts", "/api/events", "/v1/metrics", "/api/alerts/test"])
def test_deeply_nested_json_is_rejected(program, path):
    """
    With 4xx, not by an error of toban's own.
    """
    for body in (b"[" * 100_000, b'{"a":' * 100_000, b'{"match":' * 900 + b"1" + b"}" * 900):
        if path == "/v1/metrics" and body.endswith(b"}"):
            continue  # what it does not know is no mistake
        assert 400 <= send_request(program, "POST", path, body, **JSON)[0] < 500
    packed = gzip.compress(b"[" * 3_000_000)
    assert 400 <= send_request(program, "POST", path, packed, **JSON, content_encoding="gzip")[0] < 500


def test_invalid_requests_do_not_fill_the_log(tmp_path):
    """
    It is counted instead.
    """
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        before = len(program.logged)
        upgrade = written("GET", "/", upgrade="x", connection="upgrade")
        for request in (b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", upgrade):
            for _ in range(100):
                with connect(program) as connection:
                    sent(connection, [request])
        for _ in range(100):
            with connect(program) as connection:
                sent(connection, [written("POST", "/api/silences", b"{", **JSON)[:-1]])
        goes_on(program)
        assert len(program.logged) - before < 5


def test_commands_work_without_free_file_descriptors(tmp_path):
    """
    And the log says it once.
    """
    with toban(tmp_path / "data", under=["prlimit", "--nofile=96:96"]) as program:
        program.until("is on duty")
        with held(program, 90):
            hoard = Path(f"/proc/{program.process.pid}/fd")
            assert len(list(hoard.iterdir())) < 96
            for _ in range(5):
                assert program.run("status").returncode in {0, 1}
                assert send_request(program, "GET", "/-/ready")[0] == 200
            subprocess.run(
                ["prlimit", "--pid", str(program.process.pid), f"--nofile={len(list(hoard.iterdir()))}:96"], check=True
            )
            with held(program, 20):
                for _ in range(5):
                    assert program.run("status").returncode in {0, 1}
        before = [line for line in program.logged if "connections can't be accepted" in line]
        assert len(before) == 1
        assert len(program.logged) < 20


def test_the_data_folder_is_private(tmp_path):
    """
    Also where the folder and its files were open before.
    """
    data = tmp_path / "data"
    with toban(data) as program:
        program.until("is on duty")
        assert program.stop() == 0
    data.chmod(0o755)
    for path in data.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with toban(data) as program:
        program.until("is on duty")
        open_to_others = {str(path) for path in [data, *data.rglob("*")] if path.lstat().st_mode & 0o077}
        assert open_to_others == set()
        assert not [line for line in program.logged if "accessible to other users" in line]


def test_other_files_in_the_data_folder_keep_their_mode_and_a_warning_is_logged(tmp_path):
    """
    With the remedy; toban's own files are private all the same.
    """
    data = tmp_path / "shared"
    data.mkdir(mode=0o755)
    (data / "somebody's").write_text("hello")
    with toban(data) as program:
        program.until("data folder accessible to other users")
        program.until("is on duty")
        assert stat.S_IMODE(data.stat().st_mode) == 0o755
        assert stat.S_IMODE((data / "toban.db").stat().st_mode) == 0o600
        assert any(f"chmod -R go= {data}" in line for line in program.logged)


def test_secrets_in_external_alerts_are_not_stored(tmp_path):
    """
    In labels, annotations and links; nowhere in the data folder.
    """
    secret = "hunter2hunter2"
    alert = {
        "labels": {"alertname": "leak", "severity": "info", "password": secret, "dsn": f"postgres://u:{secret}@db/x"},
        "annotations": {"summary": f"login with password={secret} failed for ann@example.com", "token": secret},
        "generatorURL": f"http://u:{secret}@prometheus/graph",
    }
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        assert send_request(program, "POST", "/api/v2/alerts", json.dumps([alert]).encode(), **JSON)[0] == 200
        found = program.get("/api/v2/alerts")[1]
        assert '"alertname":"leak"' in found
        assert program.stop() == 0
    for text in (found, *(path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*.db*"))):
        assert secret not in text
        assert "ann@example.com" not in text


def test_commands_show_no_passwords(tmp_path):
    """
    Of an address that it refuses, or where nobody answers.
    """
    for url in ("ftp://u:hunter2@h/", "http://u:hunter2@127.0.0.1:1", "http://u:hunt/er2@h", "u:hunter2@h:9119"):
        done = run([*TOBAN, "status"], {**base_environment(), "TOBAN_URL": url}, tmp_path)
        assert done.returncode in {1, 2}
        assert "hunter2" not in done.stdout + done.stderr
        assert "er2" not in done.stdout + done.stderr
