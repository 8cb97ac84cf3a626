"""Export rules, routes, dashboards and samples for other programs."""

import asyncio
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import click
import httpx2
import yaml

from toban.alerting import prometheus_export as rules_out
from toban.alerting.grafana_export import alert_rules
from toban.cli.client import config_option, data_option, download
from toban.cli.formatting import echo, echo_bytes
from toban.cli.param_types import DurationType
from toban.collect import default_collectors
from toban.core.config_types import format_duration
from toban.core.errors import SettingsError
from toban.core.message_catalogue import LANGUAGES
from toban.dashboards import grafana_export as grafana_out
from toban.dashboards.board_loader import load_boards
from toban.dashboards.grafana_client import GrafanaClient
from toban.logs import shipper_export as shippers_out
from toban.notify import alertmanager_export as routes_out
from toban.notify.routing import CHANNELS
from toban.settings import load_rules, load_settings

FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
FORCE = click.option("--force", is_flag=True, help="Overwrite existing files.")
OWNER = stat.S_IRUSR | stat.S_IWUSR


@click.group
def command() -> None:
    """Write configurations for Prometheus, Alertmanager, Grafana and log shippers, and samples in OpenMetrics."""


@command.command("prometheus")
@FOLDER
@config_option
@click.option("--toban", metavar="HOST:PORT", default="", help="Where Prometheus scrapes toban.  [default: web.listen]")
@click.option("--alertmanager", metavar="HOST:PORT", default="localhost:9093", show_default=True)
@FORCE
def prometheus(folder: Path, config: Path | None, toban: str, alertmanager: str, force: bool) -> None:
    """Write prometheus.yml and the rules into FOLDER: it scrapes toban and evaluates the same rules."""
    settings = load_settings(config, os.environ)
    groups = load_rules(settings)
    rules = rules_out.rule_file(groups)
    collectors = default_collectors.with_defaults(settings.collect, settings.shop)
    federated = sorted({one.target["job"] for one in collectors if not one.exposes})
    token = settings.web.token.get_secret_value() if settings.web.token else ""
    interval = format_duration(settings.alerting.evaluation_interval)
    address = toban or settings.web.listen
    main = rules_out.prometheus(
        ["rules.yml"], address, alertmanager, interval, federated, "secrets/toban" if token else ""
    )
    files = {"prometheus.yml": _yaml(main), "rules.yml": _yaml(rules)}
    _write(folder, files, {"toban": token} if token else {}, force=force)
    echo(f"promtool check config {folder / 'prometheus.yml'} checks it.")
    echo("Not exported: the alerts about toban itself (toban_component_unhealthy, rule_evaluation_failed).")
    for lost in rules_out.not_exported(groups):
        echo(f"Not exported: {lost}.")


@command.command("alertmanager")
@FOLDER
@config_option
@FORCE
def alertmanager(folder: Path, config: Path | None, force: bool) -> None:
    """Write alertmanager.yml into FOLDER: the same routes, inhibitions, windows and channels; secrets beside it."""
    settings = load_settings(config, os.environ)
    labelled = {
        rule.labels[CHANNELS].source
        for group in load_rules(settings)
        for rule in group.alerts
        if CHANNELS in rule.labels
    }
    found = routes_out.alertmanager(settings.notify, settings.channels, labelled)
    _write(folder, {"alertmanager.yml": _yaml(found.settings)}, found.secrets, force=force)
    echo(f"amtool check-config {folder / 'alertmanager.yml'} checks it.")
    for lost in found.lost:
        echo(f"Not exported: {lost}.")


