"""Export rules, routes and samples for other programs."""

import os
import stat
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import click
import yaml

from toban.alerting import prometheus_export as rules_out
from toban.cli.client import config_option, data_option, download
from toban.cli.formatting import echo, echo_bytes
from toban.cli.param_types import DurationType
from toban.collect import default_collectors
from toban.core.config_types import format_duration
from toban.core.errors import SettingsError
from toban.notify import alertmanager_export as routes_out
from toban.notify.routing import CHANNELS
from toban.settings import load_rules, load_settings

FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
FORCE = click.option("--force", is_flag=True, help="Overwrite existing files.")
OWNER = stat.S_IRUSR | stat.S_IWUSR


@click.group
def command() -> None:
    """Write configurations for Prometheus and Alertmanager, and samples in OpenMetrics."""


@command.command("prometheus")
@FOLDER
@config_option
@click.option("--toban", metavar="HOST:PORT", default="", help="Where Prometheus scrapes toban.  [default: web.listen]")
@click.option("--alertmanager", metavar="HOST:PORT", default="localhost:9093", show_default=True)
@FORCE
def prometheus(folder: Path, config: Path | None, toban: str, alertmanager: str, force: bool) -> None:
    """Write prometheus.yml and the rules into FOLDER: it scrapes toban and evaluates the same rules."""
    settings = load_settings(config, os.environ)
    rules = rules_out.rule_file(load_rules(settings))
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
