"""Output of commands has no control characters from outside."""

import ast
import json
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.cli import formatting
from toban.cli.commands import alerts, logs
from toban.cli.formatting import echo, echo_bytes
from toban.core.log_setup import _as_json, _as_text
from toban.core.terminal_columns import align_columns
from toban.core.terminal_escapes import CONTROL_CHARACTERS, escape_controls, escape_line

COMMANDS = Path(formatting.__file__).parent
ODD = "\x1b[2J\x9b31m\x07\u202eabc\u2066\u200b\ud800\U000e0041\r\x00\u2028"
TEXTS = st.text(st.one_of(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), st.characters()))


@given(TEXTS)
def test_control_and_invisible_characters_are_escaped(text):
    r"""
    Control characters, what turns the direction of writing, halves of characters: each is written like ``\u001b``.
    """
    shown = escape_controls(text)

    assert not CONTROL_CHARACTERS.search(shown)
    assert not any(sign < " " and sign not in "\n\t" for sign in shown)
    shown.encode()  # raises nothing
    assert escape_controls(shown) == shown
    assert len(escape_line(text).splitlines()) <= 1


@given(st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers())))
def test_escaped_json_is_equivalent(found):
    """
    What a machine reads has every character that was there.
    """
    assert json.loads(escape_controls(json.dumps(found, ensure_ascii=False))) == json.loads(json.dumps(found))


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_line_breaks_in_table_cells_are_escaped(rows):
    """
    A line break in a cell begins no row of its own.
    """
    assert len("\n".join(align_columns(rows)).splitlines()) <= len(rows)


def test_japanese_and_emoji_are_not_escaped():
    """
    The wide blank and what joins emoji too.
    """
    text = "注文\u3000合計 ¥1,200 👨\u200d👩\u200d👧 ñ"
    assert escape_line(text) == text


def test_all_commands_print_through_the_escaping_function():
    """
    No command, now or later, prints by itself: what `say` does would be missing.
    """
    found = []
    for path in COMMANDS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"}:
                found.append((path.name, called))
    assert found == [("formatting.py", "click.echo")] * 3


class Terminal(BytesIO):
    def isatty(self) -> bool:
        return True


def test_an_export_is_escaped_in_a_terminal_and_raw_in_a_file():
    """
    The file as it is, the terminal so that nothing steers it.
    """
    file, terminal = BytesIO(), Terminal()
    echo_bytes([b'a{b="\x1b[2J"} 1\n'], file)
    echo_bytes([b'a{b="\x1b[2J"} 1\n'], terminal)
    assert file.getvalue() == b'a{b="\x1b[2J"} 1\n'
    assert terminal.getvalue() == b'a{b="\\u001b[2J"} 1\n'


@pytest.mark.parametrize("shown", ["alerts", "logs", "status", "query", "greeting"])
def test_commands_escape_texts_from_outside(shown, capsys):
    """
    In every field that others can fill.
    """
    alert = {
        "status": "firing",
        "priority": "P1",
        "name": ODD,
        "acknowledged": {"by": ODD},
        "suppressed": [ODD],
        "starts": "2026-01-01T00:00:00",
        "annotations": {"summary": ODD},
    }
    target = {
        "up": False,
        "state": "unhealthy",
        "name": ODD,
        "labels": {"instance": ODD},
        "samples": 1,
        "duration": 0.1,
        "last_collection": "2026-01-01T00:00:00Z",
        "error": ODD + "\nforged",
    }
    overview = {
        "state": "unhealthy",
        "notified": False,
        "version": "1",
        "pages": "http://x",
        "data": ODD,
        "alerts": [alert],
        "targets": [target],
        "figures": [{"title": ODD, "of": ODD, "text": ODD}],
        "not_monitored": [{"title": ODD, "remedy": ODD}],
        "health": [{"up": False, "name": ODD, "message": ODD}],
        "unavailable_checks": [{"name": ODD, "reason": ODD}],
        "services": [{"state": "unhealthy", "name": ODD, "message": ODD}],
    }
    channel = {"error": ODD, "name": ODD, "kind": ODD, "waiting": 1}
    listed = {
        "alerts": [alert],
        "rule_errors": [{"rule": ODD, "health": ODD, "error": ODD}],
        "inactive_rules": [{"rule": ODD, "metrics": [ODD]}],
        "channels": [channel],
    }
    line = {"timestamp": "2026-01-01T00:00:00", "level": "info", "message": ODD + "\nforged", "facts": {ODD: ODD}}
    texts = {
        "alerts": lambda: alerts.format_alerts(listed),
        "logs": lambda: logs.format_line({**line, "trace": ODD, "service": ODD}),
        "status": lambda: formatting.format_status(overview),
        "query": lambda: formatting.format_result(
            {"data": {"resultType": "vector", "result": [{"metric": {"__name__": ODD, ODD: ODD}, "value": [0, ODD]}]}}
        ),
        "greeting": lambda: formatting.start_summary(overview),
    }
    echo(texts[shown]())

    printed = capsys.readouterr().out
    assert "\\u001b" in printed
    assert not CONTROL_CHARACTERS.search(printed)
    assert not any(part.startswith("forged") for part in printed.splitlines())


def test_the_log_escapes_control_characters():
    """
    In words and as JSON; half a character ends nobody's work.
    """
    event = {"event": "x", "error": ODD + "\nforged"}
    words, line = _as_text(None, "info", dict(event)), _as_json(None, "info", dict(event))

    assert not CONTROL_CHARACTERS.search(words + line)
    assert "\n" not in words
    assert json.loads(line)["error"] == event["error"]
