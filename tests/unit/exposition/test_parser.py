"""Pages in the text formats are read as Prometheus reads them."""

import random
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as their_openmetrics
from prometheus_client.parser import text_string_to_metric_families as their_text

from tests.needs import need
from tests.unit.exposition.pages import exposed
from toban.core.labels import NAME, Labels
from toban.core.samples import MetricFamily, MetricType
from toban.exposition.parser import UNTIMED, ExpositionError, PageParser, canonical_bound
from toban.exposition.writer import Format, write_page

PAGE = """\
# HELP http_requests_total The total number\\nof "requests" \\\\ \\".
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find file:\\n\\"FILE.TXT\\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by } zero"} +Inf -3982045
# TYPE took histogram
took_bucket{le="1"} 2
took_bucket{le="+Inf"} NaN
"""


def read(text: str, *, openmetrics: bool = False) -> dict[str, tuple[str, int | None]]:
    reader = PageParser(1000)
    return parse_samples(reader, text, openmetrics=openmetrics)


def parse_samples(reader: PageParser, text: str, *, openmetrics: bool = False) -> dict[str, tuple[str, int | None]]:
    """A page's series, each with its value to the last bit and its time."""
    reading = reader.read(text, openmetrics=openmetrics)
    times = reading.times or [UNTIMED] * len(reading.ids)
    return {
        str(reader.labels[key]): (value.hex(), None if at == UNTIMED else at)
        for key, value, at in zip(reading.ids, reading.values, times, strict=True)
    }


def test_a_page_is_parsed():
    """
    The example of Prometheus' own documentation, and its odd corners.
    """
    assert read(PAGE) == {
        'http_requests_total{code="200", method="post"}': ((1027.0).hex(), 1395066363000),
        'http_requests_total{code="400", method="post"}': ((3.0).hex(), 1395066363000),
        'msdos_file_access_time_seconds{error="Cannot find file:\\n\\"FILE.TXT\\"", path="C:\\\\DIR\\\\FILE.TXT"}': (
            (1.458255915e9).hex(),
            None,
        ),
        "metric_without_timestamp_and_labels": ((12.47).hex(), None),
        'something_weird{problem="division by } zero"}': ("inf", -3982045),
        'took_bucket{le="1.0"}': ((2.0).hex(), None),
        'took_bucket{le="+Inf"}': ("nan", None),
    }


def test_comments_have_the_metadata():
    """
    In the text format a quote in a help text needs no escape; in OpenMetrics it has one.
    """
    reader = PageParser(1000)
    reader.read(PAGE)
    assert reader.families["http_requests_total"] == MetricFamily(
        "http_requests_total", MetricType.COUNTER, 'The total number\nof "requests" \\ \\".'
    )
    reader.read(
        '# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds A \\"b\\".\na_seconds_total 1\n'
        "# TYPE build info\nbuild_info 1\n# EOF\n",
        openmetrics=True,
    )
    assert reader.families == {
        "a_seconds_total": MetricFamily("a_seconds_total", MetricType.COUNTER, 'A "b".', "seconds"),
        "build_info": MetricFamily("build_info", MetricType.GAUGE, ""),
    }


def test_openmetrics_times_are_seconds_and_exemplars_are_skipped():
    """
    Times are milliseconds here; exemplars are left out.
    """
    text = '# TYPE a counter\na_total{b="c # {d"} 1 1.5 # {trace="x"} 0.5 1.2\na_total{b="e"} 2 # {} 1\n# EOF\n'
    assert read(text, openmetrics=True) == {
        'a_total{b="c # {d"}': ((1.0).hex(), 1500),
        'a_total{b="e"}': ((2.0).hex(), None),
    }


