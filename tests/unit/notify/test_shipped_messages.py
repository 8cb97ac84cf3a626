"""The message of each shipped rule, as the person called at night reads it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from toban.core.alerts import Alert, AlertStatus
from toban.core.labels import Labels
from toban.core.message_catalogue import LANGUAGES
from toban.core.notification import NotificationKind
from toban.notify.rendering import RenderedText, render

TESTS = Path(__file__).parents[2] / "rules"
NOW = datetime(2026, 11, 30, 3, 4, tzinfo=UTC)
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
ASCII = re.compile(r"[A-Za-z]{3,}( [A-Za-z]{2,}){3,}")


def alerts() -> Iterator[Any]:
    """Return an alert for each test of a shipped rule that fires."""
    for path in sorted(TESTS.glob("*.test.yaml")):
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for case in test.get("alert_rule_test", ()):
                for place, expected in enumerate(case["exp_alerts"]):
                    labels = Labels({"alertname": case["alertname"], **expected["exp_labels"]})
                    began = NOW - timedelta(minutes=4)
                    found = Alert(labels, expected["exp_annotations"], AlertStatus.FIRING, began, fired=NOW, value=0.0)
                    yield pytest.param(found, id=f"{test['name']} {place}")


ALERTS = list(alerts())


def message(alert: Alert, language: str) -> RenderedText:
    return render([alert], NotificationKind.FIRING, language=language, zone=UTC, now=NOW, since=alert.starts)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_shipped_message_is_complete_and_has_no_placeholders(alert):
    """
    What, how bad against which limit, since when, what to do; nothing that is empty, unknown, or a program's.
    """
    for language in LANGUAGES:
        rendered = message(alert, language)
        text = "\n".join([rendered.title, *rendered.lines])
        assert "2026-11-30 03:00 UTC" in text
        assert alert.annotation("action", language) in text
        assert not re.search(r"\[unknown\]|<no value>|None|\{\{|%!|NaN|\(\)|[:,;、:] *$|  ", text, re.MULTILINE), text
        assert not re.search(r"\d\.\d{4,}|\de[+-]\d", text), text
        assert alert.name not in text


@pytest.mark.parametrize("alert", ALERTS)
def test_a_japanese_message_is_japanese(alert):
    """
    Its title and each of its lines, but for names and commands.
    """
    rendered = message(alert, "ja")
    for text in [rendered.title, *rendered.lines]:
        bare = re.sub(r"`[^`]*`", "", text)
        assert JAPANESE.search(bare), text
        assert not ASCII.search(bare), text
