"""The logger for Python programs writes what the original's winston writes."""

import io
import json
import logging

import pytest
import structlog

from toban.instruments.structured_logger import StructuredHandler, StructuredLogger, structlog_writer


def logger(folder, **settings) -> StructuredLogger:
    return StructuredLogger("Payments", environment="production", instance="d1", folder=folder, **settings)


def lines(folder, name="combined.log"):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_lines_go_to_the_console_and_errors_to_a_file_of_their_own_too(tmp_path):
    console = io.StringIO()
    it = logger(tmp_path, console=console)
    it.error("declined", "Error: declined\n    at pay", order="A1")
    it.warn("slow", "Mails")
    both = lines(tmp_path)
    assert [(line["level"], line["message"], line["context"]) for line in both] == [
        ("error", "declined", "Payments"),
        ("warn", "slow", "Mails"),
    ]
    assert both[0] | {"timestamp": ""} == {
        "timestamp": "",
        "level": "error",
        "message": "declined",
        "context": "Payments",
        "service": "vendure-api",
        "environment": "production",
        "instance": "d1",
        "trace": "Error: declined\n    at pay",
        "order": "A1",
    }
    assert lines(tmp_path, "error.log") == both[:1]
    assert [json.loads(line) for line in console.getvalue().splitlines()] == both


def test_events_have_the_fields_of_the_original(tmp_path):
    it = logger(tmp_path)
    it.log_business_event("order_placed", {"total": 12}, "7")
    it.log_security_event("login_failed", {"ip": "10.0.0.1"}, "high")
    it.log_performance("import", 1500, {"rows": 3})
    found = [
        {
            name: line.get(name)
            for name in ("level", "message", "category", "event", "severity", "operation", "duration")
        }
        for line in lines(tmp_path)
    ]
    assert [tuple(line.values()) for line in found] == [
        ("info", "Business Event", "business", "order_placed", None, None, None),
        ("warn", "Security Event", "security", "login_failed", "high", None, None),
        ("info", "Performance Log", "performance", None, None, "import", 1500),
    ]
    assert lines(tmp_path)[0]["data"] == {"total": 12}
    assert lines(tmp_path)[0]["userId"] == "7"


@pytest.mark.parametrize(("level", "written"), [("warn", 2), ("INFO", 3), ("silly", 5), ("nonsense", 3)])
def test_the_level_leaves_lines_out(tmp_path, monkeypatch, level, written):
    monkeypatch.setenv("LOG_LEVEL", level)
    it = logger(tmp_path)
    for write in (it.error, it.warn, it.info, it.verbose, it.debug):
        write("a line")
    assert len(lines(tmp_path)) == written


def test_secrets_are_redacted_everywhere(tmp_path):
    console = io.StringIO()
    it = logger(tmp_path, console=console)
    it.error("Bearer abcdef123456", "at Bearer abcdef123456", user={"password": "hunter2"})
    written = (tmp_path / "combined.log").read_text() + (tmp_path / "error.log").read_text() + console.getvalue()
    assert "abcdef123456" not in written
    assert "hunter2" not in written


def test_a_line_that_cannot_be_written_disturbs_nobody(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    it = logger(tmp_path / "file")
    it.info("one")
    it.info("two")
    assert capsys.readouterr().err.count("log line not written") == 1


def test_facts_of_any_kind_are_written_and_none_hides_a_field(tmp_path):
    it = logger(tmp_path)
    it.info("odd", at=object(), level="made up", values={1: {2}}, text="\ud800")
    (line,) = lines(tmp_path)
    assert line["level"] == "info"
    assert line["message"] == "odd"


def test_records_of_logging_and_events_of_structlog_are_lines(tmp_path):
    it = logger(tmp_path)
    python = logging.getLogger("shop.mail")
    python.propagate = False
    python.addHandler(StructuredHandler(it))
    python.warning("sent %s of %s", 1, "two", extra={"queue": "mail"})
    python.warning("%d", "no number")
    try:
        raise ValueError("bad")
    except ValueError:
        python.exception("failed")
    events = structlog.wrap_logger(None, [structlog_writer(it), lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])
    events.info("stocked", sku="TSH-001")
    found = lines(tmp_path)
    assert [(line["level"], line["message"]) for line in found] == [
        ("warn", "sent 1 of two"),
        ("warn", "%d ('no number',)"),
        ("error", "failed"),
        ("info", "stocked"),
    ]
    assert found[0]["queue"] == "mail"
    assert found[0]["context"] == "shop.mail"
    assert "ValueError: bad" in found[2]["trace"]
    assert found[3]["sku"] == "TSH-001"