@command.command("grafana")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
@config_option
@click.option("--push", metavar="URL", help="Create and update the dashboards in this Grafana; needs GRAFANA_TOKEN.")
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Language of titles.")
@click.option("--schema", type=click.Choice(["39", "42"]), default="39", show_default=True, help="42: Grafana 12 only.")
@click.option("--toban", metavar="URL", default="", help="Where Grafana reaches toban.  [default: web.listen]")
@click.option("--dashboards", metavar="PATH", default="", help="FOLDER/dashboards as Grafana sees it.")
@FORCE
def grafana(
    folder: Path | None,
    config: Path | None,
    push: str | None,
    language: str,
    schema: str,
    toban: str,
    dashboards: str,
    force: bool,
) -> None:
    """
    Write all boards as dashboards into FOLDER, with provisioning files; or push them to a Grafana.

    The provisioning files make toban a data source, load the dashboards, and let Grafana evaluate the same alerting
    rules. GRAFANA_TOKEN is the token of a service account with the role Editor.
    """
    if not folder and not push:
        raise click.UsageError("Give a FOLDER to write to, or --push URL.")
    settings = load_settings(config, os.environ)
    version: grafana_out.SchemaVersion = 42 if schema == "42" else 39
    found = [grafana_out.dashboard(board, version, language) for board in load_boards(settings.dashboards)]
    if folder:
        url = toban or f"http://{settings.web.listen}"
        path = dashboards or str((folder / "dashboards").absolute())
        rules = alert_rules(
            load_rules(settings), settings.alerting.evaluation_interval, grafana_out.FOLDER, grafana_out.DATASOURCE_UID
        )
        provisioned = {
            **grafana_out.provisioning(url, path, with_token=bool(settings.web.token)),
            "provisioning/alerting/toban.yaml": grafana_out.literal(rules.content),
        }
        files = {f"dashboards/{it['uid']}.json": json.dumps(it, indent=2, ensure_ascii=False) + "\n" for it in found}
        _write(folder, files | {name: _yaml(content) for name, content in provisioned.items()}, {}, force=force)
        for lost in rules.lost:
            echo(f"Not exported: {lost}.")
        echo(f"Grafana reads {folder / 'provisioning'} when GF_PATHS_PROVISIONING names it.")
        if settings.web.token:
            echo("Give Grafana toban's token in its environment: TOBAN_TOKEN.")
    if push:
        token = os.environ.get("GRAFANA_TOKEN", "").strip()
        if not token:
            raise SettingsError("--push: GRAFANA_TOKEN is not set: give it the token of a service account")
        for address in asyncio.run(_push(push, token, found)):
            echo(f"Pushed {address}")


async def _push(url: str, token: str, dashboards: Sequence[Mapping[str, Any]]) -> list[str]:
    async with httpx2.AsyncClient() as http:
        return await GrafanaClient(url, token, http).push(dashboards)


def _shipper_command(program: str) -> click.Command:
    """Return the command that writes the configuration of a log shipper."""
    name, write = shippers_out.SHIPPERS[program]

    @click.command(program, help=f"Write {name} into FOLDER: it ships the files of `logs.files` to toban and Datadog.")
    @FOLDER
    @config_option
    @click.option("--toban", metavar="URL", default="", help="Where toban is.  [default: notify.address or web.listen]")
    @FORCE
    def export(folder: Path, config: Path | None, toban: str, force: bool) -> None:
        settings = load_settings(config, os.environ)
        address = toban or settings.notify.address or f"http://{settings.web.listen}"
        found = shippers_out.ShipperExport.of(
            settings.logs, settings.log_sinks.values(), address, has_token=settings.web.token is not None
        )
        _write(folder, {name: write(found)}, {}, force=force)
        secrets = [*(["DD_API_KEY"] if found.datadog else []), *(["TOBAN_TOKEN"] if found.has_token else [])]
        if secrets:
            echo(f"Set {' and '.join(secrets)} in the environment of {program}: no secret is in the file.")

    return export


for shipper in shippers_out.SHIPPERS:
    command.add_command(_shipper_command(shipper))


@command.command("openmetrics")
@click.argument("file", type=click.File("wb", lazy=True), default="-")
@click.option("--match", multiple=True, metavar="SELECTOR", help="Only these series; can be given several times.")
@click.option("--last", type=DurationType(), help="Only the last hours or days, like 30d.  [default: everything]")
@click.option("--utf8", is_flag=True, help="Keep UTF-8 names, in quotes; otherwise other characters become `_`.")
@data_option
def openmetrics(file: BinaryIO, match: Sequence[str], last: timedelta | None, utf8: bool, data: Path | None) -> None:
    """
    Write samples with their timestamps into FILE, or to standard output.

    For `toban import` and `promtool tsdb create-blocks-from openmetrics`; with --utf8 a promtool of Prometheus 3.
    """
    query: dict[str, str | Sequence[str]] = {"match[]": match}
    if utf8:
        query["escaping"] = "allow-utf-8"
    if last:
        query["start"] = f"{time.time() - last.total_seconds():.3f}"
    echo_bytes(download("/api/v1/export", data, **query), file)


class _Plain(yaml.SafeDumper):
    """Writes repeated values in full, for people."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _yaml(found: Mapping[str, Any]) -> str:
    header = "# Written by `toban export`.\n"
    return header + yaml.dump(found, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


def _write(folder: Path, files: Mapping[str, str], secrets: Mapping[str, str], *, force: bool) -> None:
    """Write files; none, when one of them exists."""
    there = [name for name in files if (folder / name).exists()]
    if there and not force:
        raise SettingsError(f"{folder / there[0]} exists already: --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            echo(f"Wrote {folder / name}.")
        if secrets:
            (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
        for name, secret in secrets.items():
            path = folder / "secrets" / name
            path.touch(mode=OWNER)
            path.chmod(OWNER)
            path.write_text(secret, encoding="utf-8")
            echo(f"Wrote {path}, which only you can read.")
    except OSError as error:
        raise SettingsError(f"{folder}: can't be written: {error}") from error
