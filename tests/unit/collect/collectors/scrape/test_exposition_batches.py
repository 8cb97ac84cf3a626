"""Batches of the pages of one target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toban.collect.collectors.scrape.exposition_batches import MAX_AHEAD, PageReader
from toban.core.samples import MetricType
from toban.exposition.parser import ExpositionError

TARGET = {"job": "shop", "instance": "local"}
NOW = 1_767_225_600_000


def sample_values(found):
    return {
        (str(labels), batch.at): value
        for batch in found.batches
        for labels, value in zip(batch.layout.series, batch.values.tolist(), strict=True)
    }


def test_the_layout_is_reused_for_the_same_series():
    """
    The store knows it by identity; a series less, and it is another.
    """
    pages = PageReader(TARGET, 10)
    first, again, less = (pages.read(text, NOW).batches[0].layout for text in ("a 1\nb 2\n", "a 3\nb 4\n", "a 5\n"))

    assert first is again
    assert less is not first


def test_a_change_of_metadata_is_in_the_layout():
    """
    The layout then says so too.
    """
    pages = PageReader(TARGET, 10)
    unknown = pages.read("a 1\n", NOW).batches[0].layout.families
    known = pages.read("# TYPE a counter\na 1\n", NOW).batches[0].layout.families

    assert (unknown, [family.type for family in known]) == ((), [MetricType.COUNTER])


@pytest.mark.parametrize(
    ("page", "honor", "wanted"),
    [
        ('a{job="x"}', False, 'a{exported_job="x", instance="local", job="shop"}'),
        (
            'a{job="x",exported_job="y"}',
            False,
            'a{exported_exported_job="x", exported_job="y", instance="local", job="shop"}',
        ),
        ('a{job=""}', False, 'a{instance="local", job="shop"}'),
        ('a{job="x"}', True, 'a{instance="local", job="x"}'),
    ],
)
def test_conflicting_labels_are_prefixed_with_exported(page, honor, wanted):
    """
    As Prometheus does: no value of the page is lost.
    """
    assert sample_values(PageReader(TARGET, 10, honor_labels=honor).read(f"{page} 1\n", NOW)) == {(wanted, NOW): 1}


def test_of_duplicate_samples_the_first_counts():
    """
    Also when it is written in two ways; at two times it is two samples.
    """
    found = PageReader({}, 10).read('a{b="c"} 1\na{b="c",} 2\nd 3 1000\nd 4 2000\n', NOW)

    assert sample_values(found) == {('a{b="c"}', NOW): 1, ("d", 1000): 3, ("d", 2000): 4}
    assert found.duplicates == 1
    assert [batch.at for batch in found.batches] == [1000, 2000, NOW]


def test_future_samples_are_dropped_and_counted():
    """
    Ten minutes are granted: clocks differ.
    """
    found = PageReader({}, 10).read(f"a 1 {NOW + MAX_AHEAD}\nb 1 {NOW + MAX_AHEAD + 1}\n", NOW)

    assert sample_values(found) == {("a", NOW + MAX_AHEAD): 1}
    assert found.future == 1


def test_an_invalid_page_fails_its_own_scrape_alone():
    """
    It costs its own turn.
    """
    pages = PageReader({}, 10)
    layout = pages.read("a 1\nb 2\n", NOW).batches[0].layout
    with pytest.raises(ExpositionError):
        pages.read("c 1\na 1\nno page at all\n", NOW)
    found = pages.read("a 3\nb 4\n", NOW)

    assert found.batches[0].layout is layout
    assert np.array_equal(found.batches[0].values, [3, 4])


lines = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9), st.sampled_from(["", " 1000", " 2000"])))


@settings(max_examples=50)
@given(st.lists(lines, min_size=1, max_size=6))
def test_one_parser_reads_pages_as_new_parsers_do(written):
    """
    One reader for all pages says what a new reader says of each.
    """
    pages = PageReader(TARGET, 100)
    for some in written:
        text = "".join(f"{name} {value}{at}\n" for name, value, at in some)
        warm, cold = pages.read(text, NOW), PageReader(TARGET, 100).read(text, NOW)
        assert sample_values(warm) == sample_values(cold)
        assert (warm.duplicates, warm.future) == (cold.duplicates, cold.future)
