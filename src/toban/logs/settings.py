"""Settings of log lines: the store, and the sources."""

from datetime import timedelta
from typing import Annotated, Literal

import re2
from pydantic import AfterValidator, Field

from toban.core.config_types import Duration, FilePattern, Section, Size, Text, Zone
from toban.logs.custom_metric_settings import LineMetricSettings, distinct_metrics
from toban.logs.line_parser import AUTO, PARSERS
from toban.logs.outside.settings import OutsideLogSettings


def _nats(value: str) -> str:
    if value.partition("://")[0] not in {"nats", "tls"}:
        raise ValueError("the URL must begin with nats:// or tls://")
    return value


def _expression(value: str) -> str:
    try:
        re2.compile(value)
    except re2.error as error:
        raise ValueError(f"no expression of RE2: {error}") from None
    return value


class RedactionSettings(Section):
    """What is redacted in log lines besides passwords, tokens, keys, cookies, cards and e-mail addresses."""

    keys: tuple[Text, ...] = ()
    """Further names of secret fields, in any spelling: `licenceKey` is `licence_key` too."""

    patterns: tuple[Annotated[str, AfterValidator(_expression)], ...] = ()
    """Further expressions (RE2); what they match is redacted."""


def _log_format(value: str) -> str:
    return value if value == AUTO else PARSERS.check(value)


def _file_pattern(value: str) -> str:
    if not value.strip() or value.endswith("/"):
        raise ValueError("it names no files: write it like /app/logs/*.log")
    return value


class LogFiles(Section):
    """Log files to read, by a pattern."""

    path: Annotated[FilePattern, AfterValidator(_file_pattern)]
    """
    Pattern of the paths, like `/app/logs/*.log`; `**` stands for folders of any depth.

    Where files are rotated by copying and truncating, let it match the copies too: then no line is lost.
    """

    format: Annotated[str, AfterValidator(_log_format)] = AUTO
    """
    Format of the lines; `auto` decides line by line.

    `winston` is JSON, `docker` any line within JSON, `vendure` its default logger, `nest` that of NestJS, `node` are
    crashes and warnings of Node.js, `plain` is anything.
    """

    service: Annotated[Text, Field(max_length=200)] = ""
    """The service of lines that name none; by default the name of the file, without date and number."""

    environment: Annotated[Text, Field(max_length=200)] = ""
    """The environment of lines that name none."""

    instance: Annotated[Text, Field(max_length=200)] = ""
    """The instance of lines that name none; by default this machine."""

    timezone: Zone | None = None
    """Time zone of times that are written without one; by default this machine's."""

    exclude: tuple[str, ...] = ("*.gz", "*-audit.json")
    """Patterns of names to leave out, or of whole paths if they contain a `/`."""

    read_from: Literal["beginning", "end"] = "beginning"
    """Where to begin in files that exist when toban reads the pattern for the first time; later ones are read whole."""

    ignore_older: Duration = timedelta(days=7)
    """Files that were not written for so long before they are seen first are not read."""


def _distinct(files: tuple[LogFiles, ...]) -> tuple[LogFiles, ...]:
    for number, one in enumerate(files):
        if any(one.path == other.path for other in files[:number]):
            raise ValueError(f"duplicate path {one.path}: give each pattern once")
    return files


class LogSettings(Section):
    """Log lines: how long they are kept, and their sources; what the shop sends by OpenTelemetry needs no setting."""

    retention: Duration = timedelta(days=30)
    """How long lines are kept, by whole blocks: a day each, or about a million lines."""

    retention_size: Size = 2**30
    """Bytes that lines may take on disk. The oldest blocks are removed first."""

    synchronous: Literal["normal", "full"] = "normal"
    """`normal`: a crash of toban loses nothing, a power cut the last seconds at most. `full`: nor does a power cut."""

    redaction: RedactionSettings = RedactionSettings()

    fly: bool | None = None
    """
    Whether to read Fly's log stream, of `shop.fly_apps` or of all apps; needs `shop.fly_token` and `shop.fly_org`.

    By default, if both are set and toban itself runs on Fly: the stream is only in Fly's private network.
    """

    fly_server: Annotated[str, AfterValidator(_nats)] = "nats://[fdaa::3]:4223"
    """Address of the stream."""

    files: Annotated[tuple[LogFiles, ...], AfterValidator(_distinct)] = ()
    """Log files of the shop's processes on this machine."""

    outside: OutsideLogSettings | None = None
    """
    A Loki or VictoriaLogs that keeps lines for longer: searches for lines that toban has deleted go there.

    Name it among `log_sinks` too: these send the lines.
    """

    metrics: Annotated[tuple[LineMetricSettings, ...], AfterValidator(distinct_metrics)] = ()
    """Metrics of your own, made from log lines; 50 at most."""
