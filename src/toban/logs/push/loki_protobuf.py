"""
The wire format of Loki's push API in protobuf.

The generated classes are large: this module is imported with the first request. Streams, entries and texts are declared
as bytes: what is too much is rejected before it is parsed, and a text that is no UTF-8 is repaired.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from toban.logs.push.loki_request import AcceptedTimes, PushedEntry, PushedLines, PushError, check_counts, read_streams


def _messages() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    fields: dict[str, Sequence[tuple[str, int, int, str]]] = {
        "Timestamp": (("seconds", 1, field.TYPE_INT64, ""), ("nanos", 2, field.TYPE_INT32, "")),
        "Label": (("name", 1, field.TYPE_BYTES, ""), ("value", 2, field.TYPE_BYTES, "")),
        "Entry": (
            ("timestamp", 1, field.TYPE_MESSAGE, "Timestamp"),
            ("line", 2, field.TYPE_BYTES, ""),
            ("metadata", 3, field.TYPE_BYTES, "*"),
        ),
        "Stream": (("labels", 1, field.TYPE_BYTES, ""), ("entries", 2, field.TYPE_BYTES, "*")),
        "PushRequest": (("streams", 1, field.TYPE_BYTES, "*"),),
    }
    file = descriptor_pb2.FileDescriptorProto(name="toban/loki.proto", package="toban.loki", syntax="proto3")
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for member, number, type_, kind in members:
            label = field.LABEL_REPEATED if kind == "*" else field.LABEL_OPTIONAL
            descriptor = message.field.add(name=member, number=number, type=type_, label=label)
            if type_ == field.TYPE_MESSAGE:
                descriptor.type_name = f".toban.loki.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptors = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(descriptors[name]) for name in fields}


MESSAGES: Final = _messages()
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
