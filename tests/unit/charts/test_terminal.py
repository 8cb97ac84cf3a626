"""Charts in a terminal, as text."""

import io
import math
import re
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toban.charts.terminal import HEIGHT, MARKS, ChartSeries, ChartStyle, draw_chart, stdout_style
from toban.cli.formatting import echo_segments
from toban.core.terminal_columns import text_width

START = datetime(2026, 1, 1, 6, tzinfo=UTC).timestamp()
TIMES = [START + 60 * minute for minute in range(121)]
PLAIN = ChartStyle(60, has_braille=False)


def text(times, series, style=PLAIN, **more) -> list[str]:
    return [
        "".join(part for part, _ in line).rstrip()
        for line in draw_chart(times, series, "{:.10g}".format, style, **more)
    ]


def test_a_chart_has_axes_with_values_and_times():
    """
    A rise from zero to 100 in two hours.
    """
    lines = text(
        TIMES, [ChartSeries("rise", [minute * 100 / 120 for minute in range(121)])], ChartStyle(40, has_braille=False)
    )
    assert lines == [
        "100 +                                 **",
        "    |                              ****",
        "    |                           ****",
        " 80 +                         ***",
        "    |                      ****",
        " 60 +                    ***",
        "    |                 ****",
        "    |              ****",
        " 40 +            ***",
        "    |         ****",
        " 20 +       ***",
        "    |    ****",
        "    | ****",
        "  0 +**",
        "    +-----------------------------------",
        "     06:00 06:30    07:00    07:30 08:00",
        "        last  min  max",
        "* rise   100    0  100",
    ]


def test_one_series_is_drawn_with_dots_where_the_encoding_has_them():
    """
    Several only in colours: without these they could not be told apart.
    """
    values = [math.sin(minute / 20) for minute in range(121)]
    one = text(TIMES, [ChartSeries("a", values)], ChartStyle(60))
    assert any("\u2801" <= sign <= "\u28ff" for sign in "".join(one[:HEIGHT]))
    two = [ChartSeries("a", values), ChartSeries("b", [-value for value in values])]
    plain, colored = (text(TIMES, two, ChartStyle(60, has_colors=it)) for it in (False, True))
    assert {MARKS[0], MARKS[1]} <= set("".join(plain[:HEIGHT]))
    assert not set(MARKS) & set("".join(colored[:HEIGHT]))


def test_each_series_has_the_colour_of_its_legend():
    series = [ChartSeries("low", [1.0] * 121), ChartSeries("high", [9.0] * 121)]
    lines = draw_chart(TIMES, series, "{:g}".format, ChartStyle(60, has_colors=True))
    drawn = [{color for _, color in line if color} for line in lines[:HEIGHT]]
    legend = [line[0][1] for line in lines[-2:]]
    assert [it for it in drawn if it] == [{color} for color in legend]


def test_an_outage_is_a_gap():
    """
    No line bridges it; a lone value is a point.
    """
    values = [5.0] * 40 + [math.nan] * 60 + [5.0] + [math.nan] * 20
    [line] = [it for it in text(TIMES, [ChartSeries("a", values)])[:HEIGHT] if "*" in it]
    assert [len(part) for part in re.split("[|+]", line, maxsplit=1)[1].split()] == [19, 1]


def test_eight_series_are_shown_with_the_number_of_the_others():
    """
    Those with the highest last values, the highest first.
    """
    lines = text(TIMES, [ChartSeries(f"s{place}", [place] * 121) for place in range(20)])
    assert [line.split()[1] for line in lines[-9:-1]] == [f"s{place}" for place in range(19, 11, -1)]
    assert lines[-1].startswith("and 12 series more")


def test_bytes_have_powers_of_two_on_their_axis():
    lines = text(TIMES, [ChartSeries("a", [minute * 2.0**20 for minute in range(121)])], is_binary=True)
    labels = [line.split()[0] for line in lines[:HEIGHT] if "+" in line]
    assert [float(label) for label in labels] == [3 * 2**25, 2**26, 2**25, 0]


def test_a_name_from_outside_is_cut_and_escaped():
    """
    To the width of the terminal, also in Japanese.
    """
    for name in ("x" * 500, "注" * 500, "\x1b[2J" * 50):
        lines = text(TIMES, [ChartSeries(name, [1.0] * 121)])
        assert all(text_width(line) <= 60 for line in lines)
        assert "\x1b" not in "".join(lines)


@given(
    st.lists(st.lists(st.floats(), min_size=1, max_size=30), min_size=1, max_size=10),
    st.integers(1, 200),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@example([[5e-324]], 60, True, False, False)
@example([[1.7e308, -1.7e308]], 60, True, False, False)
def test_any_values_are_drawn_within_the_chart(values, width, dots, colors, binary):
    """
    Infinite ones, none, the largest and the smallest floats.
    """
    series = [ChartSeries("a", one) for one in values]
    times = [START + place for place in range(max(map(len, values)))]
    lines = text(times, series, ChartStyle(width, dots, colors), is_binary=binary)
    assert len(lines) >= HEIGHT + 3
    widest = max(map(text_width, lines[: HEIGHT + 1]))
    assert all(line[1:].count("└") == 0 for line in lines[:HEIGHT])
    assert widest <= max(width, 20 + 30)


class Output(io.TextIOWrapper):
    """Standard output with an encoding, perhaps of a terminal."""

    def __init__(self, encoding: str, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(
    ("encoding", "is_terminal", "environment", "expected"),
    [
        ("utf-8", True, {"TERM": "xterm"}, (True, True)),
        ("utf-8", False, {"TERM": "xterm"}, (True, False)),
        ("utf-8", True, {"NO_COLOR": "1"}, (True, False)),
        ("utf-8", True, {"NO_COLOR": ""}, (True, True)),
        ("utf-8", True, {"TERM": "dumb"}, (True, False)),
        ("ascii", True, {"TERM": "xterm"}, (False, True)),
        ("shift_jis", True, {"TERM": "xterm"}, (False, True)),
    ],
)
def test_the_style_is_what_standard_output_can_show(monkeypatch, encoding, is_terminal, environment, expected):
    """
    Colours in a terminal alone, unless NO_COLOR is set; dots where the encoding has them.
    """
    monkeypatch.setattr(sys, "stdout", Output(encoding, is_terminal=is_terminal))
    style = stdout_style(80, environment)
    assert (style.has_braille, style.has_colors) == expected


def test_colours_are_printed_only_where_they_are_wanted(capsys):
    """
    And no colour comes from a text from outside.
    """
    lines = [[("*", "red"), (" \x1b[31mforged", "")]]
    echo_segments(lines, has_colors=False)
    assert capsys.readouterr().out == "* \\u001b[31mforged\n"
    echo_segments(lines, has_colors=True)
    assert capsys.readouterr().out == "\x1b[31m*\x1b[0m \\u001b[31mforged\n"


def test_what_the_encoding_lacks_is_escaped(monkeypatch):
    output = Output("ascii", is_terminal=False)
    monkeypatch.setattr(sys, "stdout", output)
    echo_segments([[("注文", "")]], has_colors=False)
    output.flush()
    assert output.buffer.getvalue() == b"\\u6ce8\\u6587\n"  # type: ignore[attr-defined]  # a BytesIO
