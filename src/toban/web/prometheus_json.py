"""Results as JSON of Prometheus' HTTP API, written many values at a time."""

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from toban.core.query_result import ResultSeries

PIECE: Final = 2**18
"""Bytes of a response that are sent together: one large piece would block the event loop while it is written."""


def sample_text(value: float) -> str:
    """Write a sample's value as Prometheus does in JSON: like a number in JavaScript, but as a string."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        return f"{Decimal(text):f}"
    return text.removesuffix(".0")


def scalar_text(value: float) -> str:
    """Write a scalar as Prometheus does: without an exponent, however long that gets."""
    text = sample_text(value)
    return f"{Decimal(text):f}" if "e" in text else text


def timestamp_seconds(at: int) -> float | int:
    """Return a time in seconds, whole ones without a fraction."""
    return at // 1000 if at % 1000 == 0 else at / 1000


def sample_texts(values: NDArray[np.float64]) -> list[bytes]:
    """Write many values as `sample_text` writes each: together, except for those that need care."""
    if (whole := _whole(values)) is not None:
        return orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    raw = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    texts = raw[1:-1].replace(b".0,", b",").removesuffix(b".0").split(b",")
    if b"e" in raw or b"n" in raw:
        for place, text in enumerate(texts):
            if b"e" in text or text == b"null":
                texts[place] = sample_text(float(values[place])).encode()
    return texts


def _whole(values: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return values as whole numbers if that is what they all are, to the last bit, and none needs an exponent."""
    values = np.ascontiguousarray(values)
    if not (np.abs(values) < 2**53).all():
        return None
    whole = values.astype(np.int64)
    return whole if (whole.astype(np.float64).view(np.int64) == values.view(np.int64)).all() else None


class _Times:
    """Writes timestamps; the series of a result mostly share theirs, so they are written once."""

    def __init__(self) -> None:
        self._last: NDArray[np.int64] = np.empty(0, np.int64)
        self._pairs = b""

    def pairs(self, times: NDArray[np.int64]) -> bytes:
        """Return the pairs of timestamps and values, with a placeholder for each value."""
        if not np.array_equal(times, self._last):
            if (times % 1000).any():
                texts = [repr(timestamp_seconds(at)).encode() for at in times.tolist()]
            else:
                texts = orjson.dumps(times // 1000, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
            self._last, self._pairs = times, b'[%s,"%%b"]' % b',"%b"],['.join(texts)
        return self._pairs


def series_array(series: Sequence[ResultSeries], *, single: bool) -> Iterator[bytes]:
    """Write the series of a vector (``single``) or a matrix as an array of JSON, one after the other."""
    times, separator = _Times(), b"["
    for points in series:
        pairs = times.pairs(points.times) % tuple(sample_texts(points.values))
        kind = b',"value":%s}' if single else b',"values":[%s]}'
        yield b"".join([separator, b'{"metric":', orjson.dumps(points.labels), kind % pairs])
        separator = b","
    yield b"]" if series else b"[]"


def json_list(items: Sequence[Any]) -> bytes:
    """Write a list as JSON, without holding the interpreter for long."""
    slices = (items[first : first + 1000] for first in range(0, len(items), 1000))
    return b"[%s]" % b",".join(orjson.dumps(some)[1:-1] for some in slices)


def join_pieces(written: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces to large ones."""
    waiting, size = list[bytes](), 0
    for piece in written:
        waiting.append(piece)
        size += len(piece)
        if size > PIECE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
