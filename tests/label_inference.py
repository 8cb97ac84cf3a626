"""
The labels that the series of an expression can have, and those that it reads without any series having them.

A matcher, a grouping or a template over a label that no series has is a typing error that nothing else notices: the
result is empty, or one series where several are meant.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from toban.alerting.rule_file import AlertRule, Rule, RuleGroup
from toban.core.labels import NAME
from toban.core.matchers import Matcher, MatchOperator
from toban.core.query_result import ResultType
from toban.core.samples import TARGET_LABELS, MetricFamily, MetricType
from toban.promql.syntax_tree import (
    Aggregation,
    BinaryExpression,
    Call,
    Matching,
    Negation,
    Node,
    NumberLiteral,
    Range,
    Selector,
    StringLiteral,
    Subquery,
    result_type_of,
)

LabelNames = frozenset[str] | None
"""The labels that some series may have; None where they are unknown."""

NONE: LabelNames = frozenset()
SET_OPERATORS = {"and", "or", "unless"}
ALERT_METRICS = {"ALERTS": ("alertname", "alertstate"), "ALERTS_FOR_STATE": ("alertname",)}


def declared_labels(families: Iterable[MetricFamily]) -> dict[str, LabelNames]:
    """Return the labels of each metric that the families have."""
    found: dict[str, LabelNames] = {"up": frozenset(TARGET_LABELS)}
    for family in families:
        labels = None if family.labels is None else frozenset({*family.labels, *family.optional_labels, *TARGET_LABELS})
        if family.type is MetricType.HISTOGRAM:
            found |= {f"{family.name}{part}": labels for part in ("_sum", "_count")}
            found[f"{family.name}_bucket"] = None if labels is None else labels | {"le"}
        else:
            found[family.name] = labels
    return found


@dataclass
class LabelInference:
    """
    The labels of metrics, of recorded series and of ``ALERTS``.

    ``errors`` has a sentence for each label that an expression reads and no series has.
    """

    metrics: dict[str, LabelNames]
    alerts: dict[str, LabelNames] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add_rules(self, groups: Iterable[RuleGroup]) -> dict[str, list[str]]:
        """Infer the labels of the series and alerts of rules; return the errors of each rule that has some."""
        rules = [rule for group in groups for rule in group.rules]
        for rule in rules:
            self._add(rule)
        # Only now are alerts known that a rule before theirs reads.
        errors = {}
        for rule in rules:
            self.errors.clear()
            self._add(rule)
            if self.errors:
                errors[rule.name] = list(self.errors)
        return errors

    def errors_of(self, node: Node) -> list[str]:
        """Return the errors of one expression."""
        self.errors.clear()
        self.of(node)
        return list(self.errors)

    def _add(self, rule: Rule) -> None:
        known = self.alerts if isinstance(rule, AlertRule) else self.metrics
        known[rule.name] = _united(
            known.get(rule.name, NONE), _united(self.of(rule.query.root), frozenset(rule.labels))
        )

    def of(self, node: Node) -> LabelNames:
        """Return the labels of an expression's result, without the name."""
        match node:
            case Selector(matchers=matchers):
                return self._selected(matchers)
            case Range(selector=selector):
                return self.of(selector)
            case Subquery(inner=inner) | Negation(inner=inner):
                return self.of(inner)
            case Aggregation():
                return self._aggregated(node)
            case Call():
                return self._called(node)
            case BinaryExpression():
                return self._combined(node)
            case NumberLiteral() | StringLiteral():
                return NONE

    def require(self, wanted: Iterable[str], existing: LabelNames, where: str) -> None:
        """Note the wanted labels that do not exist."""
        if existing is not None:
            self.errors += [f"{where}: no series has the label {name}" for name in wanted if name not in existing]

    def _selected(self, matchers: Iterable[Matcher]) -> LabelNames:
        others = {it.name: it for it in matchers if it.name != NAME}
        names = [it for it in matchers if it.name == NAME]
        metrics = [name for name in {**self.metrics, **ALERT_METRICS} if all(it.matches({NAME: name}) for it in names)]
        labels = NONE
        for metric in metrics:
            labels = _united(labels, self._of_metric(metric, others.get("alertname")))
        if metrics:
            self.require(others, labels, " or ".join(metrics[:3]))
            return labels
        return None

    def _of_metric(self, metric: str, alertname: Matcher | None) -> LabelNames:
        if metric not in ALERT_METRICS:
            return self.metrics[metric]
        labels: LabelNames = frozenset(ALERT_METRICS[metric])
        for name, own in self.alerts.items():
            if alertname is None or alertname.matches({"alertname": name}):
                labels = _united(labels, own)
        return labels

    def _aggregated(self, node: Aggregation) -> LabelNames:
        inner = self.of(node.inner)
        self.require(node.labels, inner, node.operator)
        if node.operator in {"topk", "bottomk", "limitk", "limit_ratio"}:
            return inner
        added = frozenset({node.parameter.value} if isinstance(node.parameter, StringLiteral) else ())
        if node.without:
            return None if inner is None else inner - set(node.labels) | added
        return frozenset(node.labels) | added

    def _called(self, node: Call) -> LabelNames:
        vectors = [it for it in node.arguments if result_type_of(it) in {ResultType.VECTOR, ResultType.MATRIX}]
        texts = [it.value for it in node.arguments if isinstance(it, StringLiteral)]
        labels = NONE
        for vector in vectors:
            labels = _united(labels, self.of(vector))
        match node.name:
            case "label_replace":
                target, _, source, _ = texts
                self.require({source} - {""}, labels, node.name)
                return _united(labels, frozenset({target}))
            case "label_join":
                target, _, *sources = texts
                self.require(sources, labels, node.name)
                return _united(labels, frozenset({target}))
            case "histogram_quantile":
                self.require(["le"], labels, node.name)
                return None if labels is None else labels - {"le"}
            case "absent" | "absent_over_time":
                return _equal_labels(vectors[0])
            case "scalar" | "vector":
                return NONE
            case _:
                return labels

    def _combined(self, node: BinaryExpression) -> LabelNames:
        left, right = self.of(node.left), self.of(node.right)
        if ResultType.SCALAR in {result_type_of(node.left), result_type_of(node.right)}:
            return _united(left, right)
        matching = node.matching
        # One side may lack a label: a missing label is an empty one.
        self.require(matching.labels, _united(left, right), f"{node.operator} {'on' if matching.on else 'ignoring'}")
        if node.operator in SET_OPERATORS:
            return _united(left, right) if node.operator == "or" else left
        return self._matched(matching, left, right, node.operator)

    def _matched(self, matching: Matching, left: LabelNames, right: LabelNames, operator: str) -> LabelNames:
        if matching.many:
            many, one = (left, right) if matching.many == "left" else (right, left)
            self.require(matching.include, one, f"{operator} group_{matching.many}")
            return _united(many, frozenset(matching.include))
        if matching.on:
            return frozenset(matching.labels)
        return None if left is None else left - set(matching.labels)


def _united(one: LabelNames, other: LabelNames) -> LabelNames:
    return None if one is None or other is None else one | other


def _equal_labels(node: Node) -> LabelNames:
    """Return the labels that `absent` takes from a selector's matchers."""
    match node:
        case Range(selector=inner) | Subquery(inner=inner):
            return _equal_labels(inner)
        case Selector(matchers=matchers):
            return frozenset(it.name for it in matchers if it.operator is MatchOperator.EQUAL and it.name != NAME)
        case _:
            return NONE
