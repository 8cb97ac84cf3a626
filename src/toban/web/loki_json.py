"""Lines as JSON of Loki's HTTP API, written many at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import orjson

from toban.core.query_result import QueryResult, ResultType
from toban.logs.logql.search import FoundLine
from toban.web.prometheus_json import scalar_text, series_array, timestamp_seconds

CATEGORIZE: Final = "categorize-labels"
"""The flag of clients that want to know where the labels of a line come from."""

Streams: TypeAlias = dict[tuple[tuple[str, str], ...], list[FoundLine]]
"""Lines by their label sets."""

VALUES: Final = 250
"""Lines that are written without a pause for other tasks."""


def success(data: Any) -> dict[str, Any]:
    """Return a successful response; without data where there is none, as Loki does."""
    return {"status": "success", "data": data} if data else {"status": "success"}


def streams(lines: Sequence[FoundLine], *, categorize: bool) -> Streams:
    """Return lines by their label sets, in their order; with ``categorize``, by those of their streams."""
    found: Streams = {}
    for line in lines:
        labels = line.stream if categorize else line.labels
        found.setdefault(tuple(sorted(labels.items())), []).append(line)
    return found


def value(line: FoundLine, *, categorize: bool) -> list[Any]:
    """Return a line as an entry of a stream."""
    entry: list[Any] = [str(line.position.nanoseconds), line.text]
    if categorize:
        labels = {"structuredMetadata": line.metadata, "parsed": line.parsed}
        entry.append({kind: dict(found) for kind, found in labels.items() if found})
    return entry


def written_lines(found: Streams, warnings: Sequence[str] = (), *, categorize: bool) -> Iterator[bytes]:
    """Write the response to a query for lines."""
    yield b'{"status":"success",%s"data":{"resultType":"streams",' % _warnings(warnings)
    if categorize:
        yield b'"encodingFlags":["categorize-labels"],'
    yield b'"result":['
    separator = b""
    for labels, entries in found.items():
        yield b'%s{"stream":%s,"values":[' % (separator, orjson.dumps(dict(labels)))
        for first in range(0, len(entries), VALUES):
            some = [value(line, categorize=categorize) for line in entries[first : first + VALUES]]
            yield (b"," if first else b"") + orjson.dumps(some)[1:-1]
        yield b"]}"
        separator = b","
    yield b'],"stats":{}}}'


def written_result(result: QueryResult) -> Iterator[bytes]:
    """Write the response to a query for series."""
    kind = orjson.dumps(result.type.value)
    yield b'{"status":"success",%s"data":{"resultType":%s,"result":' % (_warnings(result.warnings), kind)
    if result.type is ResultType.SCALAR:
        yield orjson.dumps((timestamp_seconds(result.at), scalar_text(result.series[0].last)))
    else:
        yield from series_array(result.series, single=result.type is ResultType.VECTOR)
    yield b',"stats":{}}}'


def _warnings(warnings: Sequence[str]) -> bytes:
    return b'"warnings":%s,' % orjson.dumps(warnings) if warnings else b""
