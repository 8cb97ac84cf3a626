"""
Remote write 1.0 on the wire: https://prometheus.io/docs/specs/prw/remote_write_spec/.

The classes that read and write it are large: this module is imported when the first request comes or goes.

A label is left as bytes here (on the wire a message and bytes are the same): whoever reads and writes the same series
again and again recognises them without looking inside.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import cramjam
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from toban.core.labels import NAME, Labels
from toban.core.samples import Batch, Layout, MetricFamily, MetricType, is_absent
from toban.remote.remote_write_model import RemoteSample, RemoteSamples, RemoteWriteDecodeError

TYPES: Final = {1: MetricType.COUNTER, 2: MetricType.GAUGE, 3: MetricType.HISTOGRAM, 5: MetricType.SUMMARY}
"""What a metric is, by its number on the wire; what is not here reads like nothing in particular."""

NUMBERS: Final = {sort: number for number, sort in TYPES.items()}

KNOWN: Final = 200_000
"""How many series a reader keeps at hand."""

_VALUED, _NOUGHT, _NOTHING = b"\x12\x10\x09", b"\x12\x07\x10", bytes(8)
"""How a sample begins on the wire, with a value and a time of our days; and where the value is nought and left out."""

_LONG, _SHORT = 18, 9
"""How many bytes each of the two takes."""


def _messages() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    fields: dict[str, Sequence[tuple[str, int, int, str]]] = {
        "Label": (("name", 1, field.TYPE_STRING, ""), ("value", 2, field.TYPE_STRING, "")),
        "Sample": (("value", 1, field.TYPE_DOUBLE, ""), ("timestamp", 2, field.TYPE_INT64, "")),
        "TimeSeries": (
            ("labels", 1, field.TYPE_BYTES, "*"),
            ("samples", 2, field.TYPE_MESSAGE, "Sample"),
            ("histograms", 4, field.TYPE_BYTES, "*"),
        ),
        "Metadata": (
            ("type", 1, field.TYPE_INT32, ""),
            ("name", 2, field.TYPE_STRING, ""),
            ("help", 4, field.TYPE_STRING, ""),
            ("unit", 5, field.TYPE_STRING, ""),
        ),
        "WriteRequest": (
            ("timeseries", 1, field.TYPE_MESSAGE, "TimeSeries"),
            ("metadata", 3, field.TYPE_MESSAGE, "Metadata"),
        ),
        "Unread": (("timeseries", 1, field.TYPE_BYTES, "*"), ("metadata", 3, field.TYPE_MESSAGE, "Metadata")),
    }
    file = descriptor_pb2.FileDescriptorProto(name="toban/remote.proto", package="toban.remote", syntax="proto3")
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for member, number, sort, of in members:
            label = field.LABEL_REPEATED if of else field.LABEL_OPTIONAL
            one = message.field.add(name=member, number=number, type=sort, label=label)
            if sort == field.TYPE_MESSAGE:
                one.type_name = f".toban.remote.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindFileByName(file.name)
    return {name: message_factory.GetMessageClass(found.message_types_by_name[name]) for name in fields}


_MESSAGES: Final = _messages()
_LABEL, _SAMPLE, _SERIES, _METADATA, _REQUEST, _UNREAD = (
    _MESSAGES[name] for name in ("Label", "Sample", "TimeSeries", "Metadata", "WriteRequest", "Unread")
)


class Encoder:
    """Writes batches as requests; ``extra`` labels are given to every series that has not got them."""

    def __init__(self, extra: dict[str, str]) -> None:
        self._extra = extra
        self._known: WeakKeyDictionary[Layout, list[list[bytes]]] = WeakKeyDictionary()

    def encode(self, batches: Iterable[Batch]) -> tuple[bytes, int]:
        """Return one body, packed, and how many samples it holds; a series' samples stand in order of time."""
        grouped: dict[Layout, list[Batch]] = {}
        for batch in batches:
            grouped.setdefault(batch.layout, []).append(batch)
        request, many = _REQUEST(), 0
        for layout, group in grouped.items():
            group.sort(key=lambda batch: batch.at)
            rows = [(batch.at, batch.values.tolist(), is_absent(batch.values).tolist()) for batch in group]
            for place, labels in enumerate(self._labels(layout)):
                samples = [
                    _SAMPLE(value=values[place], timestamp=at) for at, values, absent in rows if not absent[place]
                ]
                if samples:
                    request.timeseries.append(_SERIES(labels=labels, samples=samples))
                    many += len(samples)
        return bytes(cramjam.snappy.compress_raw(request.SerializeToString())), many

    def _labels(self, layout: Layout) -> list[list[bytes]]:
        known = self._known.get(layout)
        if known is None:
            known = self._known[layout] = [_written(Labels({**self._extra, **series})) for series in layout.series]
        return known


def encode(samples: Iterable[RemoteSample], families: Iterable[MetricFamily] = ()) -> bytes:
    """Return one body, packed, that holds some samples, and what is known of metrics."""
    grouped: dict[Labels, list[Any]] = {}
    for sample in samples:
        grouped.setdefault(sample.labels, []).append(_SAMPLE(value=sample.value, timestamp=sample.at))
    request = _REQUEST(
        timeseries=[_SERIES(labels=_written(labels), samples=some) for labels, some in grouped.items()],
        metadata=[_METADATA(type=NUMBERS.get(it.type, 0), name=it.name, help=it.help, unit=it.unit) for it in families],
    )
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def _written(labels: Labels) -> list[bytes]:
    return [_LABEL(name=name, value=value).SerializeToString() for name, value in labels.items()]


