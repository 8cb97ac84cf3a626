"""Rules, as Prometheus' rule files write them: https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from toban.alerting.templating.template import Template
from toban.alerting.templating.values import TemplateError
from toban.core.config_types import Section, parse_duration, readable_error
from toban.core.errors import SettingsError
from toban.core.labels import NAME, is_label_name, is_metric_name
from toban.core.yaml_loader import load_yaml
from toban.promql import parser
from toban.promql.syntax_tree import ParsedQuery, Range, selectors, walk

LONGEST_WINDOW: Final = timedelta(minutes=20)
"""How long an alert is taken at most for what came of something that is over."""

LARGEST: Final = 4_000_000
"""Characters: what is longer is no rule file."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """
    What fires an alert for each series that its query comes to.

    ``for_`` is how long that must be so (``for``), ``keep_firing_for`` how long it goes on firing when it no longer is.
    """

    name: str
    query: ParsedQuery
    for_: timedelta = timedelta()
    keep_firing_for: timedelta = timedelta()
    labels: Mapping[str, Template] = field(default_factory=dict)
    annotations: Mapping[str, Template] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """
        What its alerts are remembered under: its name and its labels as they are written.

        So an edited query, limit or text goes on with the alerts it has, as in Prometheus; one that was renamed, or
        whose labels were edited, resolves them and begins anew.
        """
        labels = ",".join(f"{name}={self.labels[name].source}" for name in sorted(self.labels))
        return f"{self.name}{{{labels}}}"

    @property
    def window(self) -> timedelta:
        """The shortest range that its query reads: what is over may be seen in it for so long."""
        spans = [node.span for node in walk(self.query.root) if isinstance(node, Range)]
        return min(timedelta(milliseconds=min(spans, default=0)), LONGEST_WINDOW)

    @property
    def is_about_targets(self) -> bool:
        """Whether it tells that a target can't be collected: its query reads ``up``."""
        selected = (matcher for it in selectors(self.query.root) for matcher in it.matchers)
        return any(matcher.name == NAME and matcher.value == "up" for matcher in selected)

    @property
    def severity(self) -> str:
        """Its label ``severity``, as it is written."""
        return self.labels["severity"].source if "severity" in self.labels else "warning"


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """What writes down a query's answer as series of its own."""

    name: str
    query: ParsedQuery
    labels: Mapping[str, str] = field(default_factory=dict)


Rule = AlertRule | RecordingRule


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """
    Rules that are judged one after the other, at the same time.

    ``interval`` is nothing where the file leaves it to the settings. ``limit`` is how many series or alerts one of its
    rules may come to, 0 for no limit. ``file`` tells where it was read. ``outside`` says that the outside engine
    answers its questions.
    """

    name: str
    file: str
    rules: Sequence[Rule]
    interval: timedelta | None = None
    limit: int = 0
    outside: bool = False

    @property
    def alerts(self) -> Iterator[AlertRule]:
        """Those of its rules that fire alerts."""
        return (rule for rule in self.rules if isinstance(rule, AlertRule))


Length = Annotated[timedelta, BeforeValidator(partial(parse_duration, zero=True))]
"""A duration that may be zero."""


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is no text")


Text = Annotated[str, BeforeValidator(_text)]
"""A text, empty where nothing is written."""


