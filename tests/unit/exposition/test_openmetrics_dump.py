"""OpenMetrics dumps of samples over a long time."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.labels import Labels
from toban.core.samples import counter, gauge, histogram
from toban.exposition import openmetrics_dump
from toban.exposition.parser import ExpositionError

KNOWN = {
    it.name: it
    for it in (
        counter("seen_total", 'What was "seen".'),
        gauge("load", "How it\nbears."),
        histogram("took_seconds", "How long.", [1], "seconds"),
    )
}
SERIES = [
    Labels(__name__="seen_total", shop='東"京\\'),
    Labels(__name__="load"),
    Labels(__name__="took_seconds_bucket", le="+Inf"),
    Labels(__name__="took_seconds_bucket", le="1.0"),
    Labels(__name__="took_seconds_sum"),
    Labels(__name__="took_seconds_count"),
    Labels(__name__="unheard_of"),
]
NUMBERS = st.dictionaries(st.integers(-(10**13), 10**13), st.floats(allow_nan=False), min_size=1, max_size=5)


def bits(value):
    return struct.pack("<d", value)


def written(held, most=100, *, quoted=False):
    """Return an archive of series: times and values of each."""

    def samples(series):
        return {
            labels: (np.array(sorted(held[labels])), np.array([held[labels][at] for at in sorted(held[labels])]))
            for labels in series
        }

    return "".join(openmetrics_dump.write_dump(held, samples, KNOWN, most, quoted=quoted))


def read(text):
    return [
        (labels, at, bits(value))
        for some in openmetrics_dump.read_dump(text.splitlines(keepends=True))
        for labels, at, value in some.samples
    ]


OTHERS = [
    Labels(__name__="注文.数_total", shop="東京"),
    Labels({"__name__": 'a"b\\c', "http.status": "200", "x": "y"}),
    Labels({"__name__": "plain", "{=,}\n#": ""}),
]


@given(st.dictionaries(st.sampled_from([*SERIES, *OTHERS]), NUMBERS), st.integers(1, 9))
def test_a_written_dump_is_parsed_exactly(held, most):
    """
    To the last bit, whatever is held at once, and whatever signs names are made of.
    """
    expected = {(labels, at, bits(value)) for labels, values in held.items() for at, value in values.items()}
    found = read(written(held, most, quoted=True))
    assert len(found) == len(expected)
    assert set(found) == expected


def test_families_and_series_are_grouped_as_in_openmetrics():
    """
    Families together with what is known of them, the samples of a series together and in order, its bounds too.
    """
    held = {labels: {2000: 2.0, 1000: 1.0} for labels in SERIES[:6]}
    assert written(held).splitlines() == [
        "# HELP load How it\\nbears.",
        "# TYPE load gauge",
        "load 1 1.000",
        "load 2 2.000",
        '# HELP seen What was \\"seen\\".',
        "# TYPE seen counter",
        'seen_total{shop="東\\"京\\\\"} 1 1.000',
        'seen_total{shop="東\\"京\\\\"} 2 2.000',
        "# HELP took_seconds How long.",
        "# TYPE took_seconds histogram",
        "# UNIT took_seconds seconds",
        'took_seconds_bucket{le="1.0"} 1 1.000',
        'took_seconds_bucket{le="1.0"} 2 2.000',
        'took_seconds_bucket{le="+Inf"} 1 1.000',
        'took_seconds_bucket{le="+Inf"} 2 2.000',
        "took_seconds_count 1 1.000",
        "took_seconds_count 2 2.000",
        "took_seconds_sum 1 1.000",
        "took_seconds_sum 2 2.000",
        "# EOF",
    ]


@pytest.mark.parametrize("quoted", [False, True])
def test_names_are_quoted_or_escaped_for_the_reader(quoted):
    """
    As who reads it knows them.
    """
    lines = written({OTHERS[0]: {0: 1.0}, OTHERS[1]: {0: 1.0}}, quoted=quoted).splitlines()
    expected = [
        "# TYPE a_b_c unknown",
        'a_b_c{http_status="200",x="y"} 1 0.000',
        "# TYPE _____total unknown",
        '_____total{shop="東京"} 1 0.000',
        "# EOF",
    ]
    if quoted:
        expected[:4] = [
            r'# TYPE "a\"b\\c" unknown',
            r'{"a\"b\\c","http.status"="200",x="y"} 1 0.000',
            '# TYPE "注文.数_total" unknown',
            '{"注文.数_total",shop="東京"} 1 0.000',
        ]
    assert lines == expected


def test_metadata_is_parsed():
    """
    A counter by the name that questions use.
    """
    (some,) = openmetrics_dump.read_dump(written({SERIES[0]: {0: 1.0}}).splitlines(keepends=True))
    assert list(some.families) == [KNOWN["seen_total"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the file does not end with # EOF"),
        ("a 1 1\n", "line 2: the file does not end with # EOF"),
        ("a 1\n# EOF\n", "a has no timestamp"),
        ("a 1 1\na 2\n# EOF\n", "a has no timestamp"),
        ("a 1 1\nb x 1\n# EOF\n", "line 2: 'x' is not a number"),
        ("a 1 1\n" * 7000 + "b{ 1 1\n# EOF\n", "line 7001: 'b{ 1 1' is not a sample"),
        ("a 1 1\n" * 4999 + "# EOF\na 1 1\n", "line 5001: there is text after # EOF"),
    ],
)
def test_an_invalid_line_is_an_error_with_its_number(text, says):
    """
    However far down it stands; what came before is sound.
    """
    with pytest.raises(ExpositionError) as caught:
        read(text)
    assert str(caught.value).startswith(says)
