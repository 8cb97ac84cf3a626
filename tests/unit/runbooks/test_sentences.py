"""What runbooks, their actions and their brakes say is in both languages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import toban
from toban.core.message_catalogue import catalogue
from toban.core.runbook_events import SENTENCES
from toban.core.sentences import SENTENCE, Sentences
from toban.runbooks.fly_machines import NO_TOKEN
from toban.shop.admin_api import NO_KEY

ROOT = Path(toban.__file__).parent
MODULES = sorted(
    str(it.relative_to(ROOT))
    for it in [
        *(ROOT / "runbooks" / "actions").glob("[a-z]*.py"),
        *(ROOT / "runbooks" / f"{name}.py" for name in ("brakes", "executor", "service", "fly_machines")),
        ROOT / "runbooks" / "postgres_sessions.py",
        ROOT / "shop" / "scheduled_tasks.py",
    ]
)
TEXTS = {"ActionError": 0, "Plan": 0, "Verdict": 1, "RunEndedError": 1}
"""The calls that take a sentence, and at which place."""
OTHERS = {
    "machine x",
    "postgres session x",
    "xx (x)",
    "shop.database_admin: x",
    "x: x",
    "x: answered x",
    "x: the response is no JSON",
}
"""What a function returns that is a name, an address, or what another system said with its context."""


def sample(node: ast.expr) -> str | None:
    """Return a text that an expression makes, with something in each of its places; None where it names no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(it.value) if isinstance(it, ast.Constant) else "x" for it in node.values)
    return None


def said(module: str) -> Iterator[str]:
    """Yield the sentences of a module: of its errors, plans and verdicts, and what its functions return as text."""
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in TEXTS and len(node.args) > TEXTS[name]:
                found.append(node.args[TEXTS[name]])
            elif name in {"end", "_fail"} and node.args:
                found.append(node.args[-1])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            returned = [it.value for it in ast.walk(node) if isinstance(it, ast.Return) and it.value is not None]
            if ast.unparse(node.returns) in {"str", "str | None"}:
                found += returned
            elif ast.unparse(node.returns).startswith("tuple[Mode"):
                found += [it.elts[-1] for it in returned if isinstance(it, ast.Tuple)]
        for one in found:
            both = (one.body, one.orelse) if isinstance(one, ast.IfExp) else (one,)
            yield from (text for it in both if (text := sample(it)) is not None and " " in text)


def in_japanese(text: str) -> str:
    return Sentences(SENTENCES).translate(text, "ja")


@pytest.mark.parametrize("module", MODULES)
def test_every_sentence_of_a_runbook_is_in_japanese_too(module):
    assert {text for text in said(module) if text not in OTHERS and in_japanese(text) == text} == set()


@pytest.mark.parametrize("text", [NO_TOKEN, NO_KEY])
def test_what_an_action_needs_is_in_japanese_too(text):
    assert in_japanese(text) != text


def test_the_test_sees_the_sentences():
    found = [text for module in MODULES for text in said(module)]
    assert len(found) > 100
    assert "it has run x times for this alert" in found


def test_each_sentence_is_in_both_languages_with_the_same_places_and_none_hides_another():
    english, japanese = catalogue(SENTENCES, "en"), catalogue(SENTENCES, "ja")
    assert list(english) == list(japanese)
    for key, text in english.items():
        assert key.startswith(SENTENCE)
        names = re.findall(r"\{(\w+)\}", text)
        assert sorted(names) == sorted(re.findall(r"\{(\w+)\}", japanese[key])), key
        values = {name: f"<{name}>" for name in names}
        assert in_japanese(text.format(**values)) == japanese[key].format(**values), key


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "restart machine 3d8 of shop; healthy others of app: 2",
            "shop のマシン 3d8 を再起動（app のほかの 2 台は正常）",
        ),
        (
            "restart machine 3d8 of shop; no other one is healthy",
            "shop のマシン 3d8 を再起動（ほかに正常なマシンなし）",
        ),
        (
            "3 acts in the last hour: the budget is 3: it does not restart machine 3d8 of a; no other one is healthy",
            "直近 1 時間の操作が 3 回です（上限 3）。実行しません: a のマシン 3d8 を再起動（ほかに正常なマシンなし）",
        ),
        (
            "fly_restart: machine 3d8 is the last healthy one of app, and the shop sells",
            "fly_restart: マシン 3d8 は app の最後の正常なマシンで、ショップは販売できています",
        ),
        (
            "fly_restart: machine 3d8 is not back after 5 minutes: starting, no checks",
            "fly_restart: マシン 3d8 が 5 分たっても復帰しません: starting, no checks",
        ),
        (
            "would end session 12 web (idle in transaction 900 s, UPDATE, blocks 1); its transaction is rolled back;"
            " waiting for it: 14 web (active 800 s, UPDATE)",
            "実行する内容: セッション 12 web (idle in transaction 900 s, UPDATE, blocks 1) を終了"
            "（トランザクションはロールバックされます）。待機中: 14 web (active 800 s, UPDATE)",
        ),
        (
            "it asks instead of acting by itself: something was deployed at 09:12 UTC",
            "自動では実行せず、承認を求めます: 09:12 UTC にデプロイがありました",
        ),
        ("ann refused it: not now: the sale runs", "ann が拒否しました: not now: the sale runs"),
        (
            "Fly: POST apps/shop/machines/3d8/lease: answered 409: machine ID 3d8 lease currently held: somebody else "
            "works on it, perhaps a deploy: it is left alone",
            "Fly: POST apps/shop/machines/3d8/lease: 応答 409: machine ID 3d8 lease currently held: "
            "ほかの作業中（デプロイなど）のため、何もしません",
        ),
        (
            "http_call: send POST https://hooks.example/: answered 500",
            "http_call: POST https://hooks.example/ を送信: 応答 500",
        ),
        (
            "Fly: GET apps/shop/machines: the response is no JSON",
            "Fly: GET apps/shop/machines: 応答が JSON ではありません",
        ),
        (
            "machine 3d8: it restarted 4 times in a row: restarting it again helps nobody",
            "マシン 3d8: 4 回続けて再起動しました。もう一度再起動しても直りません",
        ),
        ("restarted the thing of a customer", "restarted the thing of a customer"),
    ],
)
def test_a_sentence_within_another_is_translated_too(text, wanted):
    assert in_japanese(text) == wanted