class RuleFileSection(Section):
    """A part of a rule file; also an entry of a list without a value is as if it were not there."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_entries(cls, written: Any) -> Any:
        if written is None:
            return {}
        if isinstance(written, Mapping):
            return {key: _without_none(it) if key in {"groups", "rules"} else it for key, it in written.items()}
        return written


def _without_none(entries: Any) -> Any:
    return [entry for entry in entries if entry is not None] if isinstance(entries, list) else entries


class _Rule(RuleFileSection):
    """One rule in a file."""

    record: str = ""
    alert: str = ""
    expr: Text = ""
    hold: Length = Field(default=timedelta(), alias="for")
    keep_firing_for: Length = timedelta()
    labels: dict[str, Text] = Field(default_factory=dict)
    annotations: dict[str, Text] = Field(default_factory=dict)


class _Group(RuleFileSection):
    """One group in a file."""

    name: Annotated[str, Field(min_length=1)]
    interval: Length | None = None
    limit: Annotated[int, Field(ge=0)] = 0
    query_offset: Literal["0s"] | None = None
    engine: Literal["embedded", "outside"] = "embedded"
    labels: dict[str, Text] = Field(default_factory=dict)
    rules: tuple[_Rule, ...] = ()


class _File(RuleFileSection):
    """A rule file."""

    groups: tuple[_Group, ...] = ()


def parse_rule_file(text: str, where: str) -> list[RuleGroup]:
    """
    Read a rule file. Raises ``SettingsError`` that names every mistake with its place.

    ``where`` is the file, for messages.
    """
    if len(text) > LARGEST:
        raise SettingsError(f"{where}: longer than {LARGEST} characters: that is no rule file")
    try:
        raw = load_yaml(text)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error
    if isinstance(raw, dict) and {"apiVersion", "kind", "spec"} <= raw.keys():
        raise SettingsError(f"{where}: this is a resource of Kubernetes: a rule file is what stands under its `spec`")
    try:
        found = _File.model_validate(raw)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{where}: {_told(one, raw)}" for one in error.errors())) from error
    mistakes: list[str] = []
    groups = [_group(one, where, mistakes) for one in found.groups]
    names = [group.name for group in groups]
    mistakes += [f"group {name!r} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if mistakes:
        raise SettingsError("\n".join(f"{where}: {mistake}" for mistake in mistakes))
    return groups


def _told(details: Any, raw: Any) -> str:
    """Say a mistake of the file's form at its place, with the rule's name where it has one."""
    place, here, named = "", raw, ""
    for step in details["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
        here = here[step] if _has(here, step) else None
        if isinstance(here, Mapping):
            named = str(here.get("alert") or here.get("record") or here.get("name") or named)
    said = "is no key of a rule file" if details["type"] == "extra_forbidden" else readable_error(details)
    return f"{place}{f' ({named})' if named else ''}: {said}"


def _has(here: Any, step: Any) -> bool:
    return (isinstance(here, Mapping) and step in here) or (isinstance(here, Sequence) and isinstance(step, int))


def _group(raw: _Group, where: str, mistakes: list[str]) -> RuleGroup:
    rules = []
    for place, one in enumerate(raw.rules, 1):
        label = f"group {raw.name!r}, rule {place} ({one.alert or one.record or 'without a name'})"
        said = list(_mistakes(one))
        query = None
        try:
            query = parser.parse(one.expr)
        except parser.ParseError as error:
            said.append(f"expr: {error}")
        labels = _templates({**raw.labels, **one.labels}, "labels", said)
        annotations = _templates(one.annotations, "annotations", said)
        mistakes += [f"{label}: {mistake}" for mistake in said]
        if query and not said:
            rules.append(_rule(one, query, labels, annotations))
    interval = raw.interval or None
    return RuleGroup(raw.name, where, tuple(rules), interval, raw.limit, raw.engine == "outside")


def _rule(raw: _Rule, query: ParsedQuery, labels: Mapping[str, Template], annotations: Mapping[str, Template]) -> Rule:
    if raw.record:
        return RecordingRule(raw.record, query, {name: label.source for name, label in labels.items()})
    return AlertRule(raw.alert, query, raw.hold, raw.keep_firing_for, labels, annotations)


def _mistakes(rule: _Rule) -> Iterator[str]:
    if bool(rule.record) == bool(rule.alert):
        yield "it must have either `alert` or `record`"
    if not rule.expr:
        yield "expr: is missing"
    if rule.record and not is_metric_name(rule.record):
        yield f"record: {rule.record!r} is no metric name"
    if rule.record and (rule.hold or rule.keep_firing_for or rule.annotations):
        yield "`for`, `keep_firing_for` and `annotations` are for alerts, not for `record`"
    for name in rule.labels:
        if not is_label_name(name) or name == NAME:
            yield f"labels: {name!r} can't be set"
    for name in rule.annotations:
        if not is_label_name(name):
            yield f"annotations: {name!r} is no name"


def _templates(texts: Mapping[str, str], where: str, mistakes: list[str]) -> dict[str, Template]:
    found = {}
    for name, text in texts.items():
        try:
            found[name] = Template(text)
        except TemplateError as error:
            mistakes.append(f"{where}: {name}: {error}")
    return found


def merge_groups(shipped: Iterable[RuleGroup], own: Iterable[RuleGroup]) -> list[RuleGroup]:
    """Return all groups; an alert of one's own takes the place of a shipped one of the same name."""
    own = list(own)
    names = {rule.name for group in own for rule in group.rules}
    kept = [replace(it, rules=tuple(rule for rule in it.rules if rule.name not in names)) for it in shipped]
    return [*own, *(group for group in kept if group.rules)]
