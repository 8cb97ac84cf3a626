"""Writes `docs/reference/` from the code: run it after changing a setting or a metric."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from toban.cli.metric_catalog import declared_families
from toban.core.plugins import PluginRegistry
from toban.instruments.metric_sources import COVERAGE, MetricSource
from toban.settings import Settings, plugin_registries
from toban.web.i18n import catalogue

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def metrics() -> str:
    """Return the page of metrics."""
    lines = [
        "# Metrics",
        "",
        "Every metric that toban declares. Each carries `job` and `instance`; what was scraped from an exporter keeps",
        "its own names. `/metrics` shows these, `/federate` everything.",
        "",
        "| metric | type | help |",
        "|---|---|---|",
    ]
    for _, family in declared_families():
        there = f" Present {family.present}." if family.present else ""
        lines.append(f"| `{family.name}` | {family.type.value} | {family.help}{there} |")
    return "\n".join(lines) + "\n"


def sources() -> str:
    """Return the page of the sources of metrics."""
    say = catalogue("en")
    lines = [
        "# Sources of metrics",
        "",
        "toban reads a shop in several ways, each useful alone. Which metrics each provides, and how completely:",
        "",
        "| what | metrics | " + " | ".join(source.value for source in MetricSource) + " |",
        "|---|---|" + "---|" * len(MetricSource),
    ]
    for topic in COVERAGE:
        cells = [topic.sources.get(source, "") for source in MetricSource]
        metrics = ", ".join(f"`{metric}`" for metric in topic.metrics)
        lines.append(f"| {say[f'known-{topic.key}']} | {metrics} | {' | '.join(cells)} |")
    lines += ["", "How to enable each:", ""]
    lines += [f"- **{source.value}**: {say[f'source-{source.name.lower()}']}" for source in MetricSource]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Return the page of settings."""
    schema = Settings.model_json_schema()
    sections = schema["$defs"]
    lines = ["# Settings", "", "The settings of `toban.yaml`; `toban schema` prints a JSON Schema for editors.", ""]
    registries = plugin_registries()
    lines += _table(schema["properties"], sections, skip=registries)
    for name, field in schema["properties"].items():
        section = _section(field, sections)
        if section:
            lines += [
                "",
                f"## {name}",
                "",
                section.get("description", ""),
                "",
                *_table(section["properties"], sections),
            ]
    for name, registry in registries.items():
        about = schema["properties"][name]["description"].replace("\n", " ")
        lines += ["", f"## {name}", "", f"{about} Each has a `kind`, and:", "", *_plugins(registry)]
    return "\n".join(lines).rstrip() + "\n"


def _plugins(registry: PluginRegistry[Any]) -> Iterator[str]:
    """Yield the settings that all plugins of a registry have, then each plugin's own."""
    kinds = {kind: registry.load(kind).model_json_schema() for kind in registry.names()}
    common = next(iter(kinds.values()))["properties"]
    shared = [name for name in registry.root.model_fields if name != "kind"]
    yield from _table({name: common[name] for name in shared}, {})
    for kind, found in kinds.items():
        own = {
            name: field
            for name, field in found["properties"].items()
            if name != "kind" and (name not in shared or field.get("default") != common[name].get("default"))
        }
        about = (found.get("description") or "").replace("\n", " ")
        yield from ("", f"### {kind}", "", about, "", *_table(own, found.get("$defs", {})))


def _section(field: Mapping[str, Any], sections: Mapping[str, Any]) -> Mapping[str, Any] | None:
    reference = field.get("$ref") or next((one["$ref"] for one in field.get("allOf", ()) if "$ref" in one), None)
    return sections[reference.rpartition("/")[2]] if reference else None


def _table(properties: Mapping[str, Any], sections: Mapping[str, Any], skip: Iterable[str] = ()) -> list[str]:
    rows = [
        f"| `{name}` | {_default(name, field)} | {(field.get('description') or '').replace(chr(10), ' ')} |"
        for name, field in properties.items()
        if name not in skip and not _section(field, sections)
    ]
    return ["| setting | default | description |", "|---|---|---|", *rows] if rows else []


def _default(name: str, field: Mapping[str, Any]) -> str:
    if name == "data":
        return "`~/.local/share/toban`"
    default = field.get("default", "")
    return f"`{default}`" if default not in ("", None, [], {}) else ""


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "metrics.md").write_text(metrics(), encoding="utf-8")
    (FOLDER / "sources.md").write_text(sources(), encoding="utf-8")
    (FOLDER / "settings.md").write_text(settings(), encoding="utf-8")


if __name__ == "__main__":
    main()
