"""The settings of `toban.yaml`, assembled from the sections that each package declares."""

import difflib
import importlib.util
import os
import re
import types
import typing
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Self

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from toban.access.settings import SignInSettings
from toban.alerting import rule_loader
from toban.alerting.promql_query import PROMQL_PARSERS, QueryParser
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import RuleGroup, parse_rule_file
from toban.alerting.settings import AlertingSettings
from toban.collect.collector import COLLECTORS, Collector
from toban.core.config_file import ConfigDocument, ConfigPath, ConfigProblem, expand_variables, parse
from toban.core.config_source import ConfigSource
from toban.core.config_types import Duration, Secret, Section, format_duration, readable_error, require_scheme
from toban.core.connection_urls import libpq_url
from toban.core.effective_settings import EffectiveSetting, effective_settings
from toban.core.errors import SettingsError
from toban.core.paths import CONFIGURATION, data_folder, read_text
from toban.core.plugins import PluginRegistry, named_by_key
from toban.dashboards.board_loader import load_boards
from toban.dashboards.settings import DashboardSettings
from toban.deploys.settings import DeploySettings
from toban.incidents.settings import IncidentSettings, unknown_people
from toban.instruments.error_reports import ErrorSettings
from toban.instruments.sentry_sdk_options import INSTALL as INSTALL_SENTRY
from toban.logs.logql.rule_query import parse_rule_query
from toban.logs.settings import LogSettings
from toban.logs.sink import SINKS, Sink
from toban.maintenance.settings import TaskSettings
from toban.notify import environment_channels as notify_defaults
from toban.notify.channel import CHANNELS, Channel
from toban.notify.routing import CHANNELS as CHANNELS_LABEL
from toban.notify.routing import unknown_channels
from toban.notify.settings import NotifySettings
from toban.oncall.policy import personal_channels
from toban.oncall.settings import OnCallSettings, unknown_names
from toban.promql.engine import LOOKBACK
from toban.promql.query_limits import QueryLimits
from toban.remote.settings import RemoteSettings
from toban.reports.settings import ReportSettings
from toban.review import slo_rules
from toban.review.service_level import ServiceLevel
from toban.review.settings import LevelSettings
from toban.runbooks.settings import RunbookSettings, load_runbooks
from toban.shop.connections import invalid_addresses
from toban.shop.settings import ENVIRONMENT, ShopSettings, from_variables
from toban.status_page.settings import StatusPageSettings
from toban.tsdb.settings import TsdbSettings
from toban.web.settings import WebSettings

OVERRIDES: Final = MappingProxyType({"data": ("data",), "listen": ("web", "listen")})
"""The paths of settings that options of the command line replace."""

QUERY_PARSERS: Final[Mapping[RuleEngineName, QueryParser]] = MappingProxyType(
    {**PROMQL_PARSERS, RuleEngineName.LOGS: parse_rule_query}
)
"""The parsers of rules' queries, by the engine that evaluates them."""

RENAMED: Final = MappingProxyType(
    {
        "every": ("interval", "evaluation_interval"),
        "list_every": ("list_interval",),
        "check_every": ("check_interval",),
        "wait": ("group_wait",),
        "interval": ("group_interval",),
        "repeat": ("repeat_interval",),
        "windows": ("maintenance_windows",),
        "match": ("matchers",),
        "source": ("source_matchers",),
        "target": ("target_matchers",),
        "limit": ("sample_limit",),
        "timeout": ("scrape_timeout",),
        "size": ("body_size_limit",),
        "lookback": ("lookback_delta",),
    }
)
"""Names of settings before the first release, and their names now, which depend on the section."""


class MetricsSettings(TsdbSettings):
    """toban's own sample store, in the data folder under `tsdb/`, and a remote engine beside it."""

    lookback_delta: Duration = LOOKBACK
    """Lookback delta: how old the newest sample of a series may be to count as its value."""

    remote: RemoteSettings | None = None
    """A Prometheus, VictoriaMetrics, Mimir or Thanos beside toban's own store."""


