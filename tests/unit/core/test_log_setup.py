"""toban's own log."""

import io
import json

import pytest
import structlog

from toban.core.log_setup import configure_logging


@pytest.fixture(autouse=True)
def restored():
    yield
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_a_traceback_has_no_values_of_variables(out):
    """
    Neither for machines nor for people: passwords are among them.
    """
    configure_logging("info", out)
    password = f"hunter-{len('ab')}"
    try:
        [password][1]
    except IndexError:
        structlog.get_logger("toban.test").exception("failed", part="door")
    assert "failed" in out.getvalue()
    assert "IndexError" in out.getvalue()
    assert "hunter-2" not in out.getvalue()


def test_a_json_line_has_event_fields_logger_and_time():
    """
    The event, its facts, who says it and when.
    """
    out = io.StringIO()
    configure_logging("warning", out)
    structlog.get_logger("toban.test").info("not wanted")
    structlog.get_logger("toban.test").warning("wanted", n=1)
    line = json.loads(out.getvalue())
    assert (line["event"], line["n"], line["logger"], line["level"]) == ("wanted", 1, "toban.test", "warning")


def test_a_log_that_can_not_be_written_raises_nothing():
    """
    The disk may be full.
    """

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    configure_logging("info", Full())
    structlog.get_logger("toban.test").info("said to nobody")


def test_an_unknown_level_is_an_error():
    """
    With those there are.
    """
    with pytest.raises(ValueError, match="unknown level 'loud': use debug, info"):
        configure_logging("loud")


@pytest.mark.parametrize(
    ("form", "out", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("json", Terminal(), True),
        ("text", io.StringIO(), False),
    ],
)
def test_the_format_depends_on_the_terminal_by_default(form, out, is_json):
    assert configure_logging("info", out, form) is is_json
    structlog.get_logger("toban.test").info("said")
    assert out.getvalue().startswith("{") is is_json


def test_an_unknown_format_is_an_error():
    """
    With those there are.
    """
    with pytest.raises(ValueError, match="LOG_FORMAT: unknown format 'yaml': use auto, text, json"):
        configure_logging("info", io.StringIO(), "yaml")
