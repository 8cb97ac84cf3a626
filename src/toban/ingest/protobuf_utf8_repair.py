"""Repairs invalid UTF-8 in a protobuf message: protobuf's own parser rejects the whole message for it."""

from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from toban.ingest.otlp_response import varint
from toban.ingest.utf8_repair import Repair, repaired_utf8

MAX_DEPTH: Final = 100
"""Levels of nested messages: protobuf's own parser rejects deeper ones."""

LENGTH: Final = 2
SIZES: Final = {1: 8, 5: 4}
"""Bytes of a value, by its wire type."""


def repair_message(descriptor: Any, body: memoryview, levels: int = MAX_DEPTH) -> Repair:
    """
    Return a message with U+FFFD for invalid UTF-8 in its strings, nested messages included.

    Raises ``ValueError`` or ``IndexError`` when it is no message of the descriptor.
    """
    if levels == 0:
        raise ValueError("too deep")
    yield
    texts, messages = _fields(descriptor)
    parts, repaired, done, at = list[bytes | memoryview](), 0, 0, 0
    while at < len(body):
        tag, after = _varint(body, at)
        field, wire = tag >> 3, tag & 7
        if wire != LENGTH:
            at = _skipped(body, after, wire)
            continue
        size, first = _varint(body, after)
        at = first + size
        if at > len(body):
            raise ValueError("the message is truncated")
        replaced = 0
        if field in texts:
            inside, replaced = repaired_utf8(bytes(body[first:at]))
        elif field in messages:
            inside, replaced = yield from repair_message(messages[field], body[first:at], levels - 1)
        if replaced:
            parts += body[done:after], varint(len(inside)), inside
            repaired, done = repaired + replaced, at
    return b"".join([*parts, body[done:]]) if repaired else b"", repaired


@cache
def _fields(descriptor: Descriptor) -> tuple[frozenset[int], dict[int, Descriptor]]:
    """Return the string fields of a message, and the descriptors of its message fields."""
    texts = frozenset(field.number for field in descriptor.fields if field.type == FieldDescriptor.TYPE_STRING)
    return texts, {field.number: field.message_type for field in descriptor.fields if field.message_type}


def _skipped(body: memoryview, at: int, wire: int) -> int:
    """Return where a value without length prefix ends."""
    if wire == 0:
        return _varint(body, at)[1]
    if wire not in SIZES:
        raise ValueError(f"wire type {wire}")
    return at + SIZES[wire]


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    """Return an integer, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("an integer without end")
