"""Detect the environment, test each address, and write a toban.yaml."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from toban.cli import channel_setup, discovery
from toban.cli.discovery import Discovery
from toban.cli.formatting import echo
from toban.core.errors import SettingsError
from toban.core.lifecycle import run
from toban.core.log_setup import configure_logging
from toban.core.paths import CONFIGURATION
from toban.preflight import missing_rights, probe_targets
from toban.settings import build_settings
from toban.shop.settings import ENVIRONMENT

QUESTIONS: Final = {
    "database": "The shop's PostgreSQL, as a role that only reads (postgresql://user:password@host:5432/name)",
    "redis": "The shop's Redis, Valkey or Upstash (redis://... or rediss://...)",
    "shop_api": "Vendure's Shop API (https://shop.example/shop-api)",
    "storefront": "The page that customers open (https://shop.example/)",
    "worker": "The health address of Vendure's worker (http://worker.internal:3020/health)",
}

WEB: Final = (
    "# web:",
    "#   listen: 127.0.0.1:9119",
    "#   token: ${TOBAN_TOKEN}   # required to listen on an address that other machines reach",
)

CHANNELS: Final = (
    "# Where notifications go (docs/send-alerts.md). `toban alerts test NAME` sends a test notification.",
    "# channels:",
    '#   slack: {kind: slack, webhook: "${SLACK_WEBHOOK_URL}"}',
)

ERRORS: Final = (
    "# Sentry (docs/sentry.md): its alerts come by the webhook /hooks/sentry, toban's own errors go to the DSN.",
    "# errors:",
    "#   sentry_client_secret: ${SENTRY_CLIENT_SECRET}",
    "#   sentry_dsn: ${SENTRY_DSN}   # needs pip install 'toban[sentry]'",
)


@click.command
@click.option("--yes", is_flag=True, help="Ask nothing: use the environment.")
@click.option("--force", is_flag=True, help="Overwrite an existing toban.yaml.")
@click.option("--output", type=click.Path(path_type=Path), default=CONFIGURATION, show_default=True)
def command(yes: bool, force: bool, output: Path) -> int:
    """Detect the environment, test each address, and write a commented toban.yaml."""
    _check_output(output, force=force)
    configure_logging("error")  # errors are shown below
    here = run(discovery.discover(os.environ)) or Discovery(())
    for sentence in here.messages:
        echo(sentence)
    shop: dict[str, str] = {}
    is_healthy = True
    for part, question in QUESTIONS.items():
        address, is_up = _prompt_for_address(part, question, here.proposed.get(part, ""), ask=not yes)
        is_healthy = is_healthy and is_up
        if address:
            shop[part] = address
    channel, reached = _channel(ask=not yes)
    text = written(shop, here, channel)
    output.touch(mode=0o600)
    output.write_text(text, encoding="utf-8")
    echo(f"\nWrote {output}. Now: toban up")
    return 0 if is_healthy and reached else 1


def _channel(*, ask: bool) -> tuple[dict[str, dict[str, str]], bool]:
    """Return the channel to write, none where the environment configures some; and whether its test succeeded."""
    echo("")
    names = channel_setup.channels_from_environment(os.environ)
    if names and ask:
        settings = build_settings({}, os.environ, "the environment")
        reached = [channel_setup.try_channel(settings, name) for name in names]  # each of them, also after a failure
        return {}, all(reached)
    if names:
        echo(f"`toban alerts test {names[0]}` sends a test notification.")
    if names or not ask:
        return {}, True
    name, channel, succeeded = channel_setup.prompt_for_channel()
    if not name:
        echo("No notification channel is configured yet: see docs/send-alerts.md.")
    return {name: channel} if name else {}, succeeded


def _check_output(output: Path, *, force: bool) -> None:
    """Check that the file can be written, before the first question. Raises ``SettingsError``."""
    if output.is_dir():
        raise SettingsError(f"{output}: is a folder: name a file in it")
    if output.exists() and not force:
        raise SettingsError(f"{output}: exists already: --force overwrites it, --output writes elsewhere")
    if not output.parent.is_dir():
        raise SettingsError(f"{output.parent}: no such folder: create it first, or choose another")
    if not os.access(output if output.exists() else output.parent, os.W_OK):
        raise SettingsError(f"{output}: can't be written: choose another place with --output")


def _prompt_for_address(part: str, question: str, proposed: str, *, ask: bool) -> tuple[str, bool]:
    """Return an address as it is written to the file, and whether its test succeeded; ask again after an error."""
    name = ENVIRONMENT.get(part)
    if name and os.environ.get(name):
        echo(f"{part}: taken from {name} in the environment.")
        return f"${{{name}}}", _test_address(part, f"${{{name}}}")
    if not ask:
        return proposed, not proposed or _test_address(part, proposed)
    text, kept = f"{question}{'' if proposed else '; empty if there is none'}", ""
    while True:
        address = channel_setup.prompt(text, kept or proposed)
        if not address or address == kept:
            return address or kept, not kept
        try:
            build_settings({"shop": {part: address}}, {**os.environ, **_without(part)}, "the answer")
        except SettingsError as error:
            echo(f"  {error}")
            continue
        if _test_address(part, address):
            return address, True
        text, kept = "  Another address, or Enter to keep this one", address


def _test_address(part: str, address: str) -> bool:
    """Test an address, and print the result."""
    settings = build_settings({"shop": {part: address}}, {**os.environ, **_without(part)}, "the answer")
    targets, _ = run(probe_targets(settings))
    is_up = True
    for target in targets:
        if target.kind not in {"host", "toban", "telemetry", "events"}:
            is_up = is_up and target.up
            result = f"up, {target.samples} samples" if target.up else target.error
            echo(f"  {'●' if target.up else '▲'} {target.name} at {target.instance}: {result}")
    if settings.shop.database:
        _print_grants(run(missing_rights(settings)))
    return is_up


def _print_grants(statements: list[str]) -> None:
    """Print the grants that the role needs to read the shop's tables (`shop/grants.py`)."""
    if statements:
        echo("\n  To monitor orders, jobs and stock, let the owner of Vendure's tables run this:\n")
        for statement in statements:
            echo(f"  {statement};")
        echo("")


