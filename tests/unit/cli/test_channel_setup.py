"""The questions of `toban init` about a notification channel."""

import pytest

from toban.cli import channel_setup
from toban.cli.channel_setup import is_secret, prompt_for_channel, questions_by_choice
from toban.notify.channel import CHANNELS
from toban.notify.channels.twilio import Twilio
from toban.settings import build_settings

ACCOUNT = "AC" + "0123456789abcdef" * 2


def test_every_kind_of_channel_is_offered():
    """
    With a question for each setting that it can't do without.
    """
    choices = questions_by_choice()
    assert {kind for kind, _ in choices.values()} == set(CHANNELS.names())
    for kind, questions in choices.values():
        assert all(questions.values()), kind
        assert set(questions) <= set(CHANNELS.load(kind).model_fields)
    assert list(choices["twilio"][1]) == ["account", "token", "sender", "to"]
    assert list(choices["ntfy"][1]) == ["topic"]


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [("line", {"token"}), ("pagerduty", {"key"}), ("email", {"password"}), ("teams", set()), ("discord", set())],
)
def test_secrets_are_hidden_and_addresses_are_shown(kind, hidden):
    (questions,) = (questions for of, questions in questions_by_choice().values() if of == kind)
    assert {name for name in questions if is_secret(kind, name)} == hidden


def test_the_answers_are_a_channel(monkeypatch):
    """
    Several numbers in one answer, with a comma between.
    """
    answers = iter(["twilio", ACCOUNT, "s3cret", "+15005550006", "+819012345678, +819087654321"])
    monkeypatch.setattr(channel_setup, "prompt", lambda *_, **__: next(answers))
    monkeypatch.setattr(channel_setup, "try_channel", lambda *_: True)

    name, written, succeeded = prompt_for_channel()

    channel = build_settings({"channels": {name: written}}, {}, "the answers").channels[name]
    assert isinstance(channel, Twilio)
    assert channel.to == ("+819012345678", "+819087654321")
    assert succeeded
