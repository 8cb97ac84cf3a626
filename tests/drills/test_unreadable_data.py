"""Stored data never crashes toban: neither from requests nor from older versions."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.attacks import QUIET, responds
from tests.program import eventually, toban

TIMES = ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00", "1900-01-01T00:00:00Z"]
SILENCE = {"startsAt": "2026-01-01T00:00:00Z", "endsAt": "2099-01-02T00:00:00Z", "createdBy": "me", "comment": "c"}


POISON = r"""
INSERT INTO notify_silence VALUES ('odd', '["{"]', 0, 4102444800000, 'ann', 'tea', 0, 0);
INSERT INTO notify_silence VALUES ('far', '["\"a.b\"=\"x\""]', 0, 253402300800000, 'ann', '', 0, 0);
INSERT INTO notify_alert VALUES ('f', '{"alert"');
INSERT INTO notify_group VALUES ('t', '5');
INSERT INTO alert VALUES ('r', 'f', '{"labels": {}}');
INSERT INTO event SELECT COALESCE(MAX(position), 0) + 1, 0, 'alert', '{"alert": 5}' FROM event;
INSERT INTO outbox VALUES (NULL, 'channel:hook', 'k', '5', 0, 0, 0, '', '', 0);
INSERT INTO outbox VALUES (NULL, 'channel:gone', 'k', '5', 0, 0, 0, '', '', 0);
INSERT INTO audit_log (at, actor, action, facts, via)
VALUES (4102444800000, 'drill', 'drilled', '{"reached": 5}', 'toban');
"""
"""Rows as no toban writes them, or as only an older one did."""
PLANTED = {"notify_silence", "notify_alert", "notify_group", "alert", "event", "outbox", "audit_log", "alerts.jsonl"}


def as_json(body):
    return json.dumps(body).encode()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "toban.yaml").write_text(QUIET)
    return tmp_path


def opened(folder):
    return toban(folder / "data", "--config", str(folder / "toban.yaml"))


def test_no_request_crashes_toban_or_a_later_start(folder):
    """
    Labels of any name, times without a year, texts that are none: taken and read back, or refused with the reason.
    """
    with opened(folder) as program:
        program.until("Ctrl-C stops it")
        for name in ("service.name", "チーム", 'a"b\\', "a b"):
            matcher = {"name": name, "value": "shop.*", "isRegex": True, "isEqual": True}
            assert program.post("/api/v2/silences", as_json({**SILENCE, "matchers": [matcher]}))[0] == 200
        matcher = {"name": "a", "value": "b", "isRegex": False}
        for at in TIMES:
            status, text = program.post("/api/v2/silences", as_json({**SILENCE, "matchers": [matcher], "endsAt": at}))
            assert (status, "accepted" in text) == (400, True), text
            fields = {"matchers": ["a=b"], "comment": "c", "ends": at}
            assert program.post("/api/silences", as_json(fields))[0] == 400
            failed = {"type": "payment_failed", "order": "A", "method": "card", "at": at}
            assert program.post("/api/events", as_json(failed))[0] == 422
        assert program.post("/api/events", as_json({"type": "payment_failed", "order": "A\0", "method": "x"}))[0] == 200
        assert program.post("/api/v2/alerts", as_json([{"labels": {"alertname": "x"}}]))[0] == 200
        for by in ("\ud800", "x\0", "y" * 300):
            status, text = program.post("/api/alerts/acknowledge", as_json({"alert": "x", "by": by}))
            assert (status, "by: " in text or "invalid JSON" in text) == (400, True)
            created = {"matchers": ["a=b"], "created_by": by, "comment": "c"}
            assert program.post("/api/silences", as_json(created))[0] == 400
        for match in (["\ud800=x"], "a=b", 5, [5], [], {"a": 1}, ['a=~"("'], [f"a{n}=b" for n in range(200)]):
            assert program.post("/api/silences", as_json({"matchers": match, "comment": "c"}))[0] == 400
        responds(program)
        assert program.stop() == 0
    with opened(folder) as program:
        program.until("Ctrl-C stops it")
        responds(program)
        assert len(program.json("/api/v2/silences")) == 4
        assert '"service.name"=~"shop.*"' in program.run("silence", "list").stdout


def test_unreadable_rows_are_quarantined_at_the_start(folder):
    """
    Of every table; pages answer, toban says that it is not well, and `toban quarantine` shows what it was.
    """
    with opened(folder) as program:
        program.until("Ctrl-C stops it")
        assert program.stop() == 0
    with closing(sqlite3.connect(folder / "data" / "toban.db")) as database:
        database.executescript(POISON)
        database.commit()
    (folder / "data" / "alerts.jsonl").write_bytes(b'{"number": 1, "rule": 5}\n{"torn')
    with opened(folder) as program:
        program.until("Ctrl-C stops it")
        responds(program)
        rows = eventually(
            lambda: program.json("/api/quarantine")["rows"],
            lambda found: {row["source"] for row in found} == PLANTED and len(found) == 9,
        )
        assert [it["id"] for it in program.json("/api/v2/silences")] == ["far"]
        eventually(lambda: program.get("/-/healthy"), lambda found: "rows of state can't be read" in found[1])
        assert "notify_silence" in program.run("quarantine", "list").stdout
        for row in rows:
            assert program.run("quarantine", "forget", str(row["id"])).returncode == 0
        assert "all of state can be read" in program.run("quarantine", "list").stdout
        assert "no row 5000 in quarantine" in program.run("quarantine", "forget", "5000").stderr
