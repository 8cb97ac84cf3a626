"""One `toban.yaml`, added up from what each package declares."""

import difflib
import os
import re
import types
import typing
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from toban.alerting import rule_loader
from toban.alerting.rule_file import RuleGroup
from toban.alerting.settings import AlertingSettings
from toban.collect.collector import COLLECTORS, Collector
from toban.core.config_file import ConfigDocument, ConfigPath, ConfigProblem, expand_variables, parse
from toban.core.config_types import Duration, Secret, Section, format_duration, readable_error, require_scheme
from toban.core.connection_urls import libpq_url
from toban.core.errors import SettingsError
from toban.core.paths import CONFIGURATION, data_folder, read_text
from toban.core.plugins import PluginRegistry
from toban.logs.settings import LogSettings
from toban.notify import environment_channels as notify_defaults
from toban.notify.channel import CHANNELS, Channel
from toban.notify.routing import CHANNELS as CHANNELS_LABEL
from toban.notify.routing import unknown_channels
from toban.notify.settings import NotifySettings
from toban.promql.engine import LOOKBACK
from toban.promql.query_limits import QueryLimits
from toban.remote.settings import RemoteSettings
from toban.shop.connections import invalid_addresses
from toban.shop.settings import ENVIRONMENT, ShopSettings, from_variables
from toban.tsdb.settings import TsdbSettings
from toban.web.settings import WebSettings

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
"""What settings were called before the first release, with what they may be called now, by where they stand."""


class MetricsSettings(TsdbSettings):
    """toban's own store of numbers, in the data folder under `tsdb/`, and an outside engine beside it."""

    lookback_delta: Duration = LOOKBACK
    """How old a series' newest number may be and still count as its value."""

    remote: RemoteSettings | None = None
    """A Prometheus, VictoriaMetrics, Mimir or Thanos beside toban's own store."""


