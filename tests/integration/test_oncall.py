"""The on-call schedule of a running toban: by commands, from a calendar, through a restart."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import icalendar
import pytest
import yaml

from tests.program import eventually, toban
from tests.webhook_receiver import WebhookReceiver

NOW = datetime.now(UTC).replace(microsecond=0)


def calendar(who, start, end):
    lines = ["BEGIN:VEVENT", "UID:1", "DTSTAMP:20260101T000000Z", f"DTSTART:{start:%Y%m%dT%H%M%SZ}"]
    lines += [f"DTEND:{end:%Y%m%dT%H%M%SZ}", f"SUMMARY:{who}", "END:VEVENT"]
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x", *lines, "END:VCALENDAR", ""])


@pytest.fixture
def rota():
    """A server with a calendar: ben is on call for two hours, from an hour ago on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # the name is the library's
            body = calendar("Ben", NOW - timedelta(hours=1), NOW + timedelta(hours=1)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/rota.ics"
    server.shutdown()
    server.server_close()


@pytest.fixture
def phone():
    receiver = WebhookReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def config(tmp_path, rota, phone):
    settings = {
        "channels": {"phone": {"kind": "webhook", "url": phone.url}},
        "on_call": {
            "people": {"ann": {"channels": ["phone"]}, "ben": {"name": "Ben"}},
            "layers": [{"people": ["ann"]}, {"name": "rota", "calendar": rota}],
        },
    }
    path = tmp_path / "toban.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def time(hours):
    return f"{NOW + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}"


def test_a_shift_is_covered_swapped_taken_cancelled_and_subscribed_to(tmp_path, config, phone):
    with toban(tmp_path / "data", "--config", str(config)) as program:
        eventually(lambda: program.run("oncall").stdout, lambda text: text.startswith("on call: ben\n"))
        assert program.run("oncall", "--at", time(2)).stdout.startswith("on call: ann\n")
        refused = program.run("oncall", "cover", "ben", "--by", "ann", "--from", time(2), "--to", time(3))
        assert (refused.returncode, "ben is not on call in this time" in refused.stderr) == (1, True)
        period = ("--from", time(0.5), "--to", time(3))
        assert (
            "#1 ann is on call in place of ben" in program.run("oncall", "cover", "ben", "--by", "ann", *period).stdout
        )
        eventually(lambda: phone.received)
        assert "ann is on call in place of Ben" in json.dumps(phone.received)
        assert program.run("oncall", "--at", time(0.75)).stdout.startswith("on call: ann\n")
        assert "#2 is offered" in program.run("oncall", "swap", "ann", "--from", time(5), "--to", time(6)).stdout
    with toban(tmp_path / "data", "--config", str(config)) as program:
        program.until("is on duty")
        found = json.loads(program.run("oncall", "--at", time(0.75), "--json").stdout)
        assert (found["on_call"], found["next_change"]) == (["ann"], None)
        assert "toban oncall take 2 --by PERSON" in program.run("oncall").stdout
        assert program.run("oncall", "take", "2", "--by", "ben").stdout == "#2 ben is on call in place of ann\n"
        assert program.run("oncall", "--at", time(5.5)).stdout.startswith("on call: ben\n")
        assert program.run("oncall", "override", "ann", "--from", time(5), "--to", time(5.6)).returncode == 0
        assert program.run("oncall", "--at", time(5.5)).stdout.startswith("on call: ann\n")
        assert program.run("oncall", "cancel", "3").stdout == "#3 is cancelled\n"
        assert program.run("oncall", "--at", time(5.5)).stdout.startswith("on call: ben\n")
        address = program.run("oncall", "feed", "ben").stdout.strip()
        status, feed = program.get(address.removeprefix(program.url))
        events = icalendar.Calendar.from_ical(feed).walk("VEVENT")
        assert (status, [it["DTSTART"].dt for it in events][-1]) == (200, NOW + timedelta(hours=5))
        assert program.get("/api/oncall.ics?token=nope")[0] == 404
        actions = [it["action"] for it in program.json("/api/audit")["entries"]]
        assert {"covered a shift", "offered a swap", "took a swap", "cancelled an on-call override"} <= set(actions)
        wrong = program.run("oncall", "cover", "ben", "--by", "ann", "--from", "tomorrow", "--to", time(1))
        assert (wrong.returncode, "is not a time like" in wrong.stderr) == (2, True)
        checked = program.run("check", "--config", str(config))
        assert "no channel that pages: ann, ben" in checked.stdout


def test_an_engineers_report_says_who_was_on_call_who_was_called_and_who_answered_in_time(tmp_path, config, phone):
    with toban(tmp_path / "data", "--config", str(config)) as program:
        eventually(lambda: program.run("oncall").stdout, lambda text: text.startswith("on call: ben\n"))
        declared = program.run("incidents", "declare", "Nobody can pay", "--priority", "P1", "--json")
        assert json.loads(declared.stdout)["priority"] == "P1", declared.stderr
        eventually(lambda: phone.received)
        assert program.run("incidents", "ack", "1").returncode == 0
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        arguments = ("report", "--period", "day", "--day", today, "--audience", "engineer")
        report = json.loads(program.run(*arguments, "--format", "json").stdout)
        duty = {it["person"]: it for it in report["duty"]}
        assert sum(it["on_call"] for it in duty.values()) == 86_400
        assert duty["ann"]["pages"] == 1
        # Whoever runs the command answers.
        assert [(it["answered"], it["in_time"]) for it in duty.values() if it["answered"]] == [(1, 1)]
        assert "Acknowledged first" in program.run(*arguments).stdout