class Settings(Section):
    """The settings of toban. All have a default that suits a small shop."""

    data: Path = Field(default_factory=lambda: data_folder(os.environ))
    """The data folder."""

    state: Annotated[Secret, require_scheme("postgresql", "postgres"), AfterValidator(libpq_url)] | None = None
    """A PostgreSQL database for state, postgresql://…; by default a file in the data folder."""

    web: WebSettings = WebSettings()

    shop: ShopSettings = ShopSettings()

    collect: tuple[Annotated[Collector, COLLECTORS], ...] = ()
    """Targets to collect from, beside this machine and the parts of the shop."""

    metrics: MetricsSettings = MetricsSettings()

    logs: LogSettings = LogSettings()

    log_sinks: Annotated[dict[str, Annotated[Sink, SINKS]], BeforeValidator(named_by_key)] = Field(default_factory=dict)
    """Where log lines are sent, besides being stored here; by names of your own."""

    errors: ErrorSettings = ErrorSettings()

    alerting: AlertingSettings = AlertingSettings()

    channels: Annotated[dict[str, Annotated[Channel, CHANNELS]], BeforeValidator(named_by_key)] = Field(
        default_factory=dict
    )
    """Notification channels, by the names that rules and routes use."""

    notify: NotifySettings = NotifySettings()

    incidents: IncidentSettings = IncidentSettings()

    on_call: OnCallSettings = OnCallSettings()

    runbooks: RunbookSettings = RunbookSettings()

    maintenance: TaskSettings = Field(default_factory=dict)
    """
    Maintenance tasks, by names of your own; a name that is a kind needs no `kind`.

    Kinds that are not named run with their defaults where what they need is configured; `mode: off` ends that. Their
    schedules are in `notify.timezone`.
    """

    reports: ReportSettings = Field(default_factory=dict)
    """Reports that are sent regularly, by names of your own."""

    deploys: DeploySettings = DeploySettings()

    slo: LevelSettings = Field(default_factory=dict)
    """Service levels, by names of your own: lower-case letters, digits and hyphens."""

    dashboards: DashboardSettings = DashboardSettings()

    sign_in: SignInSettings = SignInSettings()

    status_page: StatusPageSettings = StatusPageSettings()

    _origins: Mapping[ConfigPath, str] = PrivateAttr(default_factory=dict)
    _source: ConfigSource | None = PrivateAttr(default=None)

    @property
    def source(self) -> ConfigSource | None:
        """The file that they were read from; None where there is none."""
        return self._source

    @property
    def personal_channels(self) -> frozenset[str]:
        """The channels that escalations of incidents reach; without incidents none belongs to one person alone."""
        return personal_channels(self.on_call) if self.incidents.enabled else frozenset()

    def from_file(self, source: ConfigSource) -> Self:
        """Note the file that they were read from."""
        self._source = source
        return self

    def from_origins(self, origins: Mapping[ConfigPath, str]) -> Self:
        """Note the places that settings come from."""
        self._origins = origins
        return self

    def effective(self) -> list[EffectiveSetting]:
        """Return all settings without secrets, each with the place that it comes from."""
        return effective_settings(self, self._origins)

    def flags(self, limits: QueryLimits) -> dict[str, str]:
        """Return the settings that are flags of Prometheus, by the names of the flags."""
        return {
            "evaluation_interval": format_duration(self.alerting.evaluation_interval),
            "query.lookback-delta": format_duration(self.metrics.lookback_delta),
            "query.max-samples": str(limits.samples),
            "query.timeout": format_duration(limits.time),
            "storage.tsdb.path": str(self.data / "tsdb"),
            "storage.tsdb.retention.time": format_duration(self.metrics.retention),
            "storage.tsdb.retention.size": f"{self.metrics.size}B",
            "web.listen-address": self.web.listen,
        }


def plugin_registries() -> dict[str, PluginRegistry[Any]]:
    """Return the registries of plugins, by the section that lists these."""
    return {
        name: found
        for name, field in Settings.model_fields.items()
        for found in _models(field.annotation, field.metadata)
        if isinstance(found, PluginRegistry)
    }


