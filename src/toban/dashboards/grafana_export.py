"""Boards as dashboards of Grafana, and the files that provision them."""

from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

from toban.dashboards.board import COLUMNS, Board, DrawStyle, Level, Panel, PanelType, Variable

SchemaVersion: TypeAlias = Literal[39, 42]
"""39 is read by Grafana 10 and newer, 42 by Grafana 12 and newer."""

FOLDER: Final = "toban"
"""The uid and the title of the folder in Grafana."""

DATASOURCE_UID: Final = "toban"
"""The uid of the data source that provisioning creates."""

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLORS: Final = {Level.OK: "green", Level.WARNING: "orange", Level.CRITICAL: "red"}
ANNOTATIONS: Final = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def uid(board: Board) -> str:
    """Return the uid of a board in Grafana."""
    return f"toban-{board.name}"


def dashboard(board: Board, schema_version: SchemaVersion = 39, language: str = "en") -> dict[str, Any]:
    """Return a board as the JSON of a dashboard."""
    return {
        "uid": uid(board),
        "title": board.title_in(language),
        "description": board.description_in(language),
        "tags": ["toban"],
        "timezone": "browser",
        "editable": True,
        "schemaVersion": schema_version,
        "version": 1,
        "refresh": board.refresh,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "time": {"from": board.time.begin, "to": board.time.end},
        "timepicker": {},
        "links": [],
        "annotations": {"list": [ANNOTATIONS]},
        "templating": {"list": [_datasource(), *(_variable(it, language) for it in board.variables)]},
        "panels": list(_panels(board, language)),
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "current": {},
        "refresh": 1,
    }


def _variable(variable: Variable, language: str) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        "name": variable.name,
        "label": variable.title_in(language),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "sort": 1,
        "hide": 0,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
    }


def _panels(board: Board, language: str) -> Iterator[dict[str, Any]]:
    """Return the panels with their places, from left to right and from the top down; rows are expanded."""
    number = bottom = 0
    for row in (None, *board.rows):
        if row:
            number += 1
            place = {"h": 1, "w": COLUMNS, "x": 0, "y": bottom}
            title = row.title_in(language)
            yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
            bottom += 1
        left, top = 0, bottom
        for panel in row.panels if row else board.panels:
            if left + panel.width > COLUMNS:
                left, top = 0, bottom
            number += 1
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            yield {"id": number, "gridPos": place, **_panel(panel, language)}
            left += panel.width
            bottom = max(bottom, top + panel.height)


def _panel(panel: Panel, language: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit.value,
        "color": {"mode": "thresholds" if panel.type in _BY_THRESHOLD else "palette-classic"},
        "custom": _custom(panel),
        "thresholds": {
            "mode": "absolute",
            "steps": [
                {"color": COLORS[panel.base_level], "value": None},
                *({"color": COLORS[it.level], "value": it.value} for it in panel.thresholds),
            ],
        },
        "mappings": [],
    }
    limits = {name: value for name, value in (("min", panel.min), ("max", panel.max)) if value is not None}
    return {
        "type": panel.type.value,
        "title": panel.title_in(language),
        "description": panel.description_in(language),
        "datasource": DATASOURCE,
        "targets": list(_targets(panel, language)),
        "fieldConfig": {"defaults": {**defaults, **limits}, "overrides": list(_overrides(panel, language))},
        "options": _options(panel),
    }


_BY_THRESHOLD: Final = frozenset({PanelType.STAT, PanelType.GAUGE, PanelType.STATE_TIMELINE})
_LAST: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_LEGEND: Final = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


def _targets(panel: Panel, language: str) -> Iterator[dict[str, Any]]:
    is_instant = panel.type.is_instant
    for place, query in enumerate(panel.queries):
        yield {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend_in(language),
            "instant": is_instant,
            "range": not is_instant,
            "format": {PanelType.HEATMAP: "heatmap", PanelType.TABLE: "table"}.get(panel.type, "time_series"),
        }


