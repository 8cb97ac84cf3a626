"""Repairs the texts of a message in protobuf, whose own reader refuses the whole for one that is no UTF-8."""

from functools import cache
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from toban.ingest.otlp_response import varint
from toban.ingest.utf8_repair import Repair, repaired_utf8

DEEPEST: Final = 100
"""How deep messages stand in messages: their own reader refuses what is deeper."""

LENGTH: Final = 2
SIZES: Final = {1: 8, 5: 4}
"""How many bytes a value has, by its wire type."""


def repair_message(sort: Any, body: memoryview, levels: int = DEEPEST) -> Repair:
    """
    Return a message with U+FFFD in place of what is no UTF-8 in its texts, those of the messages within it too.

    ``sort`` is its descriptor.

    Raises ``ValueError`` or ``IndexError`` where it is no such message.
    """
    if levels == 0:
        raise ValueError("too deep")
    yield
    texts, messages = _fields(sort)
    parts, many, done, at = list[bytes | memoryview](), 0, 0, 0
    while at < len(body):
        tag, after = _varint(body, at)
        field, wire = tag >> 3, tag & 7
        if wire != LENGTH:
            at = _skipped(body, after, wire)
            continue
        size, first = _varint(body, after)
        at = first + size
        if at > len(body):
            raise ValueError("it is cut off")
        replaced = 0
        if field in texts:
            inside, replaced = repaired_utf8(bytes(body[first:at]))
        elif field in messages:
            inside, replaced = yield from repair_message(messages[field], body[first:at], levels - 1)
        if replaced:
            parts += body[done:after], varint(len(inside)), inside
            many, done = many + replaced, at
    return b"".join([*parts, body[done:]]) if many else b"", many


@cache
def _fields(sort: Descriptor) -> tuple[frozenset[int], dict[int, Descriptor]]:
    """Return which fields of a message are texts, and which are messages of what sort."""
    texts = frozenset(field.number for field in sort.fields if field.type == FieldDescriptor.TYPE_STRING)
    return texts, {field.number: field.message_type for field in sort.fields if field.message_type}


def _skipped(body: memoryview, at: int, wire: int) -> int:
    """Return where a value ends that has no length of its own."""
    if wire == 0:
        return _varint(body, at)[1]
    if wire not in SIZES:
        raise ValueError(f"wire type {wire}")
    return at + SIZES[wire]


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    found = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            return found, at
    raise ValueError("a number that does not end")
