"""A bar chart, laid out once, and drawn for pages (SVG), mails (PNG) and terminals."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

WIDTH, HEIGHT = 560, 120
"""Pixels of a picture; mails show it at that size."""
SCALE: Final = 2
"""Pixels of the picture for each of those, for sharp screens."""
GAP: Final = 0.25
"""The share of a bar's place that is empty."""
BLUE: Final = (0x1F, 0x6F, 0xB2)
GRAY: Final = (0x9A, 0xA4, 0xAE)
LINE: Final = (0xD5, 0xDA, 0xDF)
WHITE: Final = (0xFF, 0xFF, 0xFF)
EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: where it begins and ends, and how high it is, as shares of the chart."""

    left: float
    right: float
    height: float


@dataclass(frozen=True, slots=True)
class BarChart:
    """
    Values as bars, one after the other; None is a gap.

    ``names`` are those of the first and the last value, ``highest`` is the text of the highest one.
    """

    values: Sequence[float | None]
    names: tuple[str, str]
    highest: str

    def bars(self) -> Iterator[Bar]:
        """Yield the bars of the values that are known."""
        most = max((it for it in self.values if it is not None), default=0.0) or 1.0
        slot = 1 / max(1, len(self.values))
        for place, value in enumerate(self.values):
            if value is not None:
                left = (place + GAP / 2) * slot
                yield Bar(left, left + (1 - GAP) * slot, max(0.0, value) / most)

    def svg_bars(self) -> list[tuple[float, float, float, float]]:
        """Return x, y, width and height of each bar within 100 × 100."""
        return [
            (
                round(it.left * 100, 2),
                round(100 - it.height * 100, 2),
                round((it.right - it.left) * 100, 2),
                round(it.height * 100, 2),
            )
            for it in self.bars()
        ]

    def png(self) -> bytes:
        """Return a picture: bars over a base line."""
        width, height = WIDTH * SCALE, HEIGHT * SCALE
        pixels = np.full((height, width, 3), WHITE, np.uint8)
        for share in (0.0, 0.5):
            row = min(height - 1, int(share * (height - SCALE)))
            pixels[row : row + 1] = LINE
        base = height - SCALE
        for it in self.bars():
            left, right = int(it.left * width), max(int(it.left * width) + 1, int(it.right * width))
            pixels[base - int(it.height * (base - 1)) : base, left:right] = BLUE
        pixels[base:] = GRAY
        return _png(pixels)

    def text(self, width: int = 72) -> str:
        """Return a line of blocks for a terminal, between the names of the first and the last value."""
        values = list(self.values)[-width:]
        most = max((it for it in values if it is not None), default=0.0) or 1.0
        drawn = "".join(" " if it is None else EIGHTHS[max(0, min(8, round(it / most * 8)))] for it in values)
        return f"{self.names[0]} {drawn} {self.names[1]}  ▕ {self.highest}"


def _png(pixels: "np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]") -> bytes:
    """Return RGB pixels of shape (rows, columns, 3) as PNG (https://www.w3.org/TR/png-3/)."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + width * 3), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, width * 3)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