def test_quoted_names_in_any_script_are_parsed():
    """
    They stand in quotes among the labels.
    """
    assert read('{"温度.now","部屋"="玄関",a="b"} 1\n') == {'{"温度.now", a="b", "部屋"="玄関"}': ((1.0).hex(), None)}


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("a 1\nb x\n", "line 2: 'x' is not a number"),
        ("\n# HELP a b\n\na 1_0\n", "line 4: '1_0' is not a number"),
        ("a １\n", "is not a number"),
        ("a +nan\n", "is not a number"),
        ("a 1e999\n", "is not a number"),
        ("a 0x10\n", "is not a number"),
        ("a 1\r\n", "is not a number"),
        ("a\n", "'a' is not a sample"),
        ("a 1 1.5\n", "'1.5' is not a timestamp"),
        ("a 1 99999999999999999\n", "is not a timestamp"),
        ("a 1 2 3\n", "is not a sample"),
        ('a{b="c} 1\n', "is not a sample"),
        ('a{b="c",b="d"} 1\n', "duplicate label 'b'"),
        ('a{__name__="c"} 1\n', "duplicate label '__name__'"),
        ('a{b="c" d="e"} 1\n', "is not a label"),
        ('a{,b="c"} 1\n', "is not a label"),
        ("a{b} 1\n", "the label 'b' has no value"),
        ('a{"b"} 1\n', "the label 'b' has no value"),
        ('{b="c"} 1\n', "a sample without a name"),
        ("# TYPE a lots\na 1\n", "# TYPE 'a': 'lots' is not a metric type"),
        ("<!DOCTYPE html>\n", "line 1: '<!DOCTYPE html>' is not a sample"),
        ("x" * 200 + "\n", "\\.\\.\\.' is not a sample"),
    ],
)
def test_an_invalid_page_is_an_error_with_its_line(text: str, trouble: str):
    """
    And with what stands there, shortened.
    """
    with pytest.raises(ExpositionError, match=trouble):
        read(text)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("a 1\n", "does not end with # EOF"),
        ("", "does not end with # EOF"),
        ('a{b="# EOF', "does not end with # EOF"),
        ("a 1\n# EOF\nb 2\n", "does not end with # EOF"),
        ("a 1\n# EOF\nb 2\n# EOF\n", "after # EOF"),
        ("a 1\n\nb 2\n# EOF\n", "an empty line"),
        ("a 1 nan\n# EOF\n", "'nan' is not a timestamp"),
        ("a 1 1e300\n# EOF\n", "'1e300' is not a timestamp"),
    ],
)
def test_a_truncated_openmetrics_page_is_an_error(text: str, trouble: str):
    """
    Half a page must not pass for a whole one.
    """
    with pytest.raises(ExpositionError, match=trouble):
        read(text, openmetrics=True)


def test_a_page_over_the_series_limit_is_rejected_early():
    """
    One series more than allowed, and reading ends.
    """
    reader = PageParser(10)
    reader.read("".join(f"a{number} 1\n" for number in range(10)))
    with pytest.raises(ExpositionError, match="its limit of 10"):
        reader.read("".join(f"b{number} 1\n" for number in range(1_000)))
    assert len(reader.labels) <= 21


def test_cached_series_are_bounded():
    """
    What is remembered stays in proportion to the page; a new generation says that numbers mean something else.
    """
    reader = PageParser(1000)
    for turn in range(100):
        parse_samples(reader, "".join(f'a{{turn="{turn}",number="{number}"}} 1\n' for number in range(100)))
        assert len(reader.labels) <= 1300
    assert reader.generation > 1


def test_the_fast_path_equals_the_slow_path():
    """
    A tab, an exemplar or a time of its own may come to a series that was known without.
    """
    pages = ["a 1\nb 2\n", "a 1\t5\nb\t2\n", "a 1 5\nb 2 \n", " a  1\nb 2", "b NaN\na -0\n", 'a 1 # {x="y"} 2\nb 3\n']
    reader = PageParser(1000)
    for text in [*pages, *pages]:
        assert parse_samples(reader, text) == read(text), text


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("1", "1.0"), ("0.10", "0.1"), ("1e5", "100000.0"), ("1000000", "1e+06"), ("123456789", "1.23456789e+08"),
        ("0.0001", "0.0001"), ("0.00001", "1e-05"), ("-0", "0.0"), ("inf", "+Inf"), ("-Inf", "-Inf"), ("nan", "NaN"),
        ("1e100", "1e+100"), ("2.50", "2.5"), ("much", "much"), ("1_0", "1_0"),
    ],
)  # fmt: skip  # a table
def test_bounds_are_normalized_as_in_prometheus_3(written: str, wanted: str):
    """
    Go's shortest form, with a point.
    """
    assert canonical_bound(written) == wanted


# What differs from prometheus-client on purpose: there Prometheus decides, and toban reads as it does.
DIFFERENCES = {
    # Python's float reads these, Go's does not: promtool refuses them.
    "a 1_0\n": (False, True),
    "a １\n": (False, True),
    # A time is a whole number of milliseconds.
    "a 1 1.5\n": (False, True),
    # Prometheus' server grants a last line without its end, promtool does not.
    "a 1": (True, False),
}


@pytest.mark.parametrize("text", list(DIFFERENCES))
def test_known_differences_from_prometheus_client(text: str):
    """
    The list of what is known to differ: whether toban reads it, whether prometheus-client does.
    """
    toban, client = reads(lambda: read(text)), reads(lambda: list(their_text(text)))
    program = need("promtool", shutil.which("promtool"))
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert toban is DIFFERENCES[text][0]
    if client != toban:
        assert ("parsing error" not in done.stderr) is toban


