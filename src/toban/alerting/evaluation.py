"""What a rule finds: its query's answer, with labels and texts."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

import structlog

from toban.alerting.rule_file import AlertRule, RecordingRule
from toban.alerting.states import RuleResult
from toban.alerting.templating.template import NOWHERE, External, Template, Wanted
from toban.alerting.templating.values import Found, TemplateError
from toban.core.alerts import ALERTNAME
from toban.core.errors import QueryError
from toban.core.input_limits import repair_surrogates
from toban.core.labels import NAME, Labels
from toban.core.query_result import QueryResult, ResultType
from toban.promql.query_batch import BatchResult

log = structlog.get_logger("toban.alerting")

MOST_QUERIES: Final = 10
"""How many questions the texts of one alert may ask."""


class RuleQueryEngine(Protocol):
    """Answers the questions of rules."""

    async def instant(self, query: str, at: int, *, patience: timedelta | None = None) -> QueryResult:
        """Return what the query comes to at one time (milliseconds). Raises ``QueryError`` or ``StoreError``."""
        ...

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        """Answer the first of some queries, and perhaps some after it. Raises nothing of that."""
        ...


async def evaluate_alert_rule(
    rule: AlertRule, reply: BatchResult, engine: RuleQueryEngine, at: int, limit: int = 0, external: External = NOWHERE
) -> dict[Labels, RuleResult]:
    """
    Return what a rule finds at a time (milliseconds), by the labels of the alerts that it stands for.

    ``reply`` is what came of its query; what its texts ask, ``engine`` is asked.

    Raises ``QueryError`` or ``StoreError`` when its query can't be answered, comes to more than ``limit`` series
    (unless that is 0), or to two with the same labels.
    """
    found: dict[Labels, RuleResult] = {}
    answers: dict[str, Sequence[Found]] = {}
    for series, value in _values(reply.answer, limit):
        given = series.drop(NAME)
        # The name is no label of an alert, and its texts may tell it all the same.
        said = partial(_said, labels=series, value=value, engine=engine, at=at, answers=answers, external=external)
        labels = {name: await said(text) for name, text in rule.labels.items()}
        annotations = {name: await said(text) for name, text in rule.annotations.items()}
        whose = Labels({**given, **labels, ALERTNAME: rule.name})
        if whose in found:
            raise QueryError("vector contains metrics with the same labelset after applying alert labels")
        found[whose] = RuleResult(value, annotations, window=rule.window)
    return found


def evaluate_recording_rule(rule: RecordingRule, reply: BatchResult, limit: int = 0) -> dict[Labels, float]:
    """Return the series that a rule writes down. Raises like ``evaluate_alert_rule``."""
    found: dict[Labels, float] = {}
    for series, value in _values(reply.answer, limit):
        labels = Labels({**series, **rule.labels, NAME: rule.name})
        if labels in found:
            raise QueryError("vector contains metrics with the same labelset after applying rule labels")
        found[labels] = value
    return found


def _values(answer: QueryResult, limit: int) -> Iterable[tuple[Labels, float]]:
    if answer.type not in {ResultType.VECTOR, ResultType.SCALAR}:
        raise QueryError(f"rule result is not a vector or scalar but a {answer.type}")
    if limit and len(answer.series) > limit:
        raise QueryError(f"exceeded limit of {limit} with {len(answer.series)} series")
    return [(points.labels, points.last) for points in answer.series]


async def _said(
    text: Template,
    labels: Mapping[str, str],
    value: float,
    engine: RuleQueryEngine,
    at: int,
    answers: dict[str, Sequence[Found]],
    external: External,
) -> str:
    """Render a text; what goes wrong becomes its text, as in Prometheus: an alert without its text is still one."""
    for _ in range(MOST_QUERIES + 1):
        try:
            return repair_surrogates(text.render(labels, value, answers, external))
        except Wanted as wanted:
            try:
                answer = await engine.instant(wanted.query, at)
            except QueryError as error:
                return f"<error expanding template: query {wanted.query!r}: {error}>"
            answers[wanted.query] = [Found(points.labels, points.last) for points in answer.series]
        except TemplateError as error:
            return f"<error expanding template: {error}>"
        except Exception as error:
            # Whatever a text does costs that text alone.
            log.exception("a text of a rule can't be expanded", text=text.source)
            return repair_surrogates(f"<error expanding template: {type(error).__name__}: {error}>")
    return f"<error expanding template: more than {MOST_QUERIES} queries>"
