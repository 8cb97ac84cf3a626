"""
Fakes of Loki and VictoriaLogs that store what the sinks push and answer queries, made from their documentation.

Loki refuses a range of more than 30 days and an hour, more than 5,000 lines, and a selector that is empty-compatible;
it adds labels of its own, and stores a line that is sent twice once. VictoriaLogs knows only the part of LogsQL that
toban uses, keeps labels and metadata as fields of one row, and a line that is sent twice twice.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

from tests.fake_http import FakeService, ReceivedRequest, Reply
from tests.fake_log_sinks import FakeLoki, body_of
from tests.fake_logsql import MILLISECOND, LogsqlReader
from toban.core.errors import BadQueryError
from toban.core.matchers import matches_all
from toban.logs.logql.parser import parse, parse_matchers
from toban.logs.logql.records import Record
from toban.logs.logql.stages import compile_stages, run_stages
from toban.logs.logql.syntax_tree import LogQuery, RangeAggregation, VectorAggregation

LONGEST = (30 * 24 + 1) * 3_600 * 1_000 * MILLISECOND
NO_LINE: Any = None

Fields = Mapping[str, str]


class FakeLogEngine(FakeService):
    """What the fakes have in common: pushing, credentials, forms."""

    push = ""
    tenant_header = ""

    def __init__(self, tenant: str = "", authorization: str = "") -> None:
        super().__init__()
        self.tenant = tenant
        self.authorization = authorization
        self._sink = FakeLoki(self.push)

    def respond(self, request: ReceivedRequest) -> Reply:
        """Store lines, or answer a query."""
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return Reply(401, b"invalid credentials\n")
        if self.tenant and request.headers.get(self.tenant_header) != self.tenant:
            return Reply(401, b"no org id\n")
        path, _, arguments = request.path.partition("?")
        if path == self.push:
            for line in self._sink.parse(body_of(request)):
                self.store(line, parse_qs(arguments))
            return Reply(204)
        if request.method != "POST" or (
            request.body and request.headers.get("content-type") != "application/x-www-form-urlencoded"
        ):
            self.mistakes.append(f"{request.method} {request.headers.get('content-type')}")
        form = {name: values[-1] for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()}
        return self.answer(path, form, request)

    def store(self, line: dict[str, Any], arguments: Mapping[str, list[str]]) -> None:
        """Store a line that was pushed."""
        raise NotImplementedError

    def answer(self, path: str, form: Mapping[str, str], request: ReceivedRequest) -> Reply:
        """Answer a query."""
        raise NotImplementedError


class FakeLokiEngine(FakeLogEngine):
    """Loki."""

    push = "/loki/api/v1/push"
    tenant_header = "x-scope-orgid"

    def __init__(self, **settings: str) -> None:
        super().__init__(**settings)
        self.lines: list[tuple[int, dict[str, str], str, dict[str, str]]] = []

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Return success with nothing."""
        return Reply.json({"status": "success"})

    def store(self, line: dict[str, Any], arguments: Mapping[str, list[str]]) -> None:
        labels, metadata = dict(line["labels"]), dict(line["metadata"])
        if set(labels) & set(metadata):
            self.mistakes.append(f"metadata with names of labels: {set(labels) & set(metadata)}")
        labels["service_name"] = labels.get("service", "unknown_service")
        metadata["detected_level"] = labels.get("level", "unknown")
        stored = (line["at"], labels, line["message"], metadata)
        if stored not in self.lines:
            self.lines.append(stored)

    def answer(self, path: str, form: Mapping[str, str], request: ReceivedRequest) -> Reply:
        try:
            match path.removeprefix("/loki/api/v1/"):
                case "query_range":
                    return self._range(
                        form, "categorize-labels" in request.headers.get("x-loki-response-encoding-flags", "")
                    )
                case "query":
                    return self._instant(form)
                case "series":
                    return self._series(form)
                case "labels":
                    return Reply.json({"status": "success", "data": ["level"]})
            return Reply(404, b"404 page not found\n")
        except BadQueryError as error:
            return Reply(400, str(error).encode())

    def _times(self, form: Mapping[str, str]) -> tuple[int, int]:
        start, end = form["start"], form["end"]
        if not ((start.isdecimal() and end.isdecimal() and int(start) < int(end)) or start == end):
            raise BadQueryError(f"invalid times {start} {end}")
        if int(end) - int(start) > LONGEST:
            raise BadQueryError("the query time range exceeds the limit (query length: 100d, limit: 30d1h)")
        return int(start), int(end)

    def _range(self, form: Mapping[str, str], is_categorized: bool) -> Reply:
        start, end = self._times(form)
        query = parse(form["query"])
        if not isinstance(query, LogQuery):
            step = round(float(form["step"]) * 1_000) * MILLISECOND
            series = self._evaluated(query, list(range(start, end + 1, step)))
            result = [
                {"metric": dict(labels), "values": [[at / 1e9, f"{value:g}"] for at, value in points.items()]}
                for labels, points in series.items()
            ]
            return Reply.json({"status": "success", "data": {"resultType": "matrix", "result": result, "stats": {}}})
        if int(form["limit"]) > 5_000:
            raise BadQueryError("max entries limit per query exceeded")
        found = sorted(self._selected(query, start, end), key=lambda it: it[0], reverse=form["direction"] == "backward")
        by_stream = defaultdict(list)
        for at, labels, text, metadata in found[: int(form["limit"])]:
            own = labels if is_categorized else {**labels, **metadata}
            more = [{"structuredMetadata": metadata}] if is_categorized else []
            by_stream[tuple(own.items())].append([str(at), text, *more])
        result = [{"stream": dict(labels), "values": values} for labels, values in by_stream.items()]
        flags = {"encodingFlags": ["categorize-labels"]} if is_categorized else {}
        return Reply.json({"status": "success", "data": {"resultType": "streams", **flags, "result": result}})

    def _instant(self, form: Mapping[str, str]) -> Reply:
        at = int(form["time"])
        query = parse(form["query"])
        if isinstance(query, LogQuery):
            raise BadQueryError("log queries are not supported as an instant query type")
        result = [
            {"metric": dict(labels), "value": [at / 1e9, f"{points[at]:g}"]}
            for labels, points in self._evaluated(query, [at]).items()
        ]
        return Reply.json({"status": "success", "data": {"resultType": "vector", "result": result}})

    def _series(self, form: Mapping[str, str]) -> Reply:
        start, end = self._times(form)
        matchers = parse_matchers(form["match[]"])
        found = {
            tuple(labels.items())
            for at, labels, _, _ in self.lines
            if start <= at < end and matches_all(matchers, labels)
        }
        return Reply.json({"status": "success", "data": [dict(labels) for labels in sorted(found)]})

    def _selected(
        self, query: LogQuery, start: int, end: int
    ) -> Iterator[tuple[int, dict[str, str], str, dict[str, str]]]:
        """Run a query as Loki does: line filters search the text alone."""
        stages = compile_stages(query.stages)
        for at, labels, text, metadata in self.lines:
            record = Record(NO_LINE, text, labels, metadata)
            if start <= at < end and matches_all(query.matchers, labels) and run_stages(stages, record):
                yield at, labels, text, metadata

    def _evaluated(self, query: Any, times: list[int]) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
        if isinstance(query, VectorAggregation):
            assert query.operator == "sum"
            sums: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
            for labels, points in self._evaluated(query.inner, times).items():
                key = tuple(pair for pair in labels if (pair[0] in query.grouping.labels) != query.grouping.without)
                for at, value in points.items():
                    group = sums.setdefault(key, {})
                    group[at] = group.get(at, 0) + value
            return sums
        if not isinstance(query, RangeAggregation) or query.function not in {"count_over_time", "bytes_over_time"}:
            raise BadQueryError("parse error at line 1, col 1: the fake knows no such function")
        found: dict[tuple[tuple[str, str], ...], dict[int, float]] = defaultdict(dict)
        span, offset = query.span * MILLISECOND, query.offset * MILLISECOND
        for at in times:
            # Loki's window is (t - range, t].
            for _, labels, text, metadata in self._selected(query.query, at - offset - span + 1, at - offset + 1):
                points = found[tuple(sorted({**labels, **metadata}.items()))]
                points[at] = points.get(at, 0) + (1 if query.function[0] == "c" else len(text.encode()))
        return found


