"""toban's own search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_line_store import FakeLineStore
from tests.unit.logs.logql.test_engine import AT, HOUR, line
from toban.core.errors import BadQueryError
from toban.core.log_line import LogLevel
from toban.logs.line_store import Direction
from toban.logs.logql.engine import LogqlEngine
from toban.logs.logql.lexer import ParseError
from toban.logs.logql.parser import parse_log_query
from toban.logs.logql.search import LineSearch
from toban.logs.logql.simple_search import parse_search

LINES = [
    line(1, "Payment of order A failed", LogLevel.ERROR, "worker", facts={"order": "A", "http.status": 500}),
    line(2, "failed: the payment", LogLevel.WARN, "api", trace_id="ab" * 16),
    line(3, "payment done at 12:30", service="api"),
]


@pytest.mark.parametrize(
    ("search", "places"),
    [
        ("", [0, 1, 2]),
        ("payment failed", [0, 1]),
        ('"payment of"', [0]),
        ("PAYMENT -failed", [2]),
        ('payment -"order a"', [1, 2]),
        ("level:error,warn", [0, 1]),
        ("service:api -level:warn", [2]),
        ("payment service:worker", [0]),
        ("@order:A", [0]),
        ("@http.status:500", [0]),
        ("-@order:A failed", [1]),
        (f"trace_id:{'ab' * 16}", [1]),
        ("12:30", [2]),
        ("failed:", [1]),
        ('{service="api"} |= "done"', [2]),
    ],
)
async def test_lines_are_found(search: str, places: list[int]):
    async with LogqlEngine(FakeLineStore(LINES)) as engine:
        found = (await engine.lines(LineSearch(parse_search(search), AT, AT + HOUR, 10, Direction.FORWARD))).lines
    assert [LINES.index(it.stored.line) for it in found] == places


def test_a_query_for_series_is_not_taken_for_words():
    with pytest.raises(ParseError, match="the query is for series: write only its selector"):
        parse_search('sum by (level) (count_over_time({service="api"}[5m]))')
    assert len(parse_search('unexpected token {"order": 1} (declined)').stages) == 5


def test_a_text_with_a_brace_is_logql():
    assert parse_search(' {a="b"}') == parse_log_query('{a="b"}')


@given(st.text(max_size=60) | st.lists(st.sampled_from(['"', "-", ":", "@", "level", "a,b", " ", "{"])).map("".join))
def test_any_text_is_a_search_or_an_error(text: str):
    try:
        parse_search(text)
    except BadQueryError as error:
        assert str(error)
