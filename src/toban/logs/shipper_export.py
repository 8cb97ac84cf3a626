"""Configurations of log shippers that read the shop's files: Fluentd, Fluent Bit, Vector, Grafana Alloy."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from toban.logs.settings import LogFiles, LogSettings
from toban.logs.sink import Sink
from toban.logs.sinks.datadog import Datadog

DEFAULT_PATH: Final = "/app/logs/*.log"
POSITIONS: Final = "/var/lib"
LINE_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class ShipperExport:
    """What a configuration holds: the files to read, and where the lines go."""

    paths: Sequence[str]
    exclude: Sequence[str]
    toban: str
    """The URL of toban, empty where no lines go there."""

    has_token: bool
    """Whether toban asks for a token: shippers read it from `TOBAN_TOKEN`."""

    datadog: Datadog | None
    """The key is not written: shippers read it from `DD_API_KEY`."""

    @classmethod
    def of(cls, settings: LogSettings, sinks: Iterable[Sink], toban: str, *, has_token: bool) -> "ShipperExport":
        """Return what the settings ask for; without files, those of the original design."""
        files = settings.files or [LogFiles(path=DEFAULT_PATH)]
        return cls(
            [str(one.path) for one in files],
            sorted({pattern for one in files for pattern in one.exclude}),
            toban.rstrip("/"),
            has_token,
            next((sink for sink in sinks if isinstance(sink, Datadog)), None),
        )

    def excluded(self) -> Sequence[str]:
        """Return patterns of paths to leave out, in each folder."""
        folders = sorted({path.rpartition("/")[0] for path in self.paths})
        return [pattern if "/" in pattern else f"{folder}/{pattern}" for folder in folders for pattern in self.exclude]

    def tags(self, variable: Callable[[str], str], separator: str = ":") -> str:
        """Return the tags of the original, with variables of the environment in the syntax of a shipper."""
        tags = {
            **(self.datadog.tags if self.datadog else {}),
            "environment": variable("NODE_ENV"),
            "instance": variable("FLY_MACHINE_ID"),
        }
        return ",".join(f"{name}{separator}{value}" for name, value in tags.items())


def fluentd(it: ShipperExport) -> str:
    """Return fluentd.conf, with the plugins `fluent-plugin-datadog` and `fluent-plugin-grafana-loki`."""
    stores: list[str] = []
    if it.datadog:
        tags = it.tags(lambda name: f"#{{ENV['{name}']}}")
        stores.append(
            f"""  <store>
    @type datadog
    @id datadog
    api_key "#{{ENV['DD_API_KEY']}}"
    host http-intake.logs.{it.datadog.site}
    service {it.datadog.service}
    dd_source {it.datadog.source}
    dd_sourcecategory {it.datadog.source_category}
    dd_tags "{tags}"
{_fluentd_buffer("datadog")}
  </store>"""
        )
    if it.toban:
        token = '    custom_headers {"Authorization":"Bearer #{ENV[\'TOBAN_TOKEN\']}"}\n' if it.has_token else ""
        stores.append(
            f"""  <store>
    @type loki
    @id toban
    url "{it.toban}"
    extra_labels {{"service":"vendure"}}
    line_format json
{token}{_fluentd_buffer("toban")}
  </store>"""
        )
    return f"""<source>
  @type tail
  @id vendure
  path {",".join(it.paths)}
  exclude_path {json.dumps(it.excluded())}
  pos_file {POSITIONS}/fluentd/vendure.pos
  tag vendure.*
  read_from_head true
  follow_inodes true
  refresh_interval 10s
  path_key log_file
  emit_unmatched_lines true
  <parse>
    @type json
    time_key timestamp
    time_type string
    time_format %iso8601
    keep_time_key true
  </parse>
