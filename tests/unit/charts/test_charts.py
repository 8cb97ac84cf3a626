"""One chart, drawn in each way: the same bars, the same gaps."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.charts import png, svg, terminal
from toban.charts.plot import BarChart, Scale, line, line_in_time

CHART = BarChart([1, None, 4, 0], ("Mon", "Thu"), "4 orders")


def pixels(picture: bytes) -> np.ndarray:
    """Return the alpha of each pixel; the rows of these pictures have no filter."""
    width, height = struct.unpack(">II", picture[16:24])
    place = picture.index(b"IDAT")
    length = struct.unpack(">I", picture[place - 4 : place])[0]
    rows = np.frombuffer(zlib.decompress(picture[place + 4 : place + 4 + length]), np.uint8)
    return rows.reshape(height, 1 + 4 * width)[:, 1:].reshape(height, width, 4)


def test_bars_are_as_high_in_a_picture_in_svg_and_in_a_terminal():
    assert [(place, height) for place, _, _, _, height in svg.rectangles(CHART)] == [(0, 25), (2, 100), (3, 0)]
    assert terminal.draw_bars(CHART) == "Mon ▂ █  Thu  ▕ 4 orders"
    shown = pixels(png.draw_bars(CHART))
    height, width, _ = shown.shape
    blue = (shown[:, :, :3] == png.BLUE[:3]).all(axis=2)
    shares = [blue[:, int((place + 0.5) * width / 4)].sum() / height for place in range(4)]
    assert shares == pytest.approx([0.25, 0, 1, 0], abs=0.02)


def test_the_background_of_a_picture_is_transparent_for_mails_that_are_read_dark():
    shown = pixels(png.draw_bars(CHART))
    assert shown[10, shown.shape[1] * 3 // 8].tolist() == [0, 0, 0, 0]


def test_a_line_is_broken_where_values_or_samples_are_missing():
    scale = Scale(0, 4)
    assert line([0, 4, None, 2], scale) == [[(0, 0), (1 / 3, 1)], [(1, 0.5)]]
    assert line_in_time([0, 1, 2, 9, 10], [0, 4, 4, float("nan"), 2], scale, (0, 10)) == [
        [(0, 0), (0.1, 1), (0.2, 1)],
        [(1, 0.5)],
    ]


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=60))
def test_bars_of_any_values_are_within_the_chart(values):
    for it in BarChart(values).bars():
        assert 0 <= it.left <= it.left + it.width <= 1 + 1e-9
        assert 0 <= it.height <= 1
    assert len(terminal.draw_bars(BarChart(values))) <= 80
    png.draw_bars(BarChart(values))