class FakeVictoriaLogs(FakeLogEngine):
    """VictoriaLogs; `rows` are the fields of lines."""

    push = "/insert/loki/api/v1/push"
    tenant_header = "accountid"

    def __init__(self, **settings: str) -> None:
        super().__init__(**settings)
        self.rows: list[dict[str, Any]] = []
        self.queries: list[str] = []

    def pretended(self, request: ReceivedRequest) -> Reply:
        """Return another thing than rows."""
        return Reply(200, b"<html>hello</html>")

    def store(self, line: dict[str, Any], arguments: Mapping[str, list[str]]) -> None:
        fields = {**line["metadata"], **line["labels"]}
        if len(fields) != len(line["metadata"]) + len(line["labels"]):
            self.mistakes.append("metadata with names of labels")
        message = line["message"]
        if message.startswith("{") and arguments.get("disable_message_parsing") != ["1"]:
            fields |= {name: str(value) for name, value in json.loads(message).items()}
        else:
            fields["_msg"] = message
        stream = ",".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(line["labels"].items())
        )
        row = {name: value for name, value in fields.items() if value}
        self.rows.append({**row, "_stream": f"{{{stream}}}", "_labels": line["labels"], "_at": line["at"]})

    def answer(self, path: str, form: Mapping[str, str], request: ReceivedRequest) -> Reply:
        if path != "/select/logsql/query":
            return Reply(404, b"unsupported path requested\n")
        self.queries.append(form["query"])
        try:
            rows = list(LogsqlReader(form["query"]).run(self.rows))
        except (ValueError, IndexError, KeyError) as error:
            self.mistakes.append(f"{form['query']}: {error!r}")
            return Reply(400, f"cannot parse query [{form['query']}]: {error}\n".encode())
        body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        return Reply(200, body, "application/stream+json")
