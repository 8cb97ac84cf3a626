"""Charts as pictures for mails, which show no SVG. Their background is transparent: mails are read dark as well."""

import struct
import zlib
from typing import Final

import numpy as np

from toban.charts.plot import BarChart

WIDTH, HEIGHT = 560, 120
"""Pixels of a picture; mails show it at that size."""
SCALE: Final = 2
"""Pixels of the picture for each of those, for sharp screens."""
BLUE: Final = (0x3D, 0x8B, 0xCF, 0xFF)
"""It has enough contrast against white and against black."""
GRAY: Final = (0x80, 0x88, 0x90, 0xFF)
FAINT: Final = (0x80, 0x88, 0x90, 0x50)


def draw_bars(chart: BarChart) -> bytes:
    """Return a picture: bars over a base line, before lines at half and full height."""
    width, height = WIDTH * SCALE, HEIGHT * SCALE
    pixels = np.zeros((height, width, 4), np.uint8)
    base = height - SCALE
    for row in (0, base // 2):
        pixels[row : row + SCALE] = FAINT
    for it in chart.bars():
        left = round(it.left * width)
        right = max(left + 1, round((it.left + it.width) * width))
        pixels[base - round(it.height * base) : base, left:right] = BLUE
    pixels[base:] = GRAY
    return _png(pixels)


def _png(pixels: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]") -> bytes:
    """Return RGBA pixels of shape (rows, columns, 4) as PNG (https://www.w3.org/TR/png-3/)."""
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
