"""Conditions on labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.matching import Match, Matcher
from toban.notify.matching import matcher


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
    ],
)
def test_a_condition_is_read_as_alertmanager_reads_it(text, name, match, value):
    """
    With quotes or without.
    """
    assert matcher(text) == Matcher(name, Match(match), value)


@pytest.mark.parametrize("text", ["", "x", "9x=a", 'a="b', 'a="b" c="d"', "a=b,c=d", 'a=~"("', "{a=b}"])
def test_what_is_no_condition_is_refused(text):
    """
    With an example of one.
    """
    with pytest.raises(ValueError, match="is no condition"):
        matcher(text)


@given(
    st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True), st.sampled_from([Match.EQUAL, Match.NOT_EQUAL]), st.text()
)
def test_a_condition_reads_back_as_it_was_written(name, match, value):
    """
    Whatever its value.
    """
    condition = Matcher(name, match, value)
    assert matcher(str(condition)) == condition
