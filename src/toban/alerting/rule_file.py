"""Prometheus' rule files: https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from toban.alerting.promql_query import PROMQL_PARSERS, QueryParser
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.templating.template import Template
from toban.alerting.templating.values import TemplateError
from toban.core.config_types import Section, parse_duration, readable_error
from toban.core.errors import QueryError, SettingsError
from toban.core.labels import NAME, is_label_name, is_metric_name
from toban.core.ports import RuleQuery
from toban.core.yaml_loader import load_yaml

MAX_WINDOW: Final = timedelta(minutes=20)
"""The longest time for which an alert counts as a consequence of another that has resolved."""

MAX_CHARACTERS: Final = 4_000_000
"""The largest rule file that is read."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """
    An alerting rule: each series of its query's result is an alert.

    ``for_`` is its ``for``.
    """

    name: str
    query: RuleQuery
    for_: timedelta = timedelta()
    keep_firing_for: timedelta = timedelta()
    labels: Mapping[str, Template] = field(default_factory=dict)
    annotations: Mapping[str, Template] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """
        The key under which its alerts are stored: its name and its labels as they are written.

        A rule with an edited query, limit or annotation keeps its alerts, as in Prometheus; the alerts of a rule that
        was renamed, or whose labels were edited, resolve.
        """
        labels = ",".join(f"{name}={self.labels[name].source}" for name in sorted(self.labels))
        return f"{self.name}{{{labels}}}"

    @property
    def window(self) -> timedelta:
        """The shortest range that its query reads: a cause that has ended can make it fire for so long."""
        return min(self.query.window, MAX_WINDOW)

    @property
    def is_about_targets(self) -> bool:
        """Whether it fires when a target is down: its query reads ``up``."""
        return any(it == "up" or it.startswith("up{") for it in self.query.reads())

    @property
    def severity(self) -> str:
        """Its label ``severity``, as it is written."""
        return self.labels["severity"].source if "severity" in self.labels else "warning"


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A recording rule: writes its query's result as series of a metric."""

    name: str
    query: RuleQuery
    labels: Mapping[str, str] = field(default_factory=dict)


Rule = AlertRule | RecordingRule


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """
    Rules that are evaluated one after the other, at the same timestamp.

    ``interval`` is None where the settings' evaluation interval counts. ``limit`` is how many series or alerts a rule
    may have, 0 for no limit.
    """

    name: str
    file: str
    rules: Sequence[Rule]
    interval: timedelta | None = None
    limit: int = 0
    engine: RuleEngineName = RuleEngineName.EMBEDDED

    @property
    def alerts(self) -> Iterator[AlertRule]:
        """Its alerting rules."""
        return (rule for rule in self.rules if isinstance(rule, AlertRule))


Length = Annotated[timedelta, BeforeValidator(partial(parse_duration, zero=True))]
"""A duration that may be zero."""


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not a string")


Text = Annotated[str, BeforeValidator(_text)]
"""A string; empty where the file has no value."""


class RuleFileSection(Section):
    """A part of a rule file; list entries without a value are left out too."""

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
    """A rule in a rule file."""

    record: str = ""
    alert: str = ""
    expr: Text = ""
    for_: Length = Field(default=timedelta(), alias="for")
    keep_firing_for: Length = timedelta()
    labels: dict[str, Text] = Field(default_factory=dict)
    annotations: dict[str, Text] = Field(default_factory=dict)


class _Group(RuleFileSection):
    """A group in a rule file."""

    name: Annotated[str, Field(min_length=1)]
    interval: Length | None = None
    limit: Annotated[int, Field(ge=0)] = 0
    query_offset: Literal["0s"] | None = None
    engine: RuleEngineName = RuleEngineName.EMBEDDED
    labels: dict[str, Text] = Field(default_factory=dict)
    rules: tuple[_Rule, ...] = ()


class _File(RuleFileSection):
    """A rule file."""

    groups: tuple[_Group, ...] = ()


