"""Writes `docs/reference/` from the code: run it after changing a setting or a metric."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter

from toban.cli.metric_catalog import declared_families
from toban.core.config_types import SIZES, Address, Duration, Size
from toban.core.plugins import PluginRegistry
from toban.core.samples import MetricFamily
from toban.instruments.metric_sources import COVERAGE, MetricSource
from toban.runbooks.action import ACTIONS
from toban.runbooks.runbook import Runbook, TextStep
from toban.runbooks.settings import shipped_runbooks
from toban.settings import Settings, plugin_registries
from toban.web.pages.i18n import texts

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def metrics() -> str:
    """Return the page of metrics."""
    lines = [
        "# Metrics",
        "",
        "Every metric that toban declares. Each carries `job` and `instance`; what was scraped from an exporter keeps",
        "its own names. A label in brackets is on some of the series only. `/metrics` shows these, `/federate`",
        "everything.",
        "",
        "| metric | type | labels | help |",
        "|---|---|---|---|",
    ]
    for _, family in declared_families():
        there = f" Present {family.present}." if family.present else ""
        lines.append(f"| `{family.name}` | {family.type.value} | {_labels(family)} | {family.help}{there} |")
    return "\n".join(lines) + "\n"


def _labels(family: MetricFamily) -> str:
    """Return the labels of a family as they are written in the table."""
    if family.labels is None:
        return "any"
    return ", ".join(
        [*(f"`{label}`" for label in family.labels), *(f"(`{label}`)" for label in family.optional_labels)]
    )


def sources() -> str:
    """Return the page of the sources of metrics."""
    say = texts("en")
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
    registries = plugin_registries()
    lines = [
        "# Settings",
        "",
        "The settings of `toban.yaml`; `toban schema` prints a JSON Schema for editors. `a.b` is the setting `b` in",
        "the section `a`; `a[].b` is `b` of each entry of the list `a`.",
        "",
    ]
    top = schema["properties"]
    plain = {name: field for name, field in top.items() if name not in registries and not _section(field, sections)}
    lines += _table(_rows(plain, set(), sections))
    for name, field in top.items():
        if name not in registries and (found := _section(field, sections)):
            _, section = found
            lines += [
                "",
                f"## {name}",
                "",
                _one_line(section["description"]),
                "",
                *_table(_section_rows(section, sections)),
            ]
    for name, registry in registries.items():
        lines += ["", f"## {name}", "", f"{_one_line(top[name]['description'])} Each has a `kind`, and:", ""]
        lines += _plugins(registry)
    return "\n".join(lines).rstrip() + "\n"


def runbooks() -> str:
    """Return the page of runbooks: their files, the actions of their steps, and those that toban ships."""
    schema = Runbook.model_json_schema()
    properties = {name: field for name, field in schema["properties"].items() if name != "steps"}
    lines = [
        "# Runbooks",
        "",
        "The file of a runbook has these settings, and `steps`: `text: …` for people (`text_ja` in Japanese), or an",
        "action with its parameters. [Let toban act](../incidents.md#let-toban-act) shows one.",
        "",
        *_table(_rows(properties, set(schema["required"]), schema["$defs"])),
        "",
        "## Actions",
        "",
        "Each has:",
        "",
        *_plugins(ACTIONS),
        "",
        "## Shipped runbooks",
        "",
        "They ask before they act, until `runbooks.modes` says otherwise.",
        "",
        "| name | for | steps |",
        "|---|---|---|",
    ]
    for it in shipped_runbooks():
        steps = ", ".join("a step for people" if isinstance(step, TextStep) else f"`{step.kind}`" for step in it.steps)
        lines.append(f"| `{it.name}`: {it.title} | `{_one_line(' '.join(it.when))}` | {steps} |")
    return "\n".join(lines) + "\n"


def _plugins(registry: PluginRegistry[Any]) -> Iterator[str]:
    """Yield the settings that all plugins of a registry have, then each plugin's own."""
    kinds = {kind: registry.load(kind).model_json_schema() for kind in registry.names()}
    root = registry.root.model_json_schema()
    shared = {name: field for name, field in root["properties"].items() if name != "kind"}
    varying = {
        name
        for name, field in shared.items()
        if any(found["properties"][name].get("default") != field.get("default") for found in kinds.values())
    }
    yield from _table(
        {**row, "default": "by kind"} if row["setting"] in varying else row
        for row in _rows(shared, set(), root.get("$defs", {}))
    )
    for kind, found in kinds.items():
        own = {
            name: {**field, "description": _description(field) or _description(shared.get(name, {}))}
            for name, field in found["properties"].items()
            if name != "kind" and (name not in shared or name in varying)
        }
        about = _one_line(found.get("description", ""))
        table = _table(_rows(own, set(found.get("required", ())), found.get("$defs", {})))
        yield from ("", f"### {kind}", "", about, *(["", *table] if table else []))