def load_settings(path: Path | None, environment: Mapping[str, str], **overrides: object) -> Settings:
    """
    Read the configuration and the rule files that it names.

    Without a path, `toban.yaml` in the current folder is read if it exists. ``overrides``, from the command line
    (``data``, ``listen``), take precedence over the file, and the file over the environment (``DATABASE_URL``).
    Raises ``SettingsError`` with every problem, its place and the remedy.
    """
    if path is None and Path(CONFIGURATION).is_file():
        path = Path(CONFIGURATION)
    if path is None:
        return _assemble(ConfigDocument(), environment, "the environment", None, overrides, with_rules=True)
    text = read_text(path)
    found = _assemble(parse(text), environment, str(path), path.parent, overrides, with_rules=True)
    return found.from_file(ConfigSource.of(path, text))


def build_settings(
    config: ConfigDocument | dict[str, Any],
    environment: Mapping[str, str],
    source: str,
    folder: Path | None = None,
    **overrides: object,
) -> Settings:
    """
    Return the settings of a document or its tree; paths are relative to ``folder``, by default the current one.

    Rule files are not read. Raises ``SettingsError`` like `load_settings`.
    """
    document = config if isinstance(config, ConfigDocument) else ConfigDocument(config)
    return _assemble(document, environment, source, folder, overrides, with_rules=False)


def load_rules(settings: Settings, channels: Collection[str] | None = None) -> list[RuleGroup]:
    """
    Return the rule groups.

    Raises ``SettingsError`` when some can't be read, or one that is not shipped names an unknown channel; ``channels``
    are the known ones, by default those of the settings.
    """
    groups = rule_loader.load_groups(settings.alerting, QUERY_PARSERS) + service_level_rules(settings)
    shipped = {rule.name for group in rule_loader.shipped_groups() for rule in group.rules}
    known = settings.channels if channels is None else channels
    configured = ", ".join(sorted(known)) or "none"
    problems = []
    for group in groups:
        has_remote = settings.metrics.remote and settings.metrics.remote.query_url
        if group.engine is RuleEngineName.OUTSIDE and not has_remote:
            problems.append(f"{group.file}: group {group.name!r}: `engine: outside` needs `metrics.remote.query_url`")
        for rule in group.alerts:
            named = rule.labels[CHANNELS_LABEL].source.split(",") if CHANNELS_LABEL in rule.labels else []
            unknown = [it for it in map(str.strip, named) if it and "{{" not in it and it not in known]
            if rule.name not in shipped:
                problems += [
                    f"{group.file}: {rule.name}: unknown channel {it!r}: configured are {configured}" for it in unknown
                ]
    if problems:
        raise SettingsError("\n".join(problems))
    return groups


def service_levels(settings: Settings) -> list[ServiceLevel]:
    """Return the service levels of some settings."""
    return [ServiceLevel(name, it) for name, it in settings.slo.items()]


def service_level_rules(settings: Settings) -> list[RuleGroup]:
    """Return the rule groups of the service levels, parsed like any rule file."""
    content = slo_rules.rule_file(service_levels(settings))
    return parse_rule_file(orjson.dumps(content).decode(), slo_rules.FILE, QUERY_PARSERS)