class Decoder:
    """
    Reads requests; each series' labels are parsed once.

    Samples stand behind the labels and nearly always take the same bytes: these are read all at once. A request in
    which one is otherwise is read message by message.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Labels] = {}

    def decode(self, packed: bytes, limit: int) -> tuple[RemoteSamples, list[MetricFamily]]:
        """
        Return the samples of a body, and what it tells of metrics.

        Raises ``RemoteWriteDecodeError`` when it is none, longer than ``limit`` unpacked, or all native histograms.
        """
        try:
            if cramjam.snappy.decompress_raw_len(packed) > limit:
                raise RemoteWriteDecodeError(f"more than {limit} bytes: send less at a time")
            data = bytes(cramjam.snappy.decompress_raw(packed))
            request = _UNREAD.FromString(data)
            found = self._at_once(request.timeseries) or _one_by_one(_REQUEST.FromString(data))
        except cramjam.DecompressionError as error:
            raise RemoteWriteDecodeError("snappy: corrupt input") from error
        except DecodeError as error:
            raise RemoteWriteDecodeError("not a WriteRequest in protobuf") from error
        return found, [_family(told) for told in request.metadata if told.name]

    def _at_once(self, messages: Sequence[bytes], *, guess: bool = True) -> RemoteSamples | None:
        """
        Return the samples of some series, or nothing where one of them is written in another way.

        The ``guess`` is that a series has as many as the one before: with labels that are known, that is seen at once.
        """
        series, counts, pieces = list[Labels](), list[int](), list[bytes]()
        many = 1
        for message in messages:
            start = len(message) - _LONG * many
            guessed = guess and start > 0 and message.startswith(_VALUED, start)
            labels = self._known.get(message[:start]) if guessed else None
            if labels is not None:
                pieces.append(message[start:])
            else:
                start, some = _parted(message)
                labels = self._labels(message[:start]) if some else None
                if labels is None:
                    return None
                pieces += some
                many = len(some)
            series.append(labels)
            counts.append(many)
        rows = np.frombuffer(b"".join(pieces), np.uint8).reshape(-1, _LONG)
        if not (rows[:, :3] == np.frombuffer(_VALUED, np.uint8)).all():
            return self._at_once(messages, guess=False)
        time = rows[:, 12:]
        if not ((rows[:, 11] == 0x10) & (time[:, :-1] >= 0x80).all(axis=1) & (time[:, -1] < 0x80)).all():
            return None
        times = ((time & 0x7F).astype(np.int64) << np.arange(0, 7 * time.shape[1], 7)).sum(axis=1)
        values = np.ascontiguousarray(rows[:, 3:11]).view("<f8")[:, 0]
        return RemoteSamples(series, np.repeat(np.arange(len(series)), counts), times, values)

    def _labels(self, message: bytes) -> Labels | None:
        """
        Return the labels of a series without samples, or nothing where it is none.

        Labels and nothing else: what stands behind them in a longer message is read as if it stood alone.
        """
        known = self._known.get(message)
        if known is None:
            try:
                read = _SERIES.FromString(message)
            except DecodeError:
                return None
            if read.samples or read.histograms:
                return None
            if len(self._known) >= KNOWN:
                self._known.clear()
            known = self._known[message] = _read(read.labels)
        return known


def _parted(message: bytes) -> tuple[int, list[bytes]]:
    """Return where the samples at the end of a series begin, if they are written as usual, and these."""
    start, pieces = len(message), list[bytes]()
    while True:
        if start > _LONG and message.startswith(_VALUED, start - _LONG):
            start -= _LONG
            pieces.append(message[start : start + _LONG])
        elif start > _SHORT and message.startswith(_NOUGHT, start - _SHORT):
            start -= _SHORT
            pieces.append(_VALUED + _NOTHING + message[start + 2 : start + _SHORT])
        else:
            return start, pieces[::-1]


def _one_by_one(request: Any) -> RemoteSamples:
    """Return the samples of a request, however they are written."""
    found = []
    for series in request.timeseries:
        if series.samples:
            labels = _read(series.labels)
            found += [RemoteSample(labels, sample.timestamp, sample.value) for sample in series.samples]
    if not found and any(series.histograms for series in request.timeseries):
        raise RemoteWriteDecodeError("native histograms are not known here")
    return RemoteSamples.from_samples(found)


def _family(told: Any) -> MetricFamily:
    return MetricFamily(told.name, TYPES.get(told.type, MetricType.UNKNOWN), told.help, told.unit)


def _read(raw: Sequence[bytes]) -> Labels:
    try:
        pairs = [(label.name, label.value) for label in map(_LABEL.FromString, raw)]
    except DecodeError as error:
        raise RemoteWriteDecodeError("a label is no text") from error
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise RemoteWriteDecodeError(f"a series with a label twice: {', '.join(sorted(names))}")
    if not dict(pairs).get(NAME):
        raise RemoteWriteDecodeError("a series without a metric name")
    if "" in names:
        raise RemoteWriteDecodeError("a label without a name")
    return Labels(pairs)
