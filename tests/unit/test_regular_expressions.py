"""
Regular expressions on text from outside are read once from left to right, or they are RE2's.

Python's own go back and forth: 99 kB of the right text held the loop for half a minute.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import toban
from toban.core.redaction import redact, redact_text
from toban.web.uptimerobot_webhook import parse_fields

ROOT = Path(toban.__file__).parent
USES = ("match", "fullmatch", "search", "sub", "split", "findall", "finditer")

OURS = {
    "toban.alerting": "rule files and templates are the operator's own",
    "toban.collect.sql_metrics": "SQL that toban ships",
    "toban.core.config_types": "settings; lengths of time in requests are matched as a whole",
    "toban.alerting.series_notation": "files of tests",
    "toban.demo": "what toban's own demo says",
    "toban.cli": "what toban itself answers",
    "toban.state": "names in toban's own code",
}
"""Where the text is not from outside."""

NAMED = {
    ("toban.promql.syntax_tree", "search"),
    ("toban.shop.redis", "pattern"),
    ("toban.shop.database", "pattern"),
    ("toban.instruments.error_classes", "pattern"),
}
"""Expressions that are chosen from a table of plain words: they are tried there."""

ARGUED = {
    "toban.logs.logql.lexer._TOKEN": "its reader stops at the first quote or bracket that is not closed",
    "toban.promql.lexer._TOKEN": "its reader stops at the first quote that is not closed",
}
"""What could be slow, and why it is not."""

PIECES = (
    *("a", "0", " ", "\t", '"', "'", "\\", "{", "}", ",", ":", "=", ".", "-", "_", "/", "@", "\n", "A", "#", "(", "["),
    *('"a":"', 'a":"', '" ', '\\"', "a.", "a-", "a=", "a,", "a: ", "a ", "0.", "0e", "1s", "://", "a@", "4 ", "a{"),
    *("-eyJaaaaa", "a.-eyJaaaaa", "eyJ", "Bearer ", "cookie:", "SG.a", "token=", "# HELP a ", "\x1b[", "${a", "$1"),
    *("Payment for order ", "{a", "a\\", '{"a":"', '"a" :', " #", "# {", "1h1", "SystemTime { tv_sec: ", "sk_live_"),
)
LONG = 60_000
"""Characters: what looks at each of them from each of them takes minutes, and once less than a second."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(["toban", *path.relative_to(ROOT).with_suffix("").parts])
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        if "re" in imports and not any(name == ours or name.startswith(f"{ours}.") for ours in OURS):
            yield name, tree


def used(name: str, tree: ast.Module) -> Iterator[tuple[str, re.Pattern, str]]:
    """Return each expression of a module, and how it is used."""
    known = {key: value for key, value in vars(importlib.import_module(name)).items() if isinstance(value, re.Pattern)}
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    for node in called:
        on, use = ast.unparse(node.func.value), node.func.attr
        if use not in USES:
            continue
        if on in known:
            yield f"{name}.{on}", known[on], use
        elif on == "re" and isinstance(node.args[0], ast.Constant):
            yield f"{name}:{node.lineno}", re.compile(node.args[0].value), use
        elif on == "re" and (name, ast.unparse(node.args[0])) not in NAMED:
            found = [value for key, value in known.items() if key in ast.unparse(node.args[0])]
            assert found, f"{name}:{node.lineno}: {ast.unparse(node)}: an expression that this test can't see"


CASES = sorted(
    {
        (f"{where} {use}", pattern, use)
        for name, tree in modules()
        for where, pattern, use in used(name, tree)
        if where not in ARGUED
    },
    key=lambda case: case[0],
)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("pattern", "use"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_regular_expressions_take_linear_time(pattern, use):
    """
    Whatever is repeated in it. What takes too long runs into the time limit of the test.
    """
    for piece in PIECES:
        text = piece * (LONG // len(piece))
        for subject in (text, text + "\x00"):
            given = subject.encode() if isinstance(pattern.pattern, bytes) else subject
            if use in {"match", "fullmatch", "search"}:
                getattr(pattern, use)(given)
            else:
                for _ in pattern.finditer(given):
                    pass


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", PIECES)
def test_redaction_takes_linear_time(piece):
    """
    Several expressions, one after the other.
    """
    text = piece * (LONG // len(piece))
    redact_text(f"eyJ @ cookie token= {text}")
    redact({"a": [text] * 20})
    parse_fields(f'{{"a":"{text}', {})