Row: TypeAlias = Mapping[str, str]
"""A line of a table, by its headings."""


def _section_rows(section: Mapping[str, Any], sections: Mapping[str, Any], prefix: str = "") -> Iterator[Row]:
    return _rows(section["properties"], set(section.get("required", ())), sections, prefix)


def _rows(
    fields: Mapping[str, Any], required: Collection[str], sections: Mapping[str, Any], prefix: str = ""
) -> Iterator[Row]:
    """Yield a row for each setting, and for each of the sections in it."""
    for name, field in fields.items():
        found = _section(field, sections)
        suffix, section = found or ("", {})
        yield {
            "setting": f"{prefix}{name}",
            "type": _type(field, sections),
            "default": "required" if name in required else "" if section else _default(name, field),
            "description": _description(field) or _one_line(section.get("description", "")),
        }
        if found:
            yield from _section_rows(section, sections, f"{prefix}{name}{suffix}.")


def _section(field: Mapping[str, Any], sections: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the section that a setting consists of, after `[]` if it is a list of them, `.NAME` if each has a name."""
    if "$ref" in field:
        found = sections[field["$ref"].rpartition("/")[2]]
        return ("", found) if "properties" in found else None
    for one in (*field.get("allOf", ()), *field.get("anyOf", ())):
        if inner := _section(one, sections):
            return inner
    for key, suffix in (("items", "[]"), ("additionalProperties", ".NAME")):
        inside = field.get(key)
        if isinstance(inside, Mapping) and (inner := _section(inside, sections)):
            return suffix + inner[0], inner[1]
    return None


SCHEMAS: Final = {
    name: TypeAdapter(annotation).json_schema()
    for name, annotation in (("duration", Duration), ("size", Size), ("URL", Address))
}
"""The types with a form of their own; an example tells them apart."""
NAMES: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def _type(field: Mapping[str, Any], sections: Mapping[str, Any]) -> str:
    """Return the type of a setting in words."""
    if "$ref" in field:
        found = sections[field["$ref"].rpartition("/")[2]]
        return "section" if "properties" in found else _type(found, sections)
    if choices := field.get("anyOf") or field.get("oneOf") or field.get("allOf"):
        return " or ".join(dict.fromkeys(_type(one, sections) for one in choices if one.get("type") != "null"))
    for name, schema in SCHEMAS.items():
        if field.get("examples") == schema["examples"]:
            return name
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field.get("format") in {"password", "path"}:
        return {"password": "secret", "path": "path"}[field["format"]]
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), sections)}"
    if field.get("type") == "object":
        inside = field.get("additionalProperties")
        return f"names with {_type(inside, sections) if isinstance(inside, Mapping) else 'values'}"
    bounds = [f"{word} {field[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in field]
    return " ".join((NAMES.get(str(field.get("type")), "any value"), *bounds))


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _description(field: Mapping[str, Any]) -> str:
    """Return what the setting's own docstring says; a type's description is none."""
    text = field.get("description") or ""
    return "" if text in {schema["description"] for schema in SCHEMAS.values()} else _one_line(text)


def _table(rows: Iterable[Row]) -> list[str]:
    lines = [f"| `{row['setting']}` | {row['type']} | {row['default']} | {row['description']} |" for row in rows]
    return ["| setting | type | default | description |", "|---|---|---|---|", *lines] if lines else []


def _default(name: str, field: Mapping[str, Any]) -> str:
    if name == "data":
        return "`~/.local/share/toban`"
    default = field.get("default")
    if default in ("", None, [], {}):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if field.get("examples") == SCHEMAS["size"]["examples"]:
        return f"`{_size(default)}`"
    return f"`{', '.join(map(str, default))}`" if isinstance(default, list) else f"`{default}`"


def _size(bytes_: int) -> str:
    """Write a size in the largest unit in which it is a whole number."""
    many, unit = min((bytes_ // size, unit) for unit, size in SIZES.items() if bytes_ % size == 0)
    return f"{many}{unit}"


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "metrics.md").write_text(metrics(), encoding="utf-8")
    (FOLDER / "sources.md").write_text(sources(), encoding="utf-8")
    (FOLDER / "settings.md").write_text(settings(), encoding="utf-8")
    (FOLDER / "runbooks.md").write_text(runbooks(), encoding="utf-8")


if __name__ == "__main__":
    main()