def _assemble(
    document: ConfigDocument,
    environment: Mapping[str, str],
    source: str,
    folder: Path | None,
    overrides: Mapping[str, object],
    *,
    with_rules: bool,
) -> Settings:
    values = {name: value.strip() for name, value in environment.items()}
    expand_variables(document, values)
    raw, variables = _with_defaults(document.tree, values, overrides)
    context = {"folder": folder or Path.cwd()}
    document.problems += [
        ConfigProblem(path, "`${NAME}` is in the variable itself: it was not expanded where the variable is set")
        for path in variables
        if re.search(r"\$\{\w+\}", repr(raw[str(path[0])][path[1]]))
    ]
    found, invalid = _validate(raw, context)
    # Errors at places with a known problem follow from it.
    faulty = [problem.path for problem in document.problems if problem.path]
    document.problems += [
        ConfigProblem(path, message, document.line(path))
        for path, message in invalid
        if not any(path[: len(it)] == it or it[: len(path)] == path for it in faulty)
    ]
    incomplete = {str(problem.path[0]) for problem in document.problems if problem.path}
    channels = list(raw["channels"]) if isinstance(raw.get("channels"), dict) else []
    document.problems += [
        ConfigProblem(path, message, document.line(path))
        for path, message in _cross_checks(found, channels, incomplete)
    ]
    messages = [_located(problem, variables, source) for problem in document.problems]
    if with_rules and "metrics" not in incomplete:
        try:
            load_rules(found, channels)
        except SettingsError as error:
            messages.append(str(error))
    if with_rules and found.runbooks != RunbookSettings():
        try:
            load_runbooks(found.runbooks)
        except SettingsError as error:
            messages.append(str(error))
    if with_rules and found.dashboards.boards:
        try:
            load_boards(found.dashboards)
        except SettingsError as error:
            messages.append(str(error))
    if messages:
        raise SettingsError("\n".join(messages))
    return found.from_origins(_origins(document, variables, source, overrides))


def _origins(
    document: ConfigDocument, variables: Mapping[ConfigPath, str], source: str, overrides: Mapping[str, object]
) -> dict[ConfigPath, str]:
    """Return where settings come from, by their paths."""
    return {
        **{path: f"{source}:{line}" for path, line in document.lines.items()},
        **{path: f"{variable} in the environment" for path, variable in variables.items()},
        **{OVERRIDES[name]: f"--{name}" for name, value in overrides.items() if value},
    }


def _located(problem: ConfigProblem, variables: Mapping[ConfigPath, str], source: str) -> str:
    """Return a problem with its place: a line of the file, or a variable of the environment."""
    for path, variable in variables.items():
        if problem.path[: len(path)] == path:
            return replace(problem, line=0).as_line(f"{variable} in the environment")
    return problem.as_line(source)


