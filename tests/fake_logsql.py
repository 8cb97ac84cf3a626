"""The part of LogsQL that toban writes, read and run over rows in memory."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from toban.core.matchers import matches_all
from toban.logs.logql.parser import parse_matchers

MILLISECOND = 1_000_000

_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|:=|:~|=~|!~|!=|\[|\)|\(|\{|\}|,|:|=|!|\||[\w.+:-]*\w|\])', re.DOTALL)


class LogsqlReader:
    """The part of LogsQL that toban writes."""

    def __init__(self, text: str) -> None:
        self._tokens, end = [], 0
        while end < len(text.rstrip()):
            found = _TOKEN.match(text, end)
            if not found:
                raise ValueError(f"unexpected {text[end : end + 20]!r}")
            self._tokens.append(found[1])
            end = found.end()
        self._tokens.append("")
        self._place = 0

    @property
    def _next(self) -> str:
        return self._tokens[self._place]

    def _read(self, expected: str = "") -> str:
        token = self._next
        if expected and token != expected:
            raise ValueError(f"{token!r} instead of {expected!r}")
        self._place += 1
        return token

    def _string(self) -> str:
        return json.loads(self._read(), strict=False) if self._next[0] == '"' else self._read()

    def run(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
        """Yield what the query returns of rows."""
        filters = []
        while self._next not in {"|", ""}:
            filters.append(self._filter())
        found = [row for row in rows if all(it(row) for it in filters)]
        while self._next:
            self._read("|")
            match self._read():
                case "sort":
                    for it in ("by", "(", "_time"):
                        self._read(it)
                    is_descending = self._next == "desc" and bool(self._read())
                    self._read(")")
                    found.sort(key=lambda it: it["_at"], reverse=is_descending)
                    if self._next == "limit":
                        self._read()
                        found = found[: int(self._read())]
                case "limit":
                    found = found[: int(self._read())]
                case "stats":
                    yield from self._stats(found)
                    return
        for row in found:
            yield {
                "_time": print_time(row["_at"]),
                **{name: value for name, value in row.items() if name not in {"_at", "_labels"}},
            }

    def _stats(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
        self._read("by")
        self._read("(")
        step = 0
        names = []
        while self._next != ")":
            token = self._read()
            if token.startswith("_time:"):
                step = int(token.removeprefix("_time:").removesuffix("ms")) * MILLISECOND
            elif token != ",":
                names.append(token)
        self._read(")")
        outputs = " ".join(self._tokens[self._place : -1])
        if outputs not in {"count ( ) lines", "count ( ) lines , sum_len ( _msg ) bytes"}:
            raise ValueError(f"stats {outputs}")
        groups: dict[tuple[int, ...], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            groups[(row["_at"] // step * step if step else 0, *(row.get(name, "") for name in names))].append(row)
        for (at, *values), members in groups.items():
            size = sum(len(row.get("_msg", "").encode()) for row in members)
            time = {"_time": print_time(at)} if step else {}
            yield {**time, **dict(zip(names, values, strict=True)), "lines": str(len(members)), "bytes": str(size)}  # type: ignore[dict-item]

    def _filter(self) -> Callable[[Mapping[str, Any]], bool]:
        """Return an ``or`` of filters in parentheses, or one filter."""
        token = self._next
        if token == "!":
            self._read()
            inner = self._filter()
            return lambda row: not inner(row)
        if token == "(":
            return self._group()
        if token == "{":
            return self._stream()
        name = self._string()
        if name == "_time:":
            name, token = "_time", ":"
        if name == "_time":
            return self._time()
        operator, value = self._read(), self._string()
        if operator == ":=":
            return lambda row: row.get(name, "") == value
        if operator != ":~":
            raise ValueError(f"operator {operator}")
        regex = re.compile(value)
        return lambda row: regex.search(row.get(name, "")) is not None

    def _group(self) -> Callable[[Mapping[str, Any]], bool]:
        self._read("(")
        filters, words = [self._filter()], set()
        while self._next != ")":
            words.add(self._read())
            filters.append(self._filter())
        self._read(")")
        if len(words) > 1 or not words <= {"and", "or"}:
            raise ValueError(f"words {words}")
        combined = all if words == {"and"} else any
        return lambda row: combined(it(row) for it in filters)

    def _time(self) -> Callable[[Mapping[str, Any]], bool]:
        if self._next == ":":
            self._read()
        self._read("[")
        start = read_time(self._read())
        self._read(",")
        end = read_time(self._read())
        self._read(")")
        return lambda row: start <= row["_at"] < end

    def _stream(self) -> Callable[[Mapping[str, Any]], bool]:
        self._read("{")
        matchers = []
        while self._next != "}":
            name, operator, value = self._read(), self._read(), self._string()
            matchers.append(f"{name}{operator}{json.dumps(value)}")
            if self._next == ",":
                self._read()
        self._read("}")
        parsed = parse_matchers(f"{{{','.join(matchers)}}}")
        return lambda row: matches_all(parsed, row["_labels"])


def print_time(nanoseconds: int) -> str:
    """Return a time without the zeros at its end, as Go prints it."""
    at = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    fraction = f"{nanoseconds % 10**9:09}".rstrip("0")
    return f"{at:%Y-%m-%dT%H:%M:%S}{f'.{fraction}' if fraction else ''}Z"


def read_time(text: str) -> int:
    """Return the nanoseconds of a time."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(f"{fraction:0<9}")
