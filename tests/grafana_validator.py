"""What Grafana requires of a dashboard's JSON and of its provisioning files, held strictly."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TYPES = {"row", "timeseries", "stat", "gauge", "bargauge", "table", "heatmap", "state-timeline"}
UNITS = {
    *("short", "none", "percent", "percentunit", "bytes", "decbytes", "Bps", "binBps", "reqps", "ops", "s", "ms"),
    *("dtdurations", "dateTimeAsIso", "dateTimeFromNow"),
}
BUILT_IN = {"__rate_interval", "__interval", "__range", "__from", "__to"}
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}


def mistakes(dashboard: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a dashboard."""
    return list(_mistakes(dashboard))


def _mistakes(dashboard: Mapping[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", dashboard["uid"]):
        yield f"uid {dashboard['uid']!r}"
    if dashboard.get("id") is not None:
        yield "id is per installation: it must be null or absent"
    if "__inputs" in dashboard or "${DS_" in str(dashboard):
        yield "__inputs are for the import dialog only"
    if dashboard["schemaVersion"] not in {39, 41, 42}:
        yield f"schemaVersion {dashboard['schemaVersion']}"
    variables = {it["name"] for it in dashboard["templating"]["list"]}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] not in {"query", "datasource", "custom", "constant", "interval", "textbox"}:
            yield f"variable {variable['name']}: type {variable['type']}"
        if variable["type"] == "query" and variable["datasource"] != PROMETHEUS:
            yield f"variable {variable['name']}: data source"
    panels = dashboard["panels"]
    yield from _places(panels)
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids) or not all(ids):
        yield "ids of panels are not unique"
    for panel in panels:
        for mistake in _panel(panel, variables):
            yield f"panel {panel['title']!r}: {mistake}"


def _places(panels: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        if at["x"] < 0 or at["x"] + at["w"] > 24 or at["w"] < 1 or at["h"] < 1:
            yield f"panel {panel['title']!r} is outside the 24 columns"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield f"panels {taken[cell]!r} and {panel['title']!r} overlap"
                break
            taken[cell] = panel["title"]


def _panel(panel: Mapping[str, Any], variables: set[str]) -> Iterator[str]:
    if panel["type"] not in TYPES:
        yield f"type {panel['type']}"
    if panel["type"] == "row":
        if not panel["collapsed"] and panel["panels"]:
            yield "an expanded row holds no panels"
        return
    if panel["datasource"] != PROMETHEUS:
        yield "data source"
    references = [target["refId"] for target in panel["targets"]]
    if not references or len(set(references)) != len(references):
        yield f"refIds {references}"
    for target in panel["targets"]:
        yield from _target(target, variables)
    defaults = panel["fieldConfig"]["defaults"]
    if defaults["unit"] not in UNITS:
        yield f"unit {defaults['unit']}"
    steps = [step["value"] for step in defaults["thresholds"]["steps"]]
    if steps[0] is not None or any(value is None for value in steps[1:]) or steps[1:] != sorted(set(steps[1:])):
        yield f"threshold steps {steps}"


def _target(target: Mapping[str, Any], variables: set[str]) -> Iterator[str]:
    if target["instant"] == target["range"]:
        yield "a target is either instant or a range"
    used = {braced or plain for braced, plain in re.findall(r"\$(?:\{(\w+)[^}]*\}|(\w+))", target["expr"])}
    if unknown := used - variables - BUILT_IN:
        yield f"variables {sorted(unknown)}"
    for name in used & variables:
        if not re.search(rf'=~"[^"]*\$\{{?{name}', target["expr"]):
            yield f"${name} has several values: it needs =~"


def rule_mistakes(content: Mapping[str, Any]) -> Iterator[str]:
    """Return what is wrong with a provisioning file of alerting, after `$$` was read."""
    titles: set[tuple[str, str]] = set()
    uids: set[str] = set()
    names: set[str] = set()
    for group in content["groups"]:
        seconds = sum(
            int(n) * {"s": 1, "m": 60, "h": 3600}[u] for n, u in re.findall(r"(\d+)([smh])", group["interval"])
        )
        if not seconds or seconds % 10:
            yield f"group {group['name']}: interval {group['interval']}"
        if group["name"] in names:
            yield f"group {group['name']} is there twice"
        names.add(group["name"])
        for rule in group["rules"]:
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", rule["uid"]) or rule["uid"] in uids:
                yield f"rule {rule['title']}: uid {rule['uid']!r}"
            if (group["folder"], rule["title"]) in titles:
                yield f"rule {rule['title']}: its title is in the folder twice"
            uids.add(rule["uid"])
            titles.add((group["folder"], rule["title"]))
            if rule["condition"] not in {it["refId"] for it in rule["data"]}:
                yield f"rule {rule['title']}: condition"
            if re.search(r"(?<!\$)\$(?!\$)", str(rule).replace("$$", "")):
                yield f"rule {rule['title']}: a single $ is read as an environment variable"
