"""Texts that want to end the process, each read in a process of its own."""

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

PIECES = [
    *["+1", "-", "*", "^2", "/ x", "% 2", "== 1", "!= bool 1", "> 0", " and x", " or x", " unless x", " atan2 x"],
    *[
        "(",
        ")",
        "[5m]",
        "[1h:]",
        "[",
        "]",
        "{",
        "}",
        '{a="b"}',
        ",",
        ":",
        "@ 1",
        "@ start()",
        "offset 5m",
        "offset -1y",
    ],
    *["sum", "sum(", "sum by (a) (", "topk(5,", "rate(", "abs(", "x", "1", "5m", "1_000", "Inf", "NaN", "0x1F", "1e9"],
    *["#", "\r", "\n", " ", "\t", "\0", '"', "'", "`", "\\", '"a"', "`b`", "日本", "é", "\u2028", "𝄞", "~", "=~", "!"],
    *["bool", "on(", "ignoring(a)", "group_left", "by", "without (", "start", "end()"],
]
KNOWN = [
    "#\r1" + "+1" * 6_500,
    "#\r`\n`" + "+1" * 6_500,
    '"#"\r#"\r1' + "+1" * 6_500,
    "'\\'#'" + "-1" * 6_500,
    "(" * 6_500 + "1" + ")" * 6_500,
    "-" * 6_500 + "x",
    "sum(" * 6_500 + "x" + ")" * 6_500,
    "x" + "[5m:]" * 6_500,
    "{" + "(" * 6_500,
    "x or" * 6_500 + " x",
    "2" + "^2" * 6_500,
    "1" + "==bool 1" * 6_500,
    '{a="b"' + " or a='b'" * 6_500 + "}",
]
READER = """
import os, sys
from toban.promql.parser import ParseError, format_query
for text in sys.stdin.buffer.read().split(b"\\x1e"):
    child = os.fork()
    if not child:
        try:
            format_query(text.decode())
        except ParseError:
            pass
        except BaseException as error:
            print(type(error).__name__, error, repr(text[:200]), flush=True)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        print("status", status, repr(text[:200]), flush=True)
"""


def monsters(seed: int, many: int) -> Iterator[str]:
    """Return texts of few pieces, often repeated."""
    chance = random.Random(seed)
    for _ in range(many):
        parts = []
        for _ in range(chance.randint(1, 6)):
            times = chance.choice([1, 1, 1, 2, 30, 400, 3_000])
            parts.append("".join(chance.choices(PIECES, k=chance.randint(1, 3))) * times)
        yield "".join(parts)[:99_000]


@pytest.mark.parametrize(
    ("seed", "many"), [(0, 150), *[pytest.param(seed, 1_000, marks=pytest.mark.soak) for seed in range(1, 11)]]
)
def test_no_query_text_crashes_the_process(seed: int, many: int):
    """
    The parser recurses without a limit: what it may be given is bounded by tokens.
    """
    texts = [*KNOWN, *monsters(seed, many)]

    ended = subprocess.run(
        [sys.executable, "-c", READER], input="\x1e".join(texts).encode(), capture_output=True, timeout=100, check=False
    )

    assert (ended.stdout.decode(), ended.stderr.decode(), ended.returncode) == ("", "", 0)
