"""From a query's result to a rule's: labels and annotations, or the values of a recorded metric."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from toban.alerting.rule_file import AlertRule, RecordingRule
from toban.alerting.states import RuleResult
from toban.alerting.templating.template import NO_EXTERNAL, External, QueryRequired, Template
from toban.alerting.templating.values import TemplateError, TemplateSample
from toban.core.alerts import ALERTNAME
from toban.core.errors import QueryError
from toban.core.input_limits import repair_surrogates
from toban.core.labels import NAME, Labels
from toban.core.ports import RuleEngine
from toban.core.query_result import BatchResult, QueryResult, ResultType

log = structlog.get_logger("toban.alerting")

MAX_QUERIES: Final = 10
"""How many queries the templates of one alert may run."""


async def evaluate_alert_rule(
    rule: AlertRule,
    queried: BatchResult,
    engine: RuleEngine,
    at: int,
    limit: int = 0,
    external: External = NO_EXTERNAL,
) -> dict[Labels, RuleResult]:
    """
    Return the results of a rule at a time (milliseconds), by the labels of their alerts.

    ``queried`` is the result of its query; ``engine`` runs the queries in its templates.

    Raises ``QueryError`` or ``StoreError`` when its query failed, returned more than ``limit`` series (unless that is
    0), or two with the same labels.
    """
    found: dict[Labels, RuleResult] = {}
    query_results: dict[str, Sequence[TemplateSample]] = {}
    for series, value in _values(queried.result, limit):
        # The metric's name is no label of an alert, but templates may read it.
        render = partial(
            _render, labels=series, value=value, engine=engine, at=at, query_results=query_results, external=external
        )
        own_labels = {name: await render(template) for name, template in rule.labels.items()}
        annotations = {name: await render(template) for name, template in rule.annotations.items()}
        labels = Labels({**series.drop(NAME), **own_labels, ALERTNAME: rule.name})
        if labels in found:
            raise QueryError("vector contains metrics with the same labelset after applying alert labels")
        found[labels] = RuleResult(value, annotations, window=rule.window)
    return found


def evaluate_recording_rule(rule: RecordingRule, queried: BatchResult, limit: int = 0) -> dict[Labels, float]:
    """Return the values of the series that a rule records. Raises like ``evaluate_alert_rule``."""
    found: dict[Labels, float] = {}
    for series, value in _values(queried.result, limit):
        labels = Labels({**series, **rule.labels, NAME: rule.name})
        if labels in found:
            raise QueryError("vector contains metrics with the same labelset after applying rule labels")
        found[labels] = value
    return found


def _values(result: QueryResult, limit: int) -> Iterable[tuple[Labels, float]]:
    if result.type not in {ResultType.VECTOR, ResultType.SCALAR}:
        raise QueryError(f"rule result is not a vector or scalar but a {result.type}")
    if limit and len(result.series) > limit:
        raise QueryError(f"exceeded limit of {limit} with {len(result.series)} series")
    return [(points.labels, points.last) for points in result.series]


async def _render(
    template: Template,
    labels: Mapping[str, str],
    value: float,
    engine: RuleEngine,
    at: int,
    query_results: dict[str, Sequence[TemplateSample]],
    external: External,
) -> str:
    """Render a template. An error becomes its text, as in Prometheus: an alert without an annotation still counts."""
    for _ in range(MAX_QUERIES + 1):
        try:
            return repair_surrogates(template.render(labels, value, query_results, external))
        except QueryRequired as required:
            try:
                result = await engine.instant(required.query, at)
            except QueryError as error:
                return f"<error expanding template: query {required.query!r}: {error}>"
            query_results[required.query] = [TemplateSample(points.labels, points.last) for points in result.series]
        except TemplateError as error:
            return f"<error expanding template: {error}>"
        except Exception as error:
            # An unexpected error costs this text only.
            log.exception("template expansion failed", template=template.source)
            return repair_surrogates(f"<error expanding template: {type(error).__name__}: {error}>")
    return f"<error expanding template: more than {MAX_QUERIES} queries>"
