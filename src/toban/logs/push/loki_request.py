"""Requests of Loki's push API: https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from toban.core.errors import BadQueryError, TobanError
from toban.core.input_limits import repair_surrogates
from toban.core.log_line import LogLine
from toban.core.matchers import MatchOperator
from toban.logs.line_parser import Reading, line_format
from toban.logs.logql.parser import parse_matchers
from toban.logs.push.pushed_line import pushed_line, time_of

MAX_LINES: Final = 50_000
"""Lines of one request."""
MAX_STREAMS: Final = 10_000
MAX_LABELS: Final = 30
MAX_NAME: Final = 1_024
MAX_VALUE: Final = 2_048
"""Characters of a label's name and value, as in Loki."""
MAX_METADATA: Final = 128
"""Structured metadata of one line, as in Loki."""
MAX_LINE: Final = 256 * 1024
"""Characters of a line, as in Loki."""
MAX_BRACKETS: Final = 400_000
"""Opening brackets in JSON: each takes a hundred bytes of memory once it is parsed."""
MAX_AHEAD: Final = timedelta(minutes=10)
"""How far in the future a line may be, as in Loki."""

_NANOSECONDS: Final = re.compile(r"-?[0-9]{1,19}")


class PushError(TobanError):
    """A request that is invalid, or lines of it that were rejected."""


@dataclass(frozen=True, slots=True)
class PushedEntry:
    """A line of a stream: nanoseconds since the epoch, a text, and structured metadata."""

    at: int
    text: str
    metadata: Mapping[str, str]


@dataclass(slots=True)
class PushedLines:
    """The lines of a request that are accepted; how many others were rejected, by reason."""

    lines: list[LogLine] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def error(self) -> str:
        """Return why lines were rejected, as Loki writes it; empty when none was."""
        return "; ".join(f"{count} errors like: {reason}" for reason, count in self.rejected.items())


@dataclass(frozen=True, slots=True)
class AcceptedTimes:
    """The times that lines may have."""

    oldest: datetime
    newest: datetime


def read_json(body: bytes, times: AcceptedTimes) -> PushedLines:
    """Read a request in JSON. Raises ``PushError``."""
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        raise PushError(f"more than {MAX_LINES} lines in one request: send fewer")
    try:
        content = orjson.loads(body)
    except ValueError as error:
        raise PushError(f"invalid JSON: {error}") from error
    streams = content.get("streams") if isinstance(content, dict) else None
    if not isinstance(streams, list):
        raise PushError("loghttp.PushRequest.Streams: must be an array")
    found = PushedLines()
    count = 0
    for place, stream in enumerate(streams):
        where = f"streams[{place}]"
        if not isinstance(stream, dict) or not isinstance(stream.get("stream"), dict):
            raise PushError(f"loghttp.PushRequest.Streams: {where}: must have a `stream` with labels")
        values = stream.get("values")
        if not isinstance(values, list):
            raise PushError(f"loghttp.PushRequest.Streams: {where}.values: must be an array")
        count += len(values)
        check_counts(place + 1, count)
        labels = {repair_surrogates(name): value for name, value in stream["stream"].items()}
        if not all(isinstance(value, str) for value in labels.values()):
            raise PushError(f"loghttp.PushRequest.Streams: {where}.stream: labels must have strings")
        _add(found, labels, _json_entries(values, where), times)
    if not streams:
        raise PushError("error at least one valid stream is required for ingestion")
    return found


def _json_entries(values: list[Any], where: str) -> Iterator[PushedEntry]:
    for place, entry in enumerate(values):
        at = f"loghttp.PushRequest.Streams: {where}.values[{place}]"
        if not isinstance(entry, list) or len(entry) not in {2, 3}:
            raise PushError(f"{at}: must be an array of a time, a line, and perhaps structured metadata")
        time, text, metadata = (*entry, {})[:3]
        if not isinstance(time, str) or not _NANOSECONDS.fullmatch(time):
            raise PushError(f"{at}: the time must be a string of nanoseconds")
        if not isinstance(text, str):
            raise PushError(f"{at}: the line must be a string")
        if not isinstance(metadata, dict) or not all(isinstance(it, str) for it in metadata.values()):
            raise PushError(f"{at}: structured metadata must be an object with strings")
        yield PushedEntry(int(time), text, metadata)


