"""
Message classes of protobuf, declared in Python.

Generated classes parse all of a message at once. Where a part is declared as bytes, a receiver can look at how much
there is before it parses it. protobuf is large: this module is imported with the first request.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FieldType: Final = descriptor_pb2.FieldDescriptorProto
"""Has the types of fields: `TYPE_BYTES`, `TYPE_MESSAGE`, …"""

REPEATED: Final = "*"


def message_classes(package: str, messages: Mapping[str, Sequence[tuple[str, int, int, str]]]) -> dict[str, Any]:
    """
    Return classes by name, given the fields of each message: name, number, type and kind.

    The kind of a message's field is the name of its message. It ends with ``*`` where the field is repeated.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"toban/{package}.proto", package=f"toban.{package}", syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, type_, kind in fields:
            label = FieldType.LABEL_REPEATED if kind.endswith(REPEATED) else FieldType.LABEL_OPTIONAL
            descriptor = message.field.add(name=field, number=number, type=type_, label=label)
            if type_ == FieldType.TYPE_MESSAGE:
                descriptor.type_name = f".toban.{package}.{kind.removesuffix(REPEATED)}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptors = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(descriptors[name]) for name in messages}