def parse_rule_file(
    text: str, file: str, parsers: Mapping[RuleEngineName, QueryParser] = PROMQL_PARSERS
) -> list[RuleGroup]:
    """
    Parse the content of a rule file; ``parsers`` are those of the queries, by the engine of their group.

    Raises ``SettingsError`` that names every mistake and where it is.
    """
    if len(text) > MAX_CHARACTERS:
        raise SettingsError(f"{file}: longer than {MAX_CHARACTERS} characters: not a rule file")
    try:
        raw = load_yaml(text)
    except ValueError as error:
        raise SettingsError(f"{file}: {error}") from error
    if isinstance(raw, dict) and {"apiVersion", "kind", "spec"} <= raw.keys():
        raise SettingsError(f"{file}: this is a Kubernetes resource: the rule file is the value of its `spec`")
    try:
        parsed = _File.model_validate(raw)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{file}: {_located(one, raw)}" for one in error.errors())) from error
    mistakes: list[str] = []
    groups = [_group(one, file, parsers, mistakes) for one in parsed.groups]
    names = [group.name for group in groups]
    mistakes += [f"duplicate group {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1]
    if mistakes:
        raise SettingsError("\n".join(f"{file}: {mistake}" for mistake in mistakes))
    return groups


def _located(details: Any, raw: Any) -> str:
    """Return a validation error with its path in the file, and the rule's name where it has one."""
    path, value, name = "", raw, ""
    for key in details["loc"]:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
        value = value[key] if _has(value, key) else None
        if isinstance(value, Mapping):
            name = str(value.get("alert") or value.get("record") or value.get("name") or name)
    message = "is not a key of a rule file" if details["type"] == "extra_forbidden" else readable_error(details)
    return f"{path}{f' ({name})' if name else ''}: {message}"


def _has(value: Any, key: Any) -> bool:
    return (isinstance(value, Mapping) and key in value) or (isinstance(value, Sequence) and isinstance(key, int))


def _group(raw: _Group, file: str, parsers: Mapping[RuleEngineName, QueryParser], mistakes: list[str]) -> RuleGroup:
    rules = []
    parse = parsers.get(raw.engine)
    if parse is None:
        mistakes.append(f"group {raw.name!r}: `engine: {raw.engine}` is not available in this file")
        return RuleGroup(raw.name, file, ())
    for number, one in enumerate(raw.rules, 1):
        label = f"group {raw.name!r}, rule {number} ({one.alert or one.record or 'without a name'})"
        found = list(_mistakes(one))
        query = None
        try:
            query = parse(one.expr)
        except QueryError as error:
            found.append(f"expr: {error}")
        labels = _templates({**raw.labels, **one.labels}, "labels", found)
        annotations = _templates(one.annotations, "annotations", found)
        mistakes += [f"{label}: {mistake}" for mistake in found]
        if query and not found:
            rules.append(_rule(one, query, labels, annotations))
    interval = raw.interval or None
    return RuleGroup(raw.name, file, tuple(rules), interval, raw.limit, raw.engine)


def _rule(raw: _Rule, query: RuleQuery, labels: Mapping[str, Template], annotations: Mapping[str, Template]) -> Rule:
    if raw.record:
        return RecordingRule(raw.record, query, {name: label.source for name, label in labels.items()})
    return AlertRule(raw.alert, query, raw.for_, raw.keep_firing_for, labels, annotations)


def _mistakes(rule: _Rule) -> Iterator[str]:
    if bool(rule.record) == bool(rule.alert):
        yield "it must have either `alert` or `record`"
    if not rule.expr:
        yield "expr: is missing"
    if rule.record and not is_metric_name(rule.record):
        yield f"record: invalid metric name {rule.record!r}"
    if rule.record and (rule.for_ or rule.keep_firing_for or rule.annotations):
        yield "`for`, `keep_firing_for` and `annotations` are for alerts, not for `record`"
    for name in rule.labels:
        if not is_label_name(name) or name == NAME:
            yield f"labels: invalid label name {name!r}"
    for name in rule.annotations:
        if not is_label_name(name):
            yield f"annotations: invalid annotation name {name!r}"


def _templates(texts: Mapping[str, str], section: str, mistakes: list[str]) -> dict[str, Template]:
    found = {}
    for name, text in texts.items():
        try:
            found[name] = Template(text)
        except TemplateError as error:
            mistakes.append(f"{section}: {name}: {error}")
    return found


def merge_groups(shipped: Iterable[RuleGroup], own: Iterable[RuleGroup]) -> list[RuleGroup]:
    """Return all groups; a user's own rule replaces a shipped one of the same name."""
    own = list(own)
    names = {rule.name for group in own for rule in group.rules}
    kept = [replace(it, rules=tuple(rule for rule in it.rules if rule.name not in names)) for it in shipped]
    return [*own, *(group for group in kept if group.rules)]
