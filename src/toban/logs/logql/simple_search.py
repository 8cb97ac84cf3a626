"""
toban's own search, for people: ``payment failed service:worker``.

- A word, and a phrase in quotes, must occur in the line, in upper or lower case.
- ``name:value`` selects a label of the stream (`level`, `service`, `environment`, `instance`, `context`, `category`) or
  the ``trace_id``; several values are separated by commas.
- ``@name:value`` selects a fact.
- ``-`` before any of these excludes it.

A text that begins with ``{`` is LogQL.
"""

import re
from collections.abc import Iterator
from typing import Final

import re2

from toban.core.matchers import Matcher, MatchOperator
from toban.logs.line_store import TextFilter
from toban.logs.logql.lexer import MAX_LENGTH, ParseError
from toban.logs.logql.parser import parse_log_query, parse_metric_query
from toban.logs.logql.pipeline_parser import MAX_STAGES
from toban.logs.logql.records import STREAM_LABELS, TRACE_ID, label_name
from toban.logs.logql.syntax_tree import LabelFilter, LineFilter, LogQuery, Stage, TextCondition

METRIC_QUERY: Final = (
    'the query is for series: write only its selector and stages, like {level="error"} |= "pay", to see the lines'
)

_TERM: Final = re.compile(
    r'(?P<not>-?)(?:(?P<name>@?[A-Za-z_][\w.]*):(?P<value>"[^"]*"|[^\s"]+)|"(?P<phrase>[^"]*)"|(?P<word>\S+))'
)


def parse_search(text: str) -> LogQuery:
    """Parse a search, or a query in LogQL. Raises ``ParseError``."""
    if text.lstrip().startswith("{"):
        return parse_log_query(text)
    if len(text) > MAX_LENGTH:
        raise ParseError(f"max query length exceeded: {len(text)} > {MAX_LENGTH}")
    if "{" in text and _is_metric_query(text):
        raise ParseError(METRIC_QUERY)
    matchers, stages = list[Matcher](), list[Stage]()
    for term in _terms(text):
        if isinstance(term, Matcher):
            matchers.append(term)
        else:
            stages.append(term)
    if len(stages) + len(matchers) > MAX_STAGES:
        raise ParseError(f"more than {MAX_STAGES} words")
    return LogQuery(tuple(matchers), tuple(stages))


def _is_metric_query(text: str) -> bool:
    try:
        parse_metric_query(text)
    except ParseError:
        return False
    return True


def _terms(text: str) -> Iterator[Matcher | Stage]:
    for found in _TERM.finditer(text):
        is_negated = bool(found["not"])
        name = found["name"] or ""
        if name.startswith("@"):
            yield LabelFilter(TextCondition(_matcher(label_name(name[1:]), found["value"], is_negated=is_negated)))
        elif name == TRACE_ID:
            yield LabelFilter(TextCondition(_matcher(name, found["value"], is_negated=is_negated)))
        elif name in STREAM_LABELS:
            yield _matcher(name, found["value"], is_negated=is_negated)
        else:
            wanted = found["phrase"] if found["phrase"] is not None else found[0].removeprefix("-")
            if wanted:
                yield LineFilter(TextFilter((wanted,), is_negated=is_negated, ignore_case=True))


def _matcher(name: str, value: str, *, is_negated: bool) -> Matcher:
    values = [value[1:-1]] if value.startswith('"') else value.split(",")
    if len(values) == 1:
        return Matcher(name, MatchOperator.NOT_EQUAL if is_negated else MatchOperator.EQUAL, values[0])
    operator = MatchOperator.NOT_REGEX if is_negated else MatchOperator.REGEX
    return Matcher(name, operator, "|".join(re2.escape(it) for it in values))
