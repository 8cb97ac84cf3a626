"""The override of a rule in the text of toban.yaml."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.config_file import parse
from toban.core.errors import SettingsError
from toban.review.config_override import with_override

NEW = {"limit": "92.5", "for": "10m"}
COMMENT = "2026-03-01, ann: saves 40 of 50 firings"


@pytest.mark.parametrize(
    "before",
    [
        "",
        "web:\n  listen: 127.0.0.1:9119\n",
        "alerting:\n  # mine\n  rules: [a.yaml]\nweb: {}\n",
        "alerting:   # rules\n    without:\n    - disk_full\n# end\n",
        "alerting:\n  overrides:\n    other:\n      limit: 3  # by hand\n  without: [disk_full]\n",
        "alerting:\n  overrides:\n      other: {for: 5m}\n\nnotify:\n  overrides: none\n",
        "alerting:\n  overrides:\n",
        "alerting:\n",
        "other:\n  alerting: {}\n",
    ],
)
def test_only_the_override_is_added(before):
    """
    All lines that were there are there still, comments too, in their order.
    """
    after = with_override(before, "disk_usage_high", NEW, COMMENT)
    assert parse(after).tree["alerting"]["overrides"]["disk_usage_high"] == NEW
    kept = [line for line in after.splitlines() if line in before.splitlines()]
    assert [line for line in before.splitlines() if line] == [line for line in kept if line]
    assert f"# {COMMENT}" in after


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("alerting: {rules: [a.yaml]}\n", "line 1: alerting is not written line by line"),
        ("alerting:\n  overrides: {a: {limit: 3}}\n", "line 2: overrides is not written line by line"),
        ("alerting:\n  overrides:\n    disk_usage_high: {for: 1m}\n", "line 3: disk_usage_high is not written line"),
        ('"alerting":\n  rules: [a.yaml]\n', "could not be changed safely"),
    ],
)
def test_what_can_not_be_changed_line_by_line_is_refused(before, message):
    with pytest.raises(SettingsError, match=message):
        with_override(before, "disk_usage_high", NEW, COMMENT)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (["limit: 3  # by hand", "for: 1m"], ["limit: 92.5  # by hand", "for: 10m"]),
        (["for: 1m"], ["limit: 92.5", "for: 10m"]),
        (["# mine", "limit: 3"], ["for: 10m", "# mine", "limit: 92.5"]),
    ],
)
def test_an_override_that_is_there_is_changed(own, expected):
    """
    The evidence of before stays above that of now.
    """

    def text(*lines):
        block = "".join(f"      {line}\n" for line in lines)
        return f"    disk_usage_high:\n{block}    other:\n      limit: 3\nweb: {{}}\n"

    head = "alerting:\n  overrides:\n    # 2026-01-01, ann: saves 9 of 10 firings\n"
    after = with_override(head + text(*own), "disk_usage_high", NEW, COMMENT)
    assert after == f"{head}    # {COMMENT}\n{text(*expected)}"


@given(
    st.lists(st.sampled_from(["alerting:", "  overrides:", "  without: [a]", "    b:", "      limit: 3", "# x", ""]))
)
def test_a_file_is_changed_exactly_or_not_at_all(lines):
    before = "\n".join(lines)
    try:
        parsed = parse(before)
        after = with_override(before, "new", NEW, COMMENT)
    except SettingsError:
        return
    tree = parse(after).tree
    assert tree["alerting"]["overrides"].pop("new") == NEW
    assert {**tree, "alerting": None} == {**parsed.tree, "alerting": None}
