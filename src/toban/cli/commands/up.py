"""Run everything: watch, remember, answer."""

import asyncio
import os
from pathlib import Path

import click

from toban.cli.asking import config_option
from toban.cli.telling import greeting, say
from toban.core.errors import SettingsError
from toban.core.log import configure
from toban.daemon import serve
from toban.settings import load
from toban.web.own import as_json


@click.command
@config_option
@click.option("--data", type=click.Path(path_type=Path), help="The folder for everything that toban keeps.")
@click.option("--listen", metavar="HOST:PORT", help="Where the pages are.  [default: 127.0.0.1:9119]")
def command(config: Path | None, data: Path | None, listen: str | None) -> None:
    """
    Run everything: watch, remember, answer.

    Without a configuration toban watches the machine it stands on; DATABASE_URL, REDIS_URL, SHOP_API_URL and
    STOREFRONT_URL in the environment are enough to watch a shop. Ctrl-C stops it.
    """
    try:
        configure(os.environ.get("LOG_LEVEL") or "info")
    except ValueError as error:
        raise SettingsError(str(error)) from error
    settings = load(config, os.environ, data=data, listen=listen)
    asyncio.run(serve(settings, lambda overview: say(greeting(as_json(overview)))))