def read_streams(streams: list[tuple[str, list[PushedEntry]]], times: AcceptedTimes) -> PushedLines:
    """Read streams, of which each has its labels as ``{name="value"}``. Raises ``PushError``."""
    if not streams:
        raise PushError("error at least one valid stream is required for ingestion")
    found = PushedLines()
    for text, entries in streams:
        _add(found, _labels(text), iter(entries), times)
    return found


def check_counts(streams: int, lines: int) -> None:
    """Raise ``PushError`` when a request has too many streams or lines."""
    if streams > MAX_STREAMS:
        raise PushError(f"more than {MAX_STREAMS} streams in one request: send fewer")
    if lines > MAX_LINES:
        raise PushError(f"more than {MAX_LINES} lines in one request: send fewer")


def _labels(text: str) -> dict[str, str]:
    try:
        matchers = parse_matchers(text)
        if not all(it.operator is MatchOperator.EQUAL for it in matchers):
            raise PushError(f"Error parsing labels '{text[:500]}' with error: labels must have values")
    except BadQueryError as error:
        raise PushError(f"Error parsing labels '{text[:500]}' with error: {error}") from error
    labels = {it.name: it.value for it in matchers}
    if len(labels) != len(matchers):
        raise PushError(f"stream '{text[:500]}' has duplicate label name")
    return labels


def _add(found: PushedLines, labels: Mapping[str, str], entries: Iterator[PushedEntry], times: AcceptedTimes) -> None:
    """Add the entries of a stream that are valid."""
    shown = "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()))[:500] + "}"
    invalid = _invalid_labels(labels, shown)
    for entry in entries:
        reason = invalid
        if not reason:
            line, reason = _line(entry, labels, shown, times)
            if line:
                found.lines.append(line)
        if reason:
            found.rejected[reason if len(found.rejected) < 20 or reason in found.rejected else "and others"] += 1


def _invalid_labels(labels: Mapping[str, str], shown: str) -> str:
    if not labels:
        return "error at least one label pair is required per stream"
    if len(labels) > MAX_LABELS:
        return f"entry for stream '{shown}' has {len(labels)} label names; limit {MAX_LABELS}"
    for name, value in labels.items():
        if len(name) > MAX_NAME:
            return f"stream '{shown}' has label name too long: '{name[:100]}'"
        if len(value) > MAX_VALUE:
            return f"stream '{shown}' has label value too long: '{value[:100]}'"
    return ""


def _line(
    entry: PushedEntry, labels: Mapping[str, str], shown: str, times: AcceptedTimes
) -> tuple[LogLine | None, str]:
    """Return the line of an entry, or why it is rejected."""
    try:
        at = time_of(entry.at)
    except OverflowError:
        return None, f"entry for stream '{shown}' has timestamp out of range"
    if at < times.oldest:
        return None, (
            f"entry for stream '{shown}' has timestamp too old: {at:%Y-%m-%dT%H:%M:%SZ},"
            f" oldest acceptable timestamp is: {times.oldest:%Y-%m-%dT%H:%M:%SZ}"
        )
    if at > times.newest:
        return None, f"entry for stream '{shown}' has timestamp too new: {at:%Y-%m-%dT%H:%M:%SZ}"
    if len(entry.text) > MAX_LINE:
        return None, (
            f"Max entry size '{MAX_LINE}' bytes exceeded for stream '{shown}' "
            f"while adding an entry with length '{len(entry.text)}' bytes"
        )
    if len(entry.metadata) > MAX_METADATA:
        return None, (
            f"stream '{shown}' has too many structured metadata labels: '{len(entry.metadata)}', "
            f"limit: '{MAX_METADATA}'"
        )
    parsed = line_format().parse(entry.text, Reading(at))
    return pushed_line(parsed, at, {**entry.metadata, **labels}), ""
