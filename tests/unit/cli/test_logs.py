"""Formatting of log lines in a terminal."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from toban.cli.commands import logs
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


class Toban:
    """Responds to the command as a running toban does."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.pages: list[dict[str, object]] = []
        self.streams: list[list[tuple[str, str]]] = []

    def get(self, path: str, data: object, /, **parameters: str) -> dict[str, object]:
        assert path == "/api/logs"
        self.requests.append(parameters)
        return self.pages.pop(0)

    def events(self, path: str, data: object, /, **parameters: str) -> Iterator[tuple[str, str]]:
        assert path == "/logs/tail"
        if not self.streams:
            raise KeyboardInterrupt
        yield "message", ""
        yield from self.streams.pop(0)


@pytest.fixture
def toban(monkeypatch: pytest.MonkeyPatch) -> Toban:
    running = Toban()
    monkeypatch.setattr(logs, "get", running.get)
    monkeypatch.setattr(logs, "events", running.events)
    monkeypatch.setattr(logs, "RECONNECT", 0.0)
    return running


def page(*numbers: int, cursor: str = "") -> dict[str, object]:
    return {"lines": [stored(it) for it in numbers], "cursor": cursor, "reached": "2026-01-01T10:00:00Z", "missing": []}


def stored(number: int) -> dict[str, object]:
    return {
        "timestamp": f"2026-01-01T10:00:{number:02}Z",
        "level": "error",
        "message": f"line {number}",
        "position": f"{number}-{number}",
    }


def run(*arguments: str) -> list[str]:
    result = CliRunner().invoke(logs.command, arguments)
    assert result.exit_code == 0, result.output
    return [it.split(": ")[-1] for it in result.output.splitlines()]


def test_a_slow_search_goes_on_until_it_has_enough(toban: Toban):
    """
    The newest last.
    """
    toban.pages = [page(9, cursor="a"), page(cursor="b"), page(8, 7, cursor="c")]
    assert run("payment", "--limit", "3", "--since", "1h", "--service", "api") == ["line 7", "line 8", "line 9"]
    asked = {"query": "payment", "level": "info", "service": "api", "since": "1h"}
    assert toban.requests == [
        {**asked, "limit": "3"},
        {**asked, "limit": "2", "cursor": "a"},
        {**asked, "limit": "2", "cursor": "b"},
    ]


@pytest.mark.parametrize("numbers", [(2, 1), ()])
def test_lines_that_could_not_be_searched_are_named(toban: Toban, numbers: tuple[int, ...]):
    """
    No line at all is not reported as none being stored.
    """
    missing = {"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z", "reason": "loki answered 500"}
    toban.pages = [{**page(*numbers), "missing": [missing]}]
    result = CliRunner().invoke(logs.command, [])
    assert "2025-01-01T00:00:00Z to 2026-01-01T00:00:00Z could not be searched: loki answered 500" in result.stderr
    assert len(result.stdout.splitlines()) == len(numbers)


def test_lines_around_the_found_ones_are_shown_once(toban: Toban):
    toban.pages = [page(5, 3), page(5, 4, 3), page(6, 5, 4)]
    assert run("--context", "1") == ["line 3", "line 4", "line 5", "line 6"]
    assert [it.get("around") for it in toban.requests] == [None, "3-3", "5-5"]


def test_new_lines_follow_those_that_are_there(toban: Toban):
    """
    A line that both bring is shown once; after a restart, what was stored meanwhile is shown.
    """
    toban.pages = [page(2, 1), page(4, 3)]
    new = [("message", json.dumps(stored(it))) for it in (2, 3)]
    toban.streams = [[*new, ("message", ""), ("dropped", "7")], [("message", json.dumps(stored(5)))]]
    shown = run("--follow")
    assert shown[:2] == ["line 1", "line 2"]
    assert shown[-1] == "line 5"
    assert shown.count("line 3") == 1
    assert shown[3] == "they came too fast"
    assert toban.requests[1]["since"] == "2026-01-01T10:00:03Z"


def test_json_has_all_that_a_line_says(toban: Toban):
    toban.pages = [page(1)]
    assert json.loads(CliRunner().invoke(logs.command, ["--json"]).output) == stored(1)


def test_following_has_no_end(toban: Toban):
    assert CliRunner().invoke(logs.command, ["--follow", "--until", "1h"]).exit_code == 2