class Settings(Section):
    """What toban is to do. Everything has a default that suits a small shop."""

    data: Path = Field(default_factory=lambda: data_folder(os.environ))
    """The folder where everything that toban keeps lies."""

    state: Annotated[Secret, require_scheme("postgresql", "postgres"), AfterValidator(libpq_url)] | None = None
    """A PostgreSQL database for state, postgresql://…; a file in the data folder unless set."""

    web: WebSettings = WebSettings()

    shop: ShopSettings = ShopSettings()

    collect: tuple[Annotated[Collector, COLLECTORS], ...] = ()
    """Targets to collect from, beside this machine and the parts of the shop."""

    metrics: MetricsSettings = MetricsSettings()

    logs: LogSettings = LogSettings()

    alerting: AlertingSettings = AlertingSettings()

    channels: dict[str, Annotated[Channel, CHANNELS]] = Field(default_factory=dict)
    """Notification channels, by the names that rules and routes use."""

    notify: NotifySettings = NotifySettings()

    def flags(self, limits: QueryLimits) -> dict[str, str]:
        """Return the settings that are flags to Prometheus, by its names for them."""
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

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_are_called_by_their_keys(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {
            name: {"name": name, **channel} if isinstance(channel, Mapping) else channel
            for name, channel in value.items()
        }


def plugin_registries() -> dict[str, PluginRegistry[Any]]:
    """Return the registries of plugins, by the section that lists these."""
    return {
        name: found
        for name, field in Settings.model_fields.items()
        for found in _models(field.annotation, field.metadata)
        if isinstance(found, PluginRegistry)
    }


def load_settings(path: Path | None, environment: Mapping[str, str], **given: object) -> Settings:
    """
    Read the configuration, and all that it names: rule files, addresses.

    Without a path, `toban.yaml` in the current folder is read if it is there. What the command line gives (``data``,
    ``listen``) stands above the file, and the file above ``DATABASE_URL`` and its like in the environment.
    Raises ``SettingsError`` that names every mistake, its place and the remedy.
    """
    if path is None and Path(CONFIGURATION).is_file():
        path = Path(CONFIGURATION)
    if path is None:
        return _settled(ConfigDocument(), environment, "the environment", None, given, with_rules=True)
    return _settled(parse(read_text(path)), environment, str(path), path.parent, given, with_rules=True)


def build_settings(
    written: ConfigDocument | dict[str, Any],
    environment: Mapping[str, str],
    where: str,
    folder: Path | None = None,
    **given: object,
) -> Settings:
    """
    Return the settings that a document or its tree stands for; paths are seen from ``folder``, else the current one.

    Rule files are not read. Raises ``SettingsError`` like `load_settings`.
    """
    document = written if isinstance(written, ConfigDocument) else ConfigDocument(written)
    return _settled(document, environment, where, folder, given, with_rules=False)


def load_rules(settings: Settings, channels: Collection[str] | None = None) -> list[RuleGroup]:
    """
    Return the rules that judge.

    Raises ``SettingsError`` when some can't be read, or some of your own name a channel that there is not; ``channels``
    are those there are, those of the settings unless given.
    """
    groups = rule_loader.load_groups(settings.alerting)
    shipped = {rule.name for group in rule_loader.shipped_groups() for rule in group.rules}
    known = settings.channels if channels is None else channels
    there = ", ".join(sorted(known)) or "none is configured"
    mistakes = []
    for group in groups:
        if group.outside and not (settings.metrics.remote and settings.metrics.remote.query_url):
            mistakes.append(f"{group.file}: group {group.name!r}: `engine: outside` wants `metrics.remote.query_url`")
        for rule in group.alerts:
            named = rule.labels[CHANNELS_LABEL].source.split(",") if CHANNELS_LABEL in rule.labels else []
            absent = [it for it in map(str.strip, named) if it and "{{" not in it and it not in known]
            if rule.name not in shipped:
                mistakes += [
                    f"{group.file}: {rule.name}: unknown channel {it!r}: configured are {there}" for it in absent
                ]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return groups


def _settled(
    document: ConfigDocument,
    environment: Mapping[str, str],
    where: str,
    folder: Path | None,
    given: Mapping[str, object],
    *,
    with_rules: bool,
) -> Settings:
    values = {name: value.strip() for name, value in environment.items()}
    expand_variables(document, values)
    raw, variables = _completed(document.tree, values, given)
    context = {"folder": folder or Path.cwd()}
    document.problems += [
        ConfigProblem(place, "`${NAME}` stands in the variable itself: it was not expanded where the variable is set")
        for place in variables
        if re.search(r"\$\{\w+\}", repr(raw[str(place[0])][place[1]]))
    ]
    found, wrong = _validated(raw, context)
    # What could not be had was noted before, and so was what depends on it.
    faulty = [mistake.path for mistake in document.problems if mistake.path]
    document.problems += [
        ConfigProblem(place, says, document.line(place))
        for place, says in wrong
        if not any(place[: len(it)] == it or it[: len(place)] == place for it in faulty)
    ]
    spoilt = {str(mistake.path[0]) for mistake in document.problems if mistake.path}
    channels = list(raw["channels"]) if isinstance(raw.get("channels"), dict) else []
    document.problems += [
        ConfigProblem(place, says, document.line(place)) for place, says in _contradictions(found, channels, spoilt)
    ]
    told = [_from(mistake, variables, where) for mistake in document.problems]
    if with_rules and "metrics" not in spoilt:
        try:
            load_rules(found, channels)
        except SettingsError as error:
            told.append(str(error))
    if told:
        raise SettingsError("\n".join(told))
    return found


def _from(mistake: ConfigProblem, variables: Mapping[ConfigPath, str], where: str) -> str:
    """Say a mistake where people can mend it: a value that came from the environment is in no line of the file."""
    for place, variable in variables.items():
        if mistake.path[: len(place)] == place:
            return replace(mistake, line=0).as_line(f"{variable} in the environment")
    return mistake.as_line(where)


def _completed(
    tree: Mapping[str, Any], environment: Mapping[str, str], given: Mapping[str, object]
) -> tuple[dict[str, Any], dict[ConfigPath, str]]:
    """Add what the command line and the environment tell; return also which place has its value from which variable."""
    raw, variables = dict(tree), dict[ConfigPath, str]()

    def add(section: str, told: Mapping[str, Any], names: Mapping[str, str]) -> None:
        written = raw.get(section)
        if told and (written is None or isinstance(written, Mapping)):
            there = {name: value for name, value in (written or {}).items() if value is not None}
            raw[section] = {**told, **there}
            variables.update({(section, name): names[name] for name in told if name not in there})

    add("shop", from_variables(environment), ENVIRONMENT)
    add("channels", notify_defaults.from_variables(environment), notify_defaults.VARIABLES)
    token = environment.get("TOBAN_TOKEN")
    add("web", {"token": token} if token else {}, {"token": "TOBAN_TOKEN"})
    if raw.get("data") is None:
        raw["data"] = str(data_folder(environment))
    if given.get("data"):
        raw["data"] = str(given["data"])
    if given.get("listen") and isinstance(raw.get("web") or {}, Mapping):
        raw["web"] = {**(raw.get("web") or {}), "listen": given["listen"]}
    return raw, variables


def _validated(raw: Mapping[str, Any], context: Mapping[str, Any]) -> tuple[Settings, list[tuple[ConfigPath, str]]]:
    """Return the settings without what is wrong, and what that is: what comes after looks at the rest."""
    wrong: list[tuple[ConfigPath, str]] = []
    while True:
        try:
            return Settings.model_validate(raw, context=context), wrong
        except ValidationError as error:
            found = error.errors(include_url=False)
            # What is missing only once a mistake was taken out is none of its own.
            wrong = wrong or [(details["loc"], _told(details, raw)) for details in found]
            raw = _without(raw, {details["loc"][:2] for details in found})


def _without(raw: Mapping[str, Any], places: set[ConfigPath]) -> dict[str, Any]:
    """Leave out what stands at places, each a section or an entry of one."""
    kept: dict[str, Any] = {}
    for name, section in raw.items():
        if (name,) in places:
            continue
        if isinstance(section, Mapping):
            kept[name] = {key: value for key, value in section.items() if (name, key) not in places}
        elif isinstance(section, list):
            kept[name] = [value for number, value in enumerate(section) if (name, number) not in places]
        elif not any(place[0] == name for place in places):
            kept[name] = section
    return kept


def _contradictions(
    settings: Settings, channels: Collection[str], spoilt: Collection[str]
) -> Iterator[tuple[ConfigPath, str]]:
    """Return what is wrong between settings each of which is right; of ``spoilt`` sections not all is there."""
    for name, many in Counter(collector.name for collector in settings.collect).items():
        if many > 1:
            yield ("collect",), f"duplicate name {name!r}: give each a `name` of its own"
    for says in unknown_channels(settings.notify, channels):
        yield (), says
    if settings.logs.fly and not (settings.shop.fly_token and settings.shop.fly_org) and "shop" not in spoilt:
        yield ("logs", "fly"), "it needs shop.fly_token and shop.fly_org"
    for part, says in invalid_addresses(settings.shop):
        yield ("shop", part), says


def _told(details: ErrorDetails, raw: object) -> str:
    """Say what is wrong, and what to do."""
    if details["type"] == "extra_forbidden":
        *parents, key = details["loc"]
        known = sorted(_known(Settings, raw, parents))
        if now := next((name for name in RENAMED.get(str(key), ()) if name in known), ""):
            return f"{str(key)!r} is called {now!r} now"
        near = difflib.get_close_matches(str(key), known, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        return f"there is no setting {str(key)!r} here: {remedy}"
    return readable_error(details)


def _known(model: type[BaseModel], raw: object, path: Sequence[int | str]) -> Iterator[str]:
    """Return the settings that there are at a place, by walking the models along with what was written."""
    if not path:
        yield from model.model_fields
        return
    step, *rest = path
    field = model.model_fields.get(str(step))
    written = raw.get(str(step)) if isinstance(raw, Mapping) else None
    for inner in _models(field.annotation, field.metadata) if field else ():
        if isinstance(inner, PluginRegistry):
            position, *deeper = rest
            entry = _entry(written, position)
            if isinstance(entry, Mapping):
                yield from _known(inner.load(str(entry["kind"])), entry, deeper)
        else:
            yield from _known(inner, written, [part for part in rest if not isinstance(part, int)])


def _entry(written: object, position: int | str) -> object:
    """Return one of several kinds: by its place in a list, or by its name."""
    if isinstance(written, list) and isinstance(position, int):
        return written[position]
    return written.get(position) if isinstance(written, Mapping) else None


def _models(annotation: object, metadata: Sequence[object] = ()) -> Iterator[Any]:
    """Return the models and families of kinds that an annotation is made of."""
    kinds = [part for part in metadata if isinstance(part, PluginRegistry)]
    if kinds:
        yield from kinds
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
