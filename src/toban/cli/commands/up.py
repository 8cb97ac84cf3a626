"""Run toban: collect, store, evaluate, notify, serve."""

import os
from pathlib import Path

import click
import structlog

from toban import __version__ as version
from toban.cli.client import config_option
from toban.cli.formatting import echo, start_summary
from toban.cli.options import shared_option
from toban.core.errors import SettingsError, TobanError
from toban.core.lifecycle import run
from toban.core.log_setup import capture_warnings_and_crashes, configure_logging, shares_stdout
from toban.daemon import serve
from toban.settings import Settings, load_settings
from toban.web.api.status import Overview, status_response

log = structlog.get_logger("toban.daemon")


@click.command
@config_option
@shared_option("data", help="The folder for everything that toban stores.")
@click.option("--listen", metavar="HOST:PORT", help="Where the pages are.  [default: 127.0.0.1:9119]")
def command(config: Path | None, data: Path | None, listen: str | None) -> int:
    """
    Run toban: collect, store, evaluate, notify, serve.

    Without a configuration toban monitors the machine it runs on; DATABASE_URL, REDIS_URL, SHOP_API_URL and
    STOREFRONT_URL in the environment are enough to monitor a shop. Ctrl-C stops it; SIGHUP and `toban reload` reload
    the configuration.
    """
    form = os.environ.get("LOG_FORMAT") or "auto"
    try:
        is_json = configure_logging(os.environ.get("LOG_LEVEL") or "info", form=form)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    capture_warnings_and_crashes()

    def read() -> Settings:
        return load_settings(config, os.environ, data=data, listen=listen)

    # Between JSON lines a greeting for people could not be parsed.
    greet = _logged if is_json and (form == "json" or shares_stdout()) else _printed
    try:
        run(serve(read(), greet, read))
    except TobanError:
        raise
    except Exception:  # the last word of a service that writes JSON is a line of JSON, not a traceback
        if not is_json:
            raise  # a person gets one line and the path of the report
        log.critical("service failed", exc_info=True)
        return 1
    return 0


def _printed(overview: Overview, first_admin_link: str) -> None:
    """Print the greeting."""
    echo(start_summary(status_response(overview).model_dump(mode="json"), first_admin_link))


def _logged(overview: Overview, first_admin_link: str) -> None:
    """Log the same, without the link: logs are kept, and others read them."""
    if first_admin_link:
        log.warning("no user exists yet", remedy="toban user add NAME --role admin --link")
    about, targets = overview.about, overview.targets
    failed = {target.name: target.error or "no response yet" for target in targets if not target.up}
    names = [target.name for target in targets]
    log.info("on duty", version=version, pages=about.pages, data=about.data, targets=names, failed=failed)
