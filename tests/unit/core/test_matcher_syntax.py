"""Conditions on labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.matcher_syntax import parse_matcher, parse_matchers
from toban.core.matchers import Matcher, MatchOperator


@pytest.mark.parametrize(
    ("text", "name", "match", "value"),
    [
        ('severity="critical"', "severity", "=", "critical"),
        ("node=a", "node", "=", "a"),
        (' job =~ "web.*" ', "job", "=~", "web.*"),
        ('path!="C:\\\\x"', "path", "!=", "C:\\x"),
        ('re!~"a\\\\.b|\\d"', "re", "!~", "a\\.b|\\d"),
        ('empty=""', "empty", "=", ""),
        ("empty=", "empty", "=", ""),
        ('said="a \\"word\\" of 2,3 {4}"', "said", "=", 'a "word" of 2,3 {4}'),
        ('"service.name"="shop"', "service.name", "=", "shop"),
        ('"チーム"=~"倉庫.*"', "チーム", "=~", "倉庫.*"),
        ('チーム="倉庫"', "チーム", "=", "倉庫"),
        ("service.name!=shop", "service.name", "!=", "shop"),
        ('"a \\"b\\" \\\\"=x', 'a "b" \\', "=", "x"),
        ('"9x"=a', "9x", "=", "a"),
    ],
)
def test_a_matcher_is_parsed_as_by_alertmanager(text, name, match, value):
    """
    With quotes or without.
    """
    assert parse_matcher(text) == Matcher(name, MatchOperator(match), value)


@pytest.mark.parametrize("text", ["", "x", "9x=a", 'a="b', 'a="b" c="d"', "a=b,c=d", 'a=~"("', "{a=b}"])
def test_an_invalid_matcher_is_rejected(text):
    """
    With an example of one.
    """
    with pytest.raises(ValueError, match="invalid matcher"):
        parse_matcher(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"チーム"=~"a.*"}', ['"チーム"=~"a.*"']),
        ('{a="1", "b.c"!="2"}', ['a="1"', '"b.c"!="2"']),
        ("a=1,b=2,", ['a="1"', 'b="2"']),
        ('a="1,2"', ['a="1,2"']),
    ],
)
def test_several_matchers_are_parsed_from_one_text(text, found):
    """
    With commas between, in braces or without, as Alertmanager has it.
    """
    assert [str(one) for one in parse_matchers([text])] == found


@pytest.mark.parametrize("text", ["", "{}", "a=1,,b=2", "{a=1", "a=1}", '"=x', '""=x', '"\ud800"=x', "a=\ud800"])
def test_a_text_without_matchers_is_rejected(text):
    """
    A name that is none, too.
    """
    with pytest.raises(ValueError, match="invalid matcher"):
        parse_matchers([text])


@given(st.text(min_size=1), st.sampled_from([MatchOperator.EQUAL, MatchOperator.NOT_EQUAL]), st.text())
def test_a_written_matcher_is_parsed_again(name, match, value):
    """
    Whatever its name and its value: what one way in takes, state and every other way read.
    """
    condition = Matcher(name, match, value)
    assert parse_matcher(str(condition)) == condition
    assert parse_matchers([f"{{{condition}, {condition}}}"]) == (condition, condition)
