"""Writes `docs/reference/` from the code: run it after changing a setting or a number."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from toban.cli.metric_catalog import declared_families
from toban.collect.collector import COLLECTORS
from toban.instruments.metric_sources import NUMBERS, MetricSource
from toban.settings import Settings
from toban.web.i18n import catalogue

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def metrics() -> str:
    """Return the page of metrics."""
    lines = [
        "# Numbers",
        "",
        "Every metric that toban declares. Each carries `job` and `instance`; what was scraped from an exporter keeps",
        "its own names. `/metrics` shows these, `/federate` everything.",
        "",
        "| metric | type | what it tells |",
        "|---|---|---|",
    ]
    for _, family in declared_families():
        there = f" There {family.present}." if family.present else ""
        lines.append(f"| `{family.name}` | {family.type.value} | {family.help}{there} |")
    return "\n".join(lines) + "\n"


def sources() -> str:
    """Return the page of what each way of reading the shop can tell."""
    say = catalogue("en")
    lines = [
        "# What tells what",
        "",
        "toban reads a shop in several ways, each useful alone. What each can tell, and how well:",
        "",
        "| what | metrics | " + " | ".join(source.value for source in MetricSource) + " |",
        "|---|---|" + "---|" * len(MetricSource),
    ]
    for number in NUMBERS:
        cells = [number.sources.get(source, "") for source in MetricSource]
        metrics = ", ".join(f"`{metric}`" for metric in number.metrics)
        lines.append(f"| {say[f'known-{number.key}']} | {metrics} | {' | '.join(cells)} |")
    lines += ["", "What makes each speak:", ""]
    lines += [f"- **{source.value}**: {say[f'source-{source.name.lower()}']}" for source in MetricSource]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Return the page of settings."""
    schema = Settings.model_json_schema()
    sections = schema["$defs"]
    lines = ["# Settings", "", "What `toban.yaml` may say; `toban schema` prints the same for editors.", ""]
    lines += _table(schema["properties"], sections, skip=("collect",))
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
    lines += ["", "## collect", "", "A list of things to look at, each with its `kind`. All kinds have:", ""]
    shared = COLLECTORS.root.model_fields
    kinds = {kind: COLLECTORS.load(kind).model_json_schema() for kind in COLLECTORS.names()}
    common = next(iter(kinds.values()))["properties"]
    lines += _table({name: common[name] for name in shared if name != "kind"}, sections)
    for kind, found in kinds.items():
        about = (found.get("description") or "").replace("\n", " ")
        own = {
            name: field
            for name, field in found["properties"].items()
            if name not in shared or _differs(field, common[name])
        }
        own.pop("kind", None)
        lines += ["", f"### {kind}", "", about, "", *_table(own, found.get("$defs", {}))]
    return "\n".join(lines).rstrip() + "\n"


def _differs(field: Mapping[str, Any], common: Mapping[str, Any]) -> bool:
    return bool(field.get("default") != common.get("default"))


def _section(field: Mapping[str, Any], sections: Mapping[str, Any]) -> Mapping[str, Any] | None:
    reference = field.get("$ref") or next((one["$ref"] for one in field.get("allOf", ()) if "$ref" in one), None)
    return sections[reference.rpartition("/")[2]] if reference else None


def _table(properties: Mapping[str, Any], sections: Mapping[str, Any], skip: Iterable[str] = ()) -> list[str]:
    rows = [
        f"| `{name}` | {_default(name, field)} | {(field.get('description') or '').replace(chr(10), ' ')} |"
        for name, field in properties.items()
        if name not in skip and not _section(field, sections)
    ]
    return ["| setting | unless set | what it is |", "|---|---|---|", *rows] if rows else []


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