def reads(work) -> bool:
    try:
        work()
    except (ExpositionError, ValueError):
        return False
    return True


SNIPPETS = st.sampled_from(
    ["a", "b_bucket", "{", "}", '"', "\\", ",", "=", ' le="1"', 'x="y"', " ", "\t", "\n", "#", "# TYPE a counter\n",
     "# HELP a b\n", "# EOF\n", "1", "-2.5e3", "NaN", "+Inf", "1_0", "\r", "\x00", "é", "１", 'a{x="y"} 1\n', "b 2 3\n"]
)  # fmt: skip  # pieces of a page
GARBAGE = st.lists(SNIPPETS, max_size=30).map("".join) | st.text(max_size=60)


def never_crashes(before: str, text: str, openmetrics: bool) -> None:
    """A named error or a right answer, and the same whether the reader has seen pages before or not."""
    reader = PageParser(100)
    responses: list[object] = []
    for fresh in (False, True):
        if fresh:
            reader = PageParser(100)
        else:
            with_trouble(reader, before, openmetrics=False)
        responses.append(with_trouble(reader, text, openmetrics=openmetrics))
    assert responses[0] == responses[1]


def with_trouble(reader: PageParser, text: str, *, openmetrics: bool) -> object:
    try:
        reading = reader.read(text, openmetrics=openmetrics)
    except ExpositionError as error:
        return str(error)
    times = reading.times or [UNTIMED] * len(reading.ids)
    return [
        (str(reader.labels[key]), value.hex(), at)
        for key, value, at in zip(reading.ids, reading.values, times, strict=True)
    ]


@given(GARBAGE, GARBAGE, st.booleans())
@example("a 1\n", "a 1\t5\n", False)
@example("# EOF\n", "# EOF\n# EOF\n", True)
def test_any_page_is_parsed_or_an_error(before: str, text: str, openmetrics: bool):
    """
    Never a crash, never a hang, and never an answer that depends on what was read before.
    """
    never_crashes(before, text, openmetrics)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@settings(max_examples=10_000)
@given(GARBAGE, GARBAGE, st.booleans())
def test_any_page_is_parsed_or_an_error_soak(before: str, text: str, openmetrics: bool):
    """
    The long form.
    """
    never_crashes(before, text, openmetrics)


def agrees(made, openmetrics: bool, seed: int) -> None:
    """Toban reads a valid page as prometheus-client does, and a damaged one as itself or not at all."""
    known, found = made
    text = "".join(write_page(found, known, Format.OPENMETRICS if openmetrics else Format.TEXT))
    theirs = {
        (str(Labels({**sample.labels, NAME: sample.name})), (sample.value + 0.0).hex())
        for family in (their_openmetrics if openmetrics else their_text)(text)
        for sample in family.samples
    }
    # Adding nought takes the sign off -0, which prometheus-client reads as a whole number and Prometheus as it stands.
    ours = {
        (series, (float.fromhex(value) + 0.0).hex())
        for series, (value, _) in read(text, openmetrics=openmetrics).items()
    }
    assert ours == theirs
    if text:
        chance = random.Random(seed)
        place = chance.randrange(len(text))
        damaged = text[:place] + chance.choice(["", '"', "\\", "}", " ", "\n", "1"]) + text[place + 1 :]
        never_crashes(text, damaged, openmetrics)


@given(exposed(), st.booleans(), st.integers(0, 2**32))
def test_valid_pages_are_parsed_as_by_prometheus_client(made, openmetrics: bool, seed: int):
    """
    The same series and values; one sign changed, and there is a named error or an answer that holds cold and warm.
    """
    agrees(made, openmetrics, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(exposed(), st.booleans(), st.integers(0, 2**32))
def test_valid_pages_are_parsed_as_by_prometheus_client_soak(made, openmetrics: bool, seed: int):
    """
    The long form.
    """
    agrees(made, openmetrics, seed)


def test_long_lines_are_parsed_in_linear_time():
    """
    Nothing here grows with the square of a line: these would take hours.
    """
    for text in (
        'a{b="' + "\\\\" * 500_000,
        "a{" + 'b="c"' * 100_000 + "} 1",
        "a{" + '"' * 500_001 + "} 1",
        "a" * 10**6,
    ):
        with pytest.raises(ExpositionError):
            read(text)
    labels = ",".join(f'l{number}="x"' for number in range(20_000))
    assert len(read(f"a{{{labels}}} 1")) == 1
