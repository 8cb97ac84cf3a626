"""Formatting of log lines in a terminal."""

from toban.cli.commands.logs import format_line


def test_a_log_line_shows_time_source_and_message():
    """
    Facts behind, a trace below; what is missing leaves no gap.
    """
    line = {
        "timestamp": "2026-01-01T10:00:00.123+00:00",
        "level": "warn",
        "message": "boom",
        "service": "vendure-server",
    }

    assert format_line(line) == "2026-01-01T10:00:00Z warn    vendure-server: boom"
    assert format_line({**line, "context": "JobQueue", "facts": {"a": 1}, "trace": "at x"}) == (
        "2026-01-01T10:00:00Z warn    vendure-server/JobQueue: boom  a=1\n    at x"
    )


def test_a_log_line_has_no_control_characters():
    """
    It comes from outside.
    """
    line = {"timestamp": "2026-01-01T10:00:00.123+00:00", "level": "warn", "message": "\x1b[2Jgone\r\x07"}

    assert "\x1b" not in format_line(line)
    assert "\r" not in format_line(line)
