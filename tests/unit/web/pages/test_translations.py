"""Errors and reasons in the reader's language."""

import ast
import re
from pathlib import Path

import pytest

import toban
from tests.timelines import Timeline
from toban.core.sentences import SENTENCE
from toban.web.pages.i18n import texts
from toban.web.pages.translations import translate

COMMANDS = (
    "notify/silence_commands.py",
    "notify/channel_commands.py",
    "notify/drill.py",
    "alerting/acknowledge_commands.py",
    "incidents/commands.py",
    "maintenance/commands.py",
    "runbooks/commands.py",
    "status_page/commands.py",
    *(f"access/{name}.py" for name in ("accounts", "passwords", "passkey_commands", "sign_in_commands")),
    *(f"access/{name}.py" for name in ("token_commands", "user_commands")),
)
"""The modules whose errors people meet on pages."""


def is_translated(text):
    return translate(text, "ja") != text


def sample(node):
    """Return a text that an expression makes, with something in each of its places; None where it names no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(it.value if isinstance(it, ast.Constant) else "'x'" for it in node.values)
    return None


def raised(module):
    """Yield the errors of commands that a module raises."""
    tree = ast.parse((Path(toban.__file__).parent / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"InvalidCommandError", "NotFoundError"}:
            text = sample(node.args[0])
            if text is not None:
                yield text


@pytest.mark.parametrize("module", COMMANDS)
def test_every_error_of_a_command_is_translated(module):
    found = set(raised(module))
    assert found
    # What is known of a channel is one of two sentences.
    found = {
        it.replace("'x': 'x'", "'x': configured are a, b") if it.startswith("unknown channel") else it for it in found
    }
    assert {it for it in found if not is_translated(it)} == set()


def reasons():
    """Return the reasons that all stages of the pipeline give in a night with everything in it."""
    line = Timeline(
        inhibit=[{"source_matchers": ['alertname="down"'], "target_matchers": ['alertname=~"slow"']}],
        maintenance_windows=[
            {"name": "backup", "cron": "0 1 * * *", "for": "30m", "matchers": ['alertname="backup_old"']}
        ],
        routes=[{"matchers": ['alertname="routed"'], "channels": ["email"]}],
    )
    line.at("0s").fires("down").fires("slow").fires("disk").fires("routed")
    line.at("1m").fires("quiet").silence('alertname="quiet"', "2h")
    line.at("2m").fires("severe", channels="nowhere", severity="critical")
    line.at("5m").fires("short")
    line.at("5m1s").ends("short")
    line.at("20m").acknowledged("disk")
    line.at("30m").ends("down")
    for number in range(8):
        line.at(f"{40 + number * 2}m").fires("web")
        line.at(f"{41 + number * 2}m").ends("web")
    line.at("1h5m").fires("backup_old")
    found = set()
    decide = line._decide

    def noted(now):
        again = decide(now)
        found.update((note.stage, note.reason) for notes in line.decision.run.notes.values() for note in notes)
        return again

    line._decide = noted
    line.want("10h")
    return found


def test_every_reason_of_the_pipeline_is_translated():
    found = reasons()
    assert {stage for stage, _ in found} == {"route", "inhibit", "mute", "dedupe", "send"}
    assert {(stage, it) for stage, it in found if not is_translated(it)} == set()
    words = {it.split()[0] for stage, it in found if stage == "send"}
    assert words == {"firing", "resolved", "acknowledged", "flapping", "reminder"}


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("end time can't be in the past", "終了に過去の時刻は指定できません"),
        ("ends: end time can't be in the past", "終了: 終了に過去の時刻は指定できません"),
        (
            'matchers: invalid matcher \'x\': write it like severity="critical" or "service.name"=~"shop.*"',
            'マッチャー: マッチャー \'x\' が正しくありません。severity="critical" や "service.name"=~"shop.*"'
            " のように書いてください",
        ),
        (
            "comment: must have at least 1 characters; matchers.0: must have at least 1 characters",
            "コメント: 1 文字以上で入力してください; マッチャー: 1 文字以上で入力してください",
        ),
        ("silenced by ann until never: 50% {x} \\1\n", "ann が never までサイレンス中: 50% {x} \\1\n"),
        (
            "invalid matcher 'a b': invalid label name \"a b\"",
            "マッチャー 'a b' が正しくありません: ラベル名 \"a b\" が正しくありません",
        ),
        ("of another kind: {nothing}", "of another kind: {nothing}"),
        ("", ""),
    ],
)
def test_what_is_known_is_translated_and_the_rest_stays(text, translated):
    assert translate(text, "ja") == translated
    assert translate(text, "en") == text


def test_each_sentence_is_recognised_as_itself():
    """
    None hides another that says more.
    """
    for key, text in texts("en").items():
        if key.startswith(SENTENCE):
            values = {name: f"<{name}>" for name in re.findall(r"\{(\w+)\}", text)}
            assert translate(text.format(**values), "ja") == texts("ja")[key].format(**values), key
