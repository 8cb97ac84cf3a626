"""How log lines look in a terminal."""

from toban.cli.commands.logs import format_line


def test_a_line_says_when_who_and_what():
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


def test_a_line_does_not_steer_the_terminal():
    """
    It comes from outside.
    """
    line = {"timestamp": "2026-01-01T10:00:00.123+00:00", "level": "warn", "message": "\x1b[2Jgone\r\x07"}

    assert "\x1b" not in format_line(line)
    assert "\r" not in format_line(line)