def _with_defaults(
    tree: Mapping[str, Any], environment: Mapping[str, str], overrides: Mapping[str, object]
) -> tuple[dict[str, Any], dict[ConfigPath, str]]:
    """Add values of the command line and the environment; return also the paths that have variables' values."""
    raw, variables = dict(tree), dict[ConfigPath, str]()

    def add(section: str, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        configured = raw.get(section)
        if values and (configured is None or isinstance(configured, Mapping)):
            kept = {name: value for name, value in (configured or {}).items() if value is not None}
            raw[section] = {**values, **kept}
            variables.update({(section, name): names[name] for name in values if name not in kept})

    add("shop", from_variables(environment), ENVIRONMENT)
    add("channels", notify_defaults.from_variables(environment), notify_defaults.VARIABLES)
    token = environment.get("TOBAN_TOKEN")
    add("web", {"token": token} if token else {}, {"token": "TOBAN_TOKEN"})
    if raw.get("data") is None:
        raw["data"] = str(data_folder(environment))
    if overrides.get("data"):
        raw["data"] = str(overrides["data"])
    if overrides.get("listen") and isinstance(raw.get("web") or {}, Mapping):
        raw["web"] = {**(raw.get("web") or {}), "listen": overrides["listen"]}
    return raw, variables


def _validate(raw: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[Settings, list[tuple[ConfigPath, str]]]:
    """Return the valid settings, and the errors of the others, so that later checks see the rest."""
    invalid: list[tuple[ConfigPath, str]] = []
    while True:
        try:
            return Settings.model_validate(raw, context=context), invalid
        except ValidationError as error:
            found = error.errors(include_url=False)
            # What is missing after an invalid setting was removed is no error of its own.
            invalid = invalid or [(details["loc"], _readable(details, raw)) for details in found]
            raw = _without(raw, {details["loc"][:2] for details in found})


def _without(raw: Mapping[str, Any], places: set[ConfigPath]) -> dict[str, Any]:
    """Remove sections, or entries of sections, by their paths."""
    kept: dict[str, Any] = {}
    for name, section in raw.items():
        if (name,) in places:
            continue
        if isinstance(section, Mapping):
            kept[name] = {key: value for key, value in section.items() if (name, key) not in places}
        elif isinstance(section, list):
            kept[name] = [value for number, value in enumerate(section) if (name, number) not in places]
        elif not any(path[0] == name for path in places):
            kept[name] = section
    return kept


def _cross_checks(
    settings: Settings, channels: Collection[str], incomplete: Collection[str]
) -> Iterator[tuple[ConfigPath, str]]:
    """Yield the problems between settings that are valid alone; ``incomplete`` sections lack invalid settings."""
    for name, count in Counter(collector.name for collector in settings.collect).items():
        if count > 1:
            yield ("collect",), f"duplicate name {name!r}: give each a `name` of its own"
    for name, report in settings.reports.items():
        for unknown in set(report.to) - set(channels):
            yield (
                ("reports", name, "to"),
                f"unknown channel {unknown!r}: configured are {', '.join(channels) or 'none'}",
            )
        if not (report.to or report.folder):
            yield ("reports", name), "set `to` or `folder`: it goes nowhere"
        if name in settings.maintenance:
            yield ("reports", name), "a maintenance task has that name"
    for message in unknown_channels(settings.notify, channels):
        yield (), message
    for path, message in unknown_names(settings.on_call, channels):
        yield ("on_call", *path), message
    yield from unknown_people(settings.incidents, settings.on_call)
    if settings.logs.fly and not (settings.shop.fly_token and settings.shop.fly_org) and "shop" not in incomplete:
        yield ("logs", "fly"), "it needs shop.fly_token and shop.fly_org"
    for part, message in invalid_addresses(settings.shop):
        yield ("shop", part), message
    if settings.errors.sentry_dsn and importlib.util.find_spec("sentry_sdk") is None:
        yield ("errors", "sentry_dsn"), INSTALL_SENTRY


def _readable(details: ErrorDetails, raw: object) -> str:
    """Return an error and its remedy."""
    if details["type"] == "extra_forbidden":
        *parents, key = details["loc"]
        known = sorted(_known_settings(Settings, raw, parents))
        if now := next((name for name in RENAMED.get(str(key), ()) if name in known), ""):
            return f"{str(key)!r} is called {now!r} now"
        near = difflib.get_close_matches(str(key), known, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"unknown setting {str(key)!r}: {remedy}"
    return readable_error(details)


def _known_settings(model: type[BaseModel], raw: object, path: Sequence[int | str]) -> Iterator[str]:
    """Yield the names of settings at a path, by walking the models along with the configuration."""
    if not path:
        yield from (field.alias or name for name, field in model.model_fields.items())
        return
    step, *rest = path
    field = next((it for name, it in model.model_fields.items() if str(step) == (it.alias or name)), None)
    value = raw.get(str(step)) if isinstance(raw, Mapping) else None
    for inner in _models(field.annotation, field.metadata) if field else ():
        if isinstance(inner, PluginRegistry):
            position, *deeper = rest
            entry = _entry(value, position)
            if isinstance(entry, Mapping):
                kind = entry.get("kind", position)  # the name of a maintenance task may be its kind
                yield from _known_settings(inner.load(str(kind)), entry, deeper)
        else:
            yield from _known_settings(inner, value, [part for part in rest if not isinstance(part, int)])


def _entry(entries: object, position: int | str) -> object:
    """Return one plugin's settings: by its index in a list, or by its name."""
    if isinstance(entries, list) and isinstance(position, int):
        return entries[position]
    return entries.get(position) if isinstance(entries, Mapping) else None


def _models(annotation: object, metadata: Sequence[object] = ()) -> Iterator[Any]:
    """Yield the models and plugin registries in an annotation."""
    registries = [part for part in metadata if isinstance(part, PluginRegistry)]
    if registries:
        yield from registries
    elif typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        yield from _models(inner, more)
    elif typing.get_origin(annotation) is dict:
        yield from _models(typing.get_args(annotation)[1])
    elif typing.get_origin(annotation) in {tuple, types.UnionType, typing.Union}:
        for inner in typing.get_args(annotation):
            yield from _models(inner)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
