"""One `toban.yaml`, added up from what each package declares."""

import difflib
import os
import types
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from toban.alerting.settings import AlertingSettings
from toban.collect.collector import COLLECTORS, Collector
from toban.core.errors import SettingsError
from toban.core.kinds import Kinds
from toban.core.places import CONFIGURATION, data_folder
from toban.core.section import Duration, Secret, Section, worded, written
from toban.logs.settings import LogSettings
from toban.notify import defaults as notify_defaults
from toban.notify.channel import CHANNELS, Channel
from toban.notify.routing import unknown
from toban.notify.settings import NotifySettings
from toban.promql.engine import LOOKBACK
from toban.promql.limits import Limits
from toban.remote.settings import RemoteSettings
from toban.shop.settings import ShopSettings, from_variables
from toban.tsdb.settings import TsdbSettings
from toban.web.settings import WebSettings

LARGEST: Final = 1_000_000


class MetricsSettings(TsdbSettings):
    """toban's own store of numbers, in the data folder under `tsdb/`, and an outside engine beside it."""

    lookback: Duration = LOOKBACK
    """How old a series' newest number may be and still count as its value."""

    remote: RemoteSettings | None = None
    """A Prometheus, VictoriaMetrics, Mimir or Thanos beside toban's own store."""


class Settings(Section):
    """What toban is to do. Everything has a default that suits a small shop."""

    data: Path = Field(default_factory=lambda: data_folder(os.environ))
    """The folder where everything that toban keeps lies."""

    state: Secret | None = None
    """A PostgreSQL database for state, postgresql://…; a file in the data folder unless set."""

    web: WebSettings = WebSettings()

    shop: ShopSettings = ShopSettings()

    collect: tuple[Annotated[Collector, COLLECTORS], ...] = ()
    """What to look at, beside this machine and the parts of the shop."""

    metrics: MetricsSettings = MetricsSettings()

    logs: LogSettings = LogSettings()

    alerting: AlertingSettings = AlertingSettings()

    channels: dict[str, Annotated[Channel, CHANNELS]] = Field(default_factory=dict)
    """The ways to reach people, by the names that rules and routes call them."""

    notify: NotifySettings = NotifySettings()

    def flags(self, limits: Limits) -> dict[str, str]:
        """Return the settings that are flags to Prometheus, by its names for them."""
        return {
            "evaluation_interval": written(self.alerting.every),
            "query.lookback-delta": written(self.metrics.lookback),
            "query.max-samples": str(limits.samples),
            "query.timeout": written(limits.time),
            "storage.tsdb.path": str(self.data / "tsdb"),
            "storage.tsdb.retention.time": written(self.metrics.retention),
            "storage.tsdb.retention.size": f"{self.metrics.size}B",
            "web.listen-address": self.web.listen,
        }

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        twice = [name for name, many in Counter(collector.name for collector in self.collect).items() if many > 1]
        if twice:
            raise ValueError(f"collect: {twice[0]!r} is there twice: give each a `name` of its own")
        return self

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_are_called_by_their_keys(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {
            name: {"name": name, **channel} if isinstance(channel, Mapping) else channel
            for name, channel in value.items()
        }

    @model_validator(mode="after")
    def _channels_are_there(self) -> Self:
        missing = unknown(self.notify, self.channels)
        if missing:
            raise ValueError(missing[0])
        return self

    @model_validator(mode="after")
    def _logs_can_be_had(self) -> Self:
        if self.logs.fly and not (self.shop.fly_token and self.shop.fly_org):
            raise ValueError("logs.fly: it needs shop.fly_token and shop.fly_org")
        return self

    @model_validator(mode="after")
    def _state_is_postgres(self) -> Self:
        if self.state and not self.state.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("state: the address must begin with postgresql:// (leave it out for a file)")
        return self


def load(path: Path | None, environment: Mapping[str, str], **given: object) -> Settings:
    """
    Read the configuration.

    Without a path, `toban.yaml` in the current folder is read if it is there. What the command line gives (``data``,
    ``listen``) stands above the file, and the file above ``DATABASE_URL`` and its like in the environment.
    Raises ``SettingsError`` that names every mistake, its place and the remedy.
    """
    if path is None and Path(CONFIGURATION).is_file():
        path = Path(CONFIGURATION)
    where = str(path) if path else "the environment"
    raw = read(path) if path else {}
    return settle(raw, environment, where, path.parent if path else None, **given)


def settle(
    raw: dict[str, Any], environment: Mapping[str, str], where: str, folder: Path | None = None, **given: object
) -> Settings:
    """
    Return the settings that a mapping stands for; paths in it are seen from ``folder``, else from the current one.

    Raises ``SettingsError`` like `load`.
    """
    raw = {"data": str(data_folder(environment)), **raw}
    if isinstance(raw.get("shop", {}), dict):
        raw["shop"] = {**from_variables(environment), **(raw.get("shop") or {})}
    channels = raw.get("channels") or {}
    if isinstance(channels, dict) and (told := notify_defaults.from_variables(environment)):
        raw["channels"] = {**told, **channels}
    if given.get("data"):
        raw["data"] = str(given["data"])
    if given.get("listen") and isinstance(raw.get("web", {}), dict):
        raw["web"] = {**(raw.get("web") or {}), "listen": given["listen"]}
    if environment.get("TOBAN_TOKEN") and isinstance(raw.get("web", {}), dict):
        raw["web"] = {"token": environment["TOBAN_TOKEN"], **(raw.get("web") or {})}
    try:
        return Settings.model_validate(raw, context={"environment": environment, "folder": folder or Path.cwd()})
    except ValidationError as error:
        mistakes = [_told(details, raw) for details in error.errors(include_url=False)]
        raise SettingsError("\n".join(f"{where}: {mistake}" for mistake in mistakes)) from error


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file. Raises ``SettingsError`` with the place of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: can't be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> dict[str, Any]:
    """Read YAML. Raises ``SettingsError`` with the place of what is wrong."""
    if len(text) > LARGEST:
        raise SettingsError(f"{where}: longer than {LARGEST} characters: that is no configuration")
    try:
        found = yaml.load(text, _Loader)  # noqa: S506  # _Loader is a SafeLoader that also refuses aliases
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise SettingsError(f"{where}:{line} {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{where}: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{where}: nested too deeply to be a configuration") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{where}: must be names with values, like `web: {{listen: 127.0.0.1:9119}}`")
    return found


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a name given twice, and aliases that grow without bounds."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
            raise yaml.MarkedYAMLError(problem="aliases are not read here: write it out", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise yaml.MarkedYAMLError(problem="a name must be a word (or in quotes)", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _told(details: ErrorDetails, raw: object) -> str:
    """Say what is wrong, where, and what to do."""
    path = ".".join(str(part) for part in details["loc"]) or "it"
    if details["type"] == "extra_forbidden":
        *parents, key = details["loc"]
        known = sorted(_known(Settings, raw, parents))
        near = difflib.get_close_matches(str(key), known, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        return f"{path}: there is no setting {str(key)!r} here: {remedy}"
    return f"{path}: {worded(details)}"


def _known(model: type[BaseModel], raw: object, path: Sequence[int | str]) -> Iterator[str]:
    """Return the settings that there are at a place, by walking the models along with what was written."""
    if not path:
        yield from model.model_fields
        return
    step, *rest = path
    field = model.model_fields.get(str(step))
    written = raw.get(str(step)) if isinstance(raw, Mapping) else None
    for inner in _models(field.annotation, field.metadata) if field else ():
        if isinstance(inner, Kinds):
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
    kinds = [part for part in metadata if isinstance(part, Kinds)]
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