def _without(part: str) -> Mapping[str, str]:
    """Return an environment in which only one part is set, so that each is tested once."""
    return {name: "" for other, name in ENVIRONMENT.items() if other != part}


def written(shop: Mapping[str, str], here: Discovery, channel: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """Return the text of a configuration, with further settings in comments."""
    lines = [
        "# What toban monitors. `toban check` tests it, `toban schema` prints all settings.",
        "# ${NAME} is replaced from the environment: use it for secrets.",
        "",
        "shop:" if shop or here.known else "# shop:",
    ]
    for part, question in QUESTIONS.items():
        lines.append(f"  # {question}")
        lines.append(f"  {part}: {_quoted(shop[part])}" if part in shop else f"  # {part}:")
    for name, value in here.known.items():
        text = _quoted(value) if isinstance(value, str) else f"[{', '.join(map(_quoted, value))}]"
        lines.append(f"  {name}: {text}")
    lines += [
        "",
        "# Further targets. This machine and the parts of the shop are monitored without.",
        "# collect:",
        "#   - {kind: http, name: returns, url: https://shop.example/returns, interval: 30s}",
        "#   - {kind: tls, name: mail, url: https://mail.example/}",
        "#   - {kind: scrape, name: node, url: http://127.0.0.1:9100/metrics}",
        "#   - {kind: files, name: assets, path: /srv/vendure/static/assets}",
        "",
        *(_web(here.web) if here.web else WEB),
        "",
        *(_channels(channel) if channel else CHANNELS),
        "",
        *ERRORS,
        "",
        "# metrics:",
        "#   retention: 90d",
        "#   size: 2GB",
        "",
    ]
    return "\n".join(lines)


def _web(settings: Mapping[str, str]) -> list[str]:
    return ["web:", *(f"  {name}: {_quoted(value)}" for name, value in settings.items())]


def _channels(channels: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = ["channels:"]
    for name, settings in channels.items():
        lines += [f"  {name}:", *(f"    {setting}: {_quoted(value)}" for setting, value in settings.items())]
    return lines


def _quoted(text: str) -> str:
    """Return a text as a YAML scalar."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
