"""What OTLP/HTTP says to a body, in the encoding it came in."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import orjson

from toban.ingest.otlp_model import OtlpSignal

INVALID: Final = 3
UNAVAILABLE: Final = 14
"""Codes of google.rpc.Status."""

REJECTED: Final = {
    OtlpSignal.TRACES: "rejectedSpans",
    OtlpSignal.METRICS: "rejectedDataPoints",
    OtlpSignal.LOGS: "rejectedLogRecords",
}


class Encoding(StrEnum):
    """How a body is written, by its type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


@dataclass(frozen=True, slots=True)
class OtlpResponse:
    """What is said to whoever pushed."""

    status: int
    body: bytes
    type: str
    headers: dict[str, str] = field(default_factory=dict)


def success_response(signal: OtlpSignal, encoding: Encoding, rejected: int = 0, reason: str = "") -> OtlpResponse:
    """Say that a body was taken in, all but ``rejected`` of its things."""
    if encoding is Encoding.JSON:
        partial = {"partialSuccess": {REJECTED[signal]: str(rejected), "errorMessage": reason}}
        return OtlpResponse(200, orjson.dumps(partial if rejected else {}), encoding.value)
    partial_success = b"\x08" + varint(rejected) + _text(2, reason)
    return OtlpResponse(200, _field(1, partial_success) if rejected else b"", encoding.value)


def error_response(status: int, encoding: Encoding, code: int, message: str, **headers: str) -> OtlpResponse:
    """Say why a body was not taken in."""
    if encoding is Encoding.JSON:
        body = orjson.dumps({"code": code, "message": message})
    else:
        body = b"\x08" + varint(code) + _text(2, message)
    return OtlpResponse(
        status, body, encoding.value, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, content: bytes) -> bytes:
    """Write a field of protobuf that has a length: these few don't need the generated classes."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Write a number as protobuf does, seven bits a byte."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
