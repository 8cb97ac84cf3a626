"""Limits of input."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core import input_limits

EDGES = ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-14:00", "2200-01-01T00:00:01Z", "1969-12-31T23:59:59Z"]


@pytest.mark.parametrize("text", EDGES)
def test_a_time_out_of_range_is_rejected_with_the_range(text):
    """
    Also one that has no year in UTC.
    """
    with pytest.raises(ValueError, match="times from 1970 to 2200 are accepted"):
        input_limits.parse_time(text)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "10000-01-01T00:00:00Z", None, 5, [], "\ud800"])
def test_an_invalid_time_is_rejected(text):
    """
    Whatever it is.
    """
    with pytest.raises(ValueError, match="is not a valid time"):
        input_limits.parse_time(text)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 31), timezones=st.timezones())
    | st.datetimes(timezones=st.timezones())
)
def test_an_accepted_time_is_valid_in_every_zone(at):
    """
    And with a length added: nothing overflows afterwards.
    """
    try:
        found = input_limits.parse_time(at)
    except ValueError:
        return
    assert found.timestamp() == at.timestamp()
    for hours in (-14, 14):
        (found + timedelta(days=400, hours=hours)).astimezone(UTC)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "a\0", 5, None, "x" * 11])
def test_a_text_that_can_not_be_stored_is_rejected(text):
    """
    Half a surrogate pair, NUL, too long, no text at all.
    """
    with pytest.raises(ValueError, match=r"character|string"):
        input_limits.checked_text(text, 10)


@given(st.text(st.characters(codec=None)))
def test_a_repaired_text_can_be_encoded(text):
    """
    And is the same where nothing was wrong.
    """
    repaired = input_limits.repair_surrogates(text)
    repaired.encode()
    assert len(repaired) == len(text)
    assert input_limits.repair_surrogates(repaired) == repaired


def test_labels_in_any_script_are_accepted_within_limits():
    """
    As Prometheus 3 has it; an annotation is cut rather than its alert lost.
    """
    assert input_limits.checked_labels({"チーム": "倉庫", "a.b": "c", "empty": ""}) == {"チーム": "倉庫", "a.b": "c"}
    assert len(input_limits.checked_annotations({"a": "x" * 30_000})["a"]) == input_limits.ANNOTATION_LENGTH
    for wrong in ({}, {"": "x"}, {"a": ""}, {"a": 5}, [], {"a": "x" * 6_000}, {str(n): "x" for n in range(200)}):
        with pytest.raises(ValueError, match=r"label"):
            input_limits.checked_labels(wrong)
