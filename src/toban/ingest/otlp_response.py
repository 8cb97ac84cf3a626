"""OTLP/HTTP responses, in the encoding of the request."""

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
    """The encoding of a body: its content type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


@dataclass(frozen=True, slots=True)
class OtlpResponse:
    """A response to the exporter."""

    status: int
    body: bytes
    type: str
    headers: dict[str, str] = field(default_factory=dict)


def success_response(signal: OtlpSignal, encoding: Encoding, rejected: int = 0, reason: str = "") -> OtlpResponse:
    """Return the response to an accepted request, of which some items may be ``rejected``."""
    if encoding is Encoding.JSON:
        partial = {"partialSuccess": {REJECTED[signal]: str(rejected), "errorMessage": reason}}
        return OtlpResponse(200, orjson.dumps(partial if rejected else {}), encoding.value)
    partial_success = b"\x08" + varint(rejected) + _text(2, reason)
    return OtlpResponse(200, _field(1, partial_success) if rejected else b"", encoding.value)


def error_response(status: int, encoding: Encoding, code: int, message: str, **headers: str) -> OtlpResponse:
    """Return the response to a rejected request."""
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
    """Encode a protobuf field with a length: these few don't need the generated classes."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Encode an integer as protobuf does, seven bits a byte."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
