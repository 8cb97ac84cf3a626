"""
The wire format of remote write 1.0: https://prometheus.io/docs/specs/prw/remote_write_spec/.

The generated protobuf classes are large: this module is imported with the first request.

Labels are declared as bytes here (a message and bytes are the same on the wire): the encoder and the decoder recognise
a series that they have seen without parsing it again.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import cramjam
import numpy as np
from google.protobuf.message import DecodeError

from toban.core.labels import NAME, Labels
from toban.core.protobuf_messages import FieldType, message_classes
from toban.core.samples import Batch, Layout, MetricFamily, MetricType, is_absent
from toban.remote.remote_write_model import RemoteSample, RemoteSamples, RemoteWriteDecodeError

TYPES: Final = {1: MetricType.COUNTER, 2: MetricType.GAUGE, 3: MetricType.HISTOGRAM, 5: MetricType.SUMMARY}
"""Metric types by their number on the wire; other numbers are read as unknown."""

TYPE_NUMBERS: Final = {type_: number for number, type_ in TYPES.items()}

CACHED_SERIES: Final = 200_000
"""Series whose parsed labels a decoder caches."""

_WITH_VALUE, _WITHOUT_VALUE, _ZERO = b"\x12\x10\x09", b"\x12\x07\x10", bytes(8)
"""The first bytes of a sample with a present-day time; without a value when that is zero, and the omitted zero."""

_LONG, _SHORT = 18, 9
"""Bytes of a sample with and without a value."""

_MESSAGES: Final = message_classes(
    "remote",
    {
        "Label": (("name", 1, FieldType.TYPE_STRING, ""), ("value", 2, FieldType.TYPE_STRING, "")),
        "Sample": (("value", 1, FieldType.TYPE_DOUBLE, ""), ("timestamp", 2, FieldType.TYPE_INT64, "")),
        "TimeSeries": (
            ("labels", 1, FieldType.TYPE_BYTES, "*"),
            ("samples", 2, FieldType.TYPE_MESSAGE, "Sample*"),
            ("histograms", 4, FieldType.TYPE_BYTES, "*"),
        ),
        "Metadata": (
            ("type", 1, FieldType.TYPE_INT32, ""),
            ("name", 2, FieldType.TYPE_STRING, ""),
            ("help", 4, FieldType.TYPE_STRING, ""),
            ("unit", 5, FieldType.TYPE_STRING, ""),
        ),
        "WriteRequest": (
            ("timeseries", 1, FieldType.TYPE_MESSAGE, "TimeSeries*"),
            ("metadata", 3, FieldType.TYPE_MESSAGE, "Metadata*"),
        ),
        "RawRequest": (
            ("timeseries", 1, FieldType.TYPE_BYTES, "*"),
            ("metadata", 3, FieldType.TYPE_MESSAGE, "Metadata*"),
        ),
    },
)
_LABEL, _SAMPLE, _SERIES, _METADATA, _REQUEST, _RAW_REQUEST = (
    _MESSAGES[name] for name in ("Label", "Sample", "TimeSeries", "Metadata", "WriteRequest", "RawRequest")
)


class Encoder:
    """Encodes batches as requests; ``extra`` labels are added to every series that does not have them."""

    def __init__(self, extra: dict[str, str]) -> None:
        self._extra = extra
        self._encoded: WeakKeyDictionary[Layout, list[list[bytes]]] = WeakKeyDictionary()

    def encode(self, batches: Iterable[Batch]) -> tuple[bytes, int]:
        """Return a compressed body and its number of samples; the samples of a series are in order of time."""
        grouped: dict[Layout, list[Batch]] = {}
        for batch in batches:
            grouped.setdefault(batch.layout, []).append(batch)
        request, count = _REQUEST(), 0
        for layout, group in grouped.items():
            group.sort(key=lambda batch: batch.at)
            rows = [(batch.at, batch.values.tolist(), is_absent(batch.values).tolist()) for batch in group]
            for place, labels in enumerate(self._labels(layout)):
                samples = [
                    _SAMPLE(value=values[place], timestamp=at) for at, values, absent in rows if not absent[place]
                ]
                if samples:
                    request.timeseries.append(_SERIES(labels=labels, samples=samples))
                    count += len(samples)
        return bytes(cramjam.snappy.compress_raw(request.SerializeToString())), count

    def _labels(self, layout: Layout) -> list[list[bytes]]:
        encoded = self._encoded.get(layout)
        if encoded is None:
            encoded = self._encoded[layout] = [
                _encode_labels(Labels({**self._extra, **series})) for series in layout.series
            ]
        return encoded


def encode(samples: Iterable[RemoteSample], families: Iterable[MetricFamily] = ()) -> bytes:
    """Return a compressed body of some samples, with the metadata of some metric families."""
    grouped: dict[Labels, list[Any]] = {}
    for sample in samples:
        grouped.setdefault(sample.labels, []).append(_SAMPLE(value=sample.value, timestamp=sample.at))
    request = _REQUEST(
        timeseries=[_SERIES(labels=_encode_labels(labels), samples=rows) for labels, rows in grouped.items()],
        metadata=[
            _METADATA(type=TYPE_NUMBERS.get(it.type, 0), name=it.name, help=it.help, unit=it.unit) for it in families
        ],
    )
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def _encode_labels(labels: Labels) -> list[bytes]:
    return [_LABEL(name=name, value=value).SerializeToString() for name, value in labels.items()]


class Decoder:
    """
    Decodes requests; the labels of each series are parsed once.

    Samples follow the labels and nearly always take the same number of bytes: these are decoded all at once with numpy.
    A request in which one differs is decoded message by message.
    """

    def __init__(self) -> None:
        self._labels_of: dict[bytes, Labels] = {}

    def decode(self, body: bytes, limit: int) -> tuple[RemoteSamples, list[MetricFamily]]:
        """
        Return the samples of a body, and its metric families.

        Raises ``RemoteWriteDecodeError`` when it is invalid, longer than ``limit`` decompressed, or has native
        histograms only.
        """
        try:
            if cramjam.snappy.decompress_raw_len(body) > limit:
                raise RemoteWriteDecodeError(f"more than {limit} bytes decompressed: send fewer samples in one request")
            data = bytes(cramjam.snappy.decompress_raw(body))
            request = _RAW_REQUEST.FromString(data)
            samples = self._decode_at_once(request.timeseries) or _decode_one_by_one(_REQUEST.FromString(data))
        except cramjam.DecompressionError as error:
            raise RemoteWriteDecodeError("snappy: corrupt input") from error
        except DecodeError as error:
            raise RemoteWriteDecodeError("not a WriteRequest in protobuf") from error
        return samples, [_family(metadata) for metadata in request.metadata if metadata.name]

    def _decode_at_once(self, messages: Sequence[bytes], *, guess: bool = True) -> RemoteSamples | None:
        """
        Return the samples of some series, or None when one of them is encoded in another way.

        The ``guess`` is that a series has as many samples as the one before: if its labels are cached, that is right.
        """
        series, counts, pieces = list[Labels](), list[int](), list[bytes]()
        count = 1
        for message in messages:
            start = len(message) - _LONG * count
            guessed = guess and start > 0 and message.startswith(_WITH_VALUE, start)
            labels = self._labels_of.get(message[:start]) if guessed else None
            if labels is not None:
                pieces.append(message[start:])
            else:
                start, samples = _split_samples(message)
                labels = self._labels(message[:start]) if samples else None
                if labels is None:
                    return None
                pieces += samples
                count = len(samples)
            series.append(labels)
            counts.append(count)
        rows = np.frombuffer(b"".join(pieces), np.uint8).reshape(-1, _LONG)
        if not (rows[:, :3] == np.frombuffer(_WITH_VALUE, np.uint8)).all():
            return self._decode_at_once(messages, guess=False)
        time = rows[:, 12:]
        if not ((rows[:, 11] == 0x10) & (time[:, :-1] >= 0x80).all(axis=1) & (time[:, -1] < 0x80)).all():
            return None
        times = ((time & 0x7F).astype(np.int64) << np.arange(0, 7 * time.shape[1], 7)).sum(axis=1)
        values = np.ascontiguousarray(rows[:, 3:11]).view("<f8")[:, 0]
        return RemoteSamples(series, np.repeat(np.arange(len(series)), counts), times, values)

    def _labels(self, message: bytes) -> Labels | None:
        """
        Return the labels of the first part of a series message, or None when it is more than labels.

        The samples behind that part are decoded separately.
        """
        labels = self._labels_of.get(message)
        if labels is None:
            try:
                series = _SERIES.FromString(message)
            except DecodeError:
                return None
            if series.samples or series.histograms:
                return None
            if len(self._labels_of) >= CACHED_SERIES:
                self._labels_of.clear()
            labels = self._labels_of[message] = _decode_labels(series.labels)
        return labels


def _split_samples(message: bytes) -> tuple[int, list[bytes]]:
    """Return where the samples at the end of a series message begin, and these, if they are encoded as usual."""
    start, pieces = len(message), list[bytes]()
    while True:
        if start > _LONG and message.startswith(_WITH_VALUE, start - _LONG):
            start -= _LONG
            pieces.append(message[start : start + _LONG])
        elif start > _SHORT and message.startswith(_WITHOUT_VALUE, start - _SHORT):
            start -= _SHORT
            pieces.append(_WITH_VALUE + _ZERO + message[start + 2 : start + _SHORT])
        else:
            return start, pieces[::-1]


def _decode_one_by_one(request: Any) -> RemoteSamples:
    """Return the samples of a request, however they are encoded."""
    samples = []
    for series in request.timeseries:
        if series.samples:
            labels = _decode_labels(series.labels)
            samples += [RemoteSample(labels, sample.timestamp, sample.value) for sample in series.samples]
    if not samples and any(series.histograms for series in request.timeseries):
        raise RemoteWriteDecodeError("native histograms are not supported")
    return RemoteSamples.from_samples(samples)


def _family(metadata: Any) -> MetricFamily:
    return MetricFamily(metadata.name, TYPES.get(metadata.type, MetricType.UNKNOWN), metadata.help, metadata.unit)


def _decode_labels(raw: Sequence[bytes]) -> Labels:
    try:
        pairs = [(label.name, label.value) for label in map(_LABEL.FromString, raw)]
    except DecodeError as error:
        raise RemoteWriteDecodeError("a label is not valid UTF-8") from error
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise RemoteWriteDecodeError(f"a series has a label twice: {', '.join(sorted(names))}")
    if not dict(pairs).get(NAME):
        raise RemoteWriteDecodeError("a series has no metric name")
    if "" in names:
        raise RemoteWriteDecodeError("a label has no name")
    return Labels(pairs)
