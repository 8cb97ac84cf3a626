"""Written pages are parsed equal, by toban and by other programs."""

import math
import shutil
import subprocess
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from prometheus_client.openmetrics.parser import text_string_to_metric_families as their_openmetrics
from prometheus_client.parser import text_string_to_metric_families as their_text

from tests.needs import need
from tests.unit.exposition.pages import exposed
from toban.core.labels import NAME, Labels
from toban.core.samples import STALE, Batch, Layout, MetricFamily, counter, gauge
from toban.exposition.parser import UNTIMED, PageParser
from toban.exposition.writer import Format, SampleLine, families, negotiate_format, sample_lines, write_page

FORMATS = pytest.mark.parametrize("format", list(Format))
ABOUT = gauge("heat", 'How warm "it" is\\was,\nas felt.')


def comparable(labels: Iterable[tuple[str, str]], value: float, at: int) -> tuple[object, ...]:
    return tuple(sorted(labels)), "NaN" if math.isnan(value) else value.hex(), at


def written(found: Iterable[SampleLine], known: dict[str, MetricFamily], format: Format) -> str:
    return "".join(write_page(found, known, format))


@FORMATS
@given(made=exposed())
def test_a_written_page_is_parsed_exactly(format: Format, made: tuple[dict[str, MetricFamily], list[SampleLine]]):
    """
    Every label, every bit of a value, every time and every word of help.
    """
    known, found = made
    text = written(found, known, format)
    reader = PageParser(10_000)
    reading = reader.read(text, openmetrics=format is Format.OPENMETRICS)
    times = reading.times or [UNTIMED] * len(reading.ids)

    assert sorted(
        comparable(reader.labels[key].items(), value, 0 if at == UNTIMED else at)
        for key, value, at in zip(reading.ids, reading.values, times, strict=True)
    ) == sorted(comparable(line.labels.items(), line.value, line.at) for line in found)
    assert reader.families == {name: known[name] for name in known}


@FORMATS
@given(made=exposed())
def test_prometheus_client_parses_a_written_page(
    format: Format, made: tuple[dict[str, MetricFamily], list[SampleLine]]
):
    """
    The same series, values, times, types and words of help.
    """
    known, found = made
    text = written(found, known, format)
    openmetrics = format is Format.OPENMETRICS
    read = list(their_openmetrics(text) if openmetrics else their_text(text))

    assert sorted(
        comparable(
            {**sample.labels, NAME: sample.name}.items(),
            float(sample.value) + 0.0,  # it reads -0 as a whole number, and drops its sign
            0 if sample.timestamp is None else round(float(sample.timestamp) * 1000),
        )
        for family in read
        for sample in family.samples
    ) == sorted(comparable(line.labels.items(), line.value + 0.0, line.at) for line in found)
    assert {(family.name, family.type, family.documentation) for family in read} == {
        (family.name.removesuffix("_total"), family.type.value, family.help) for family in known.values()
    }


def test_promtool_finds_no_problems():
    """
    Help and type for everything, and names as the trade writes them.
    """
    program = need("promtool", shutil.which("promtool"))
    known = {"up": gauge("up", "Whether it is well."), "seen_total": counter("seen_total", "What was seen.")}
    text = written([SampleLine(Labels(__name__=name, job="shop"), 1) for name in known], known, Format.TEXT)
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_counter_family_in_openmetrics_has_no_total_suffix():
    """
    And one that has no such ending is unknown there, for OpenMetrics has no such counter.
    """
    known = {name: counter(name, "Seen.") for name in ("seen_total", "odd")}
    text = written([SampleLine(Labels(__name__=name), 1) for name in known], known, Format.OPENMETRICS)

    assert text == (
        "# HELP odd Seen.\n# TYPE odd unknown\nodd 1\n# HELP seen Seen.\n# TYPE seen counter\nseen_total 1\n# EOF\n"
    )


def test_a_counter_whose_family_name_is_in_use_keeps_its_suffix():
    """
    Two families of one name would spoil the page.
    """
    known = {"seen": gauge("seen", "In view."), "seen_total": counter("seen_total", "Ever.")}
    text = written([SampleLine(Labels(__name__=name), 1) for name in known], known, Format.OPENMETRICS)

    assert {family.name for family in their_openmetrics(text)} == {"seen", "seen_total"}


def test_names_in_other_scripts_are_escaped_for_older_readers():
    """
    A page with one such name would be refused as a whole by older readers.
    """
    found = [SampleLine(Labels({NAME: "温度.now", "部屋": "玄関", "1": "x"}), 1)]

    assert written(found, {}, Format.TEXT) == '# TYPE ___now untyped\n___now{_1="x",__="玄関"} 1\n'


def test_absent_and_stale_samples_are_not_written():
    """
    A page tells what is.
    """
    layout = Layout([Labels(__name__="heat", room=room) for room in "abc"], [ABOUT])
    batch = Batch(layout, 0, np.array([1.0, STALE, math.nan]))

    assert [line.labels["room"] for line in sample_lines([batch])] == ["a"]
    assert families([batch]) == {"heat": ABOUT}


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; version=1.0.0; q=0.5, text/plain;version=0.0.4;q=0.3", Format.OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.3", Format.TEXT),
        ("application/openmetrics-text;version=0.0.1", Format.TEXT),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=much", Format.TEXT),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
            "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            Format.OPENMETRICS,
        ),
    ],
)
def test_the_format_is_negotiated(accept: str, wanted: Format):
    """
    The plain one when in doubt; the last of these is what Prometheus 3 sends.
    """
    assert negotiate_format(accept) is wanted