</source>
<match vendure.**>
  @type copy
{chr(10).join(stores)}
</match>
"""


def _fluentd_buffer(name: str) -> str:
    return f"""    <buffer>
      @type file
      path {POSITIONS}/fluentd/buffer/{name}
      flush_interval 3s
      chunk_limit_size 4m
      retry_type exponential_backoff
      retry_max_interval 60s
      retry_forever true
      overflow_action block
    </buffer>"""


def fluent_bit(it: ShipperExport) -> str:
    """Return fluent-bit.yaml."""
    outputs: list[dict[str, Any]] = []
    if it.datadog:
        outputs.append(
            {
                "name": "datadog",
                "match": "vendure.*",
                "host": f"http-intake.logs.{it.datadog.site}",
                "tls": True,
                "compress": "gzip",
                "apikey": "${DD_API_KEY}",
                "dd_service": it.datadog.service,
                "dd_source": it.datadog.source,
                "dd_tags": it.tags(lambda name: f"${{{name}}}"),
                "dd_message_key": "message",
                "retry_limit": "no_limits",
            }
        )
    if it.toban:
        scheme, _, rest = it.toban.partition("://")
        host, _, port = rest.partition(":")
        outputs.append(
            {
                "name": "loki",
                "match": "vendure.*",
                "host": host,
                "port": int(port or (443 if scheme == "https" else 80)),
                "tls": scheme == "https",
                "labels": "service=vendure",
                "line_format": "json",
                "retry_limit": "no_limits",
                **({"bearer_token": "${TOBAN_TOKEN}"} if it.has_token else {}),
            }
        )
    inputs = [
        {
            "name": "tail",
            "path": ",".join(it.paths),
            "exclude_path": ",".join(it.excluded()),
            "tag": "vendure.*",
            "db": f"{POSITIONS}/fluent-bit/vendure.db",
            "read_from_head": True,
            "refresh_interval": 10,
            "buffer_max_size": "1M",
            "skip_long_lines": True,
            "parser": "winston",
            "path_key": "log_file",
            "mem_buf_limit": "20M",
        }
    ]
    parser = {
        "name": "winston",
        "format": "json",
        "time_key": "timestamp",
        "time_format": "%Y-%m-%dT%H:%M:%S.%L%z",
        "time_keep": True,
    }
    status = {"name": "modify", "match": "vendure.*", "copy": "level status"}
    return _yaml(
        {
            "service": {"flush": 3, "log_level": "info"},
            "parsers": [parser],
            "pipeline": {"inputs": inputs, "filters": [status], "outputs": outputs},
        }
    )


VECTOR_REMAP: Final = """parsed, err = parse_json(.message)
if err == null && is_object(parsed) {
  . = merge!(., parsed)
}
.timestamp = parse_timestamp(.timestamp, "%+") ?? now()
.status = .level
"""


def vector(it: ShipperExport) -> str:
    """Return vector.yaml."""
    sinks: dict[str, dict[str, Any]] = {}
    remap = VECTOR_REMAP
    if it.datadog:
        tags = it.tags(lambda name: f"${{{name}:-}}")
        remap += "".join(
            f".{name} = {json.dumps(value)}\n"
            for name, value in (
                ("service", it.datadog.service),
                ("ddsource", it.datadog.source),
                ("ddtags", tags),
            )
        )
        sinks["datadog"] = {
            "type": "datadog_logs",
            "inputs": ["parse"],
            "default_api_key": "${DD_API_KEY}",
            "site": it.datadog.site,
            "compression": "gzip",
            "buffer": {"type": "disk", "max_size": 268_435_488, "when_full": "block"},
        }
    if it.toban:
        sinks["toban"] = {
            "type": "loki",
            "inputs": ["vendure"],
            "endpoint": it.toban,
            "labels": {"service": "vendure"},
            "encoding": {"codec": "text"},
            **({"auth": {"strategy": "bearer", "token": "${TOBAN_TOKEN}"}} if it.has_token else {}),
            "buffer": {"type": "disk", "max_size": 268_435_488, "when_full": "block"},
        }
    return _yaml(
        {
            "data_dir": f"{POSITIONS}/vector",
            "sources": {
                "vendure": {
                    "type": "file",
                    "include": list(it.paths),
                    "exclude": list(it.excluded()),
                    "read_from": "beginning",
                    "max_line_bytes": LINE_BYTES,
                }
            },
            "transforms": {"parse": {"type": "remap", "inputs": ["vendure"], "source": remap}} if it.datadog else {},
            "sinks": sinks,
        }
    )


def alloy(it: ShipperExport) -> str:
    """Return config.alloy. It pushes to toban: Alloy has no output for Datadog's logs."""
    targets = ",\n".join(
        f'    {{"__path__" = {json.dumps(path)}, "__path_exclude__" = {json.dumps(_exclude_glob(it))},'
        f' "service" = "vendure"}}'
        for path in it.paths
    )
    token = '\n    bearer_token = sys.env("TOBAN_TOKEN")' if it.has_token else ""
    return f"""local.file_match "vendure" {{
  path_targets = [
{targets},
  ]
}}

loki.source.file "vendure" {{
  targets    = local.file_match.vendure.targets
  forward_to = [loki.write.toban.receiver]
}}

loki.write "toban" {{
  endpoint {{
    url = {json.dumps(f"{it.toban}/loki/api/v1/push")}{token}
  }}
}}
"""


def _exclude_glob(it: ShipperExport) -> str:
    return f"{{{','.join(it.excluded())}}}"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Return a text."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, "|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _yaml(found: Mapping[str, Any]) -> str:
    return yaml.dump(found, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


SHIPPERS: Final[Mapping[str, tuple[str, Callable[[ShipperExport], str]]]] = {
    "fluentd": ("fluentd.conf", fluentd),
    "fluent-bit": ("fluent-bit.yaml", fluent_bit),
    "vector": ("vector.yaml", vector),
    "alloy": ("config.alloy", alloy),
}
"""By the name of a program, the file that it reads and what writes it."""