def _overrides(panel: Panel, language: str) -> Iterator[dict[str, Any]]:
    """Return what holds for one series alone: to which other one the area below it is filled."""
    names = {query.legend: query.legend_in(language) for query in panel.queries}
    for query in panel.queries:
        if query.fill_below_to:
            yield {
                "matcher": {"id": "byName", "options": names[query.legend]},
                "properties": [{"id": "custom.fillBelowTo", "value": names[query.fill_below_to]}],
            }


def _custom(panel: Panel) -> dict[str, Any]:
    if panel.type is not PanelType.TIME_SERIES:
        return {}
    is_stacked = panel.style is DrawStyle.STACKED
    return {
        "drawStyle": "bars" if panel.style is DrawStyle.BARS else "line",
        "lineWidth": 1,
        "fillOpacity": 40 if is_stacked else 10,
        "showPoints": "never",
        "spanNulls": False,
        "axisLabel": panel.axis_label,
        "scaleDistribution": {"type": "log", "log": 10} if panel.logarithmic else {"type": "linear"},
        "stacking": {"mode": "normal" if is_stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if panel.thresholds else "off"},
    }


def _options(panel: Panel) -> dict[str, Any]:
    match panel.type:
        case PanelType.STAT:
            return {
                "reduceOptions": _LAST,
                "colorMode": "background" if panel.colored_background else "value",
                "graphMode": "area",
                "justifyMode": "auto",
                "orientation": "auto",
                "textMode": "auto",
                "wideLayout": True,
            }
        case PanelType.GAUGE:
            return {"reduceOptions": _LAST, "showThresholdLabels": False, "showThresholdMarkers": True}
        case PanelType.BAR_GAUGE:
            return {"reduceOptions": _LAST, "orientation": "horizontal", "displayMode": "basic", "valueMode": "color"}
        case PanelType.TABLE:
            return {"showHeader": True, "cellHeight": "sm"}
        case PanelType.HEATMAP:
            return {
                "calculate": False,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "yAxis": {"unit": panel.unit.value},
                "tooltip": {"mode": "single", "showColorScale": False},
            }
        case PanelType.STATE_TIMELINE:
            return {"legend": _LEGEND, "mergeValues": True, "showValue": "never", "tooltip": {"mode": "single"}}
    return {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}


def provisioning(url: str, dashboards: str, *, with_token: bool) -> dict[str, dict[str, Any]]:
    """
    Return the provisioning files of the data source and of the dashboards, by path.

    ``url`` is where Grafana reaches toban, ``dashboards`` the folder with the dashboards as Grafana sees it. The token
    is read from the environment of Grafana (``TOBAN_TOKEN``).
    """
    header = {"httpHeaderName1": "Authorization"} if with_token else {}
    secret = {"secureJsonData": {"httpHeaderValue1": "Bearer $TOBAN_TOKEN"}} if with_token else {}
    source = {
        "name": "toban",
        "uid": DATASOURCE_UID,
        "type": "prometheus",
        "access": "proxy",
        "orgId": 1,
        "url": literal(url),
        "isDefault": False,
        "editable": False,
        "jsonData": {"httpMethod": "POST", "timeInterval": "15s", "prometheusType": "Prometheus", **header},
        **secret,
    }
    provider = {
        "name": "toban",
        "orgId": 1,
        "folder": FOLDER,
        "folderUid": FOLDER,
        "type": "file",
        "disableDeletion": False,
        "updateIntervalSeconds": 30,
        "allowUiUpdates": False,
        "options": {"path": literal(dashboards), "foldersFromFilesStructure": False},
    }
    return {
        "provisioning/datasources/toban.yaml": {"apiVersion": 1, "datasources": [source]},
        "provisioning/dashboards/toban.yaml": {"apiVersion": 1, "providers": [provider]},
    }


def literal(content: Any) -> Any:
    """Return content that Grafana reads as it is: in provisioning files it expands `$NAME` as a variable."""
    if isinstance(content, dict):
        return {name: literal(value) for name, value in content.items()}
    if isinstance(content, list):
        return [literal(value) for value in content]
    return content.replace("$", "$$") if isinstance(content, str) else content
