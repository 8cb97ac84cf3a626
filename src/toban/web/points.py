"""Answers written as Prometheus' HTTP API writes them, much at a time."""

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from toban.core.answers import Points

PIECE: Final = 2**16
"""Bytes of an answer that are sent at once: one large piece would hold the loop for as long as it takes to write."""


def text_of(value: float) -> str:
    """Write a sample's value as Prometheus does in JSON: like a number in JavaScript, but as text."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        return f"{Decimal(text):f}"
    return text.removesuffix(".0")


def plain(value: float) -> str:
    """Write a scalar as Prometheus does: without an exponent, however long that gets."""
    text = text_of(value)
    return f"{Decimal(text):f}" if "e" in text else text


def seconds(at: int) -> float | int:
    """Return a time in seconds, whole ones without a fraction."""
    return at // 1000 if at % 1000 == 0 else at / 1000


def texts_of(values: NDArray[np.float64]) -> list[bytes]:
    """Write many values as `text_of` writes each: all at once, but for those that need care."""
    raw = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    texts = raw[1:-1].replace(b".0,", b",").removesuffix(b".0").split(b",")
    if b"e" in raw or b"n" in raw:
        for place, text in enumerate(texts):
            if b"e" in text or text == b"null":
                texts[place] = text_of(float(values[place])).encode()
    return texts


class _Times:
    """Writes times; the series of an answer mostly share theirs."""

    def __init__(self) -> None:
        self._times: NDArray[np.int64] | None = None
        self._written: list[bytes] = []

    def written(self, times: NDArray[np.int64]) -> list[bytes]:
        """Return what stands before each value."""
        if times is not self._times:
            self._times = times
            self._written = [b'[%s,"' % repr(seconds(at)).encode() for at in times.tolist()]
        return self._written


def pieces(series: Sequence[Points], *, single: bool) -> Iterator[bytes]:
    """Write the series of a vector (``single``) or a matrix as an array of JSON, some at a time."""
    times, waiting, size = _Times(), [b"["], 1
    separator = b""
    for points in series:
        pairs = b'"],'.join(map(bytes.__add__, times.written(points.times), texts_of(points.values))) + b'"]'
        kind = b',"value":%s}' if single else b',"values":[%s]}'
        waiting += [separator, b'{"metric":', orjson.dumps(points.labels), kind % pairs]
        size += len(pairs)
        separator = b","
        if size > PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join([*waiting, b"]"])
