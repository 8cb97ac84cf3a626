"""
The wire format of Loki's push API in protobuf.

The generated classes are large: this module is imported with the first request. Streams, entries and texts are declared
as bytes: what is too much is rejected before it is parsed, and a text that is no UTF-8 is repaired.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import cramjam
from google.protobuf.message import DecodeError

from toban.core.protobuf_messages import FieldType, message_classes
from toban.logs.push.loki_request import AcceptedTimes, PushedEntry, PushedLines, PushError, check_counts, read_streams

MESSAGES: Final = message_classes(
    "loki",
    {
        "Timestamp": (("seconds", 1, FieldType.TYPE_INT64, ""), ("nanos", 2, FieldType.TYPE_INT32, "")),
        "Label": (("name", 1, FieldType.TYPE_BYTES, ""), ("value", 2, FieldType.TYPE_BYTES, "")),
        "Entry": (
            ("timestamp", 1, FieldType.TYPE_MESSAGE, "Timestamp"),
            ("line", 2, FieldType.TYPE_BYTES, ""),
            ("metadata", 3, FieldType.TYPE_BYTES, "*"),
        ),
        "Stream": (("labels", 1, FieldType.TYPE_BYTES, ""), ("entries", 2, FieldType.TYPE_BYTES, "*")),
        "PushRequest": (("streams", 1, FieldType.TYPE_BYTES, "*"),),
    },
)
"""The classes of messages, by name."""


def read_protobuf(body: bytes, limit: int, times: AcceptedTimes) -> PushedLines:
    """Read a request in snappy's block format. Raises ``PushError``, also beyond ``limit`` bytes decompressed."""
    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > limit:
            raise PushError(f"request body too large: {size} bytes, limit: {limit} bytes")
        request = MESSAGES["PushRequest"].FromString(bytes(cramjam.snappy.decompress_raw(body)))
        return read_streams(list(_streams(request.streams)), times)
    except cramjam.DecompressionError as error:
        raise PushError("snappy: corrupt input") from error
    except DecodeError as error:
        raise PushError("not a PushRequest in protobuf") from error


def _streams(raw: Sequence[bytes]) -> Iterator[tuple[str, list[PushedEntry]]]:
    lines = 0
    check_counts(len(raw), lines)
    for stream in map(MESSAGES["Stream"].FromString, raw):
        lines += len(stream.entries)
        check_counts(len(raw), lines)
        yield stream.labels.decode(errors="replace"), [_entry(it) for it in stream.entries]


def _entry(raw: bytes) -> PushedEntry:
    entry = MESSAGES["Entry"].FromString(raw)
    metadata = {
        label.name.decode(errors="replace"): label.value.decode(errors="replace")
        for label in map(MESSAGES["Label"].FromString, entry.metadata)
    }
    at = entry.timestamp.seconds * 1_000_000_000 + entry.timestamp.nanos
    return PushedEntry(at, entry.line.decode(errors="replace"), metadata)
