"""Check rule files, and run their tests."""

from pathlib import Path

import click

from toban.alerting.groups import AlertRule, read
from toban.alerting.unit_testing import run
from toban.core.errors import SettingsError

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))


@click.group
def command() -> None:
    """Check rule files as `toban up` reads them, and run their tests in promtool's form."""


@command.command("check")
@FILES
def check(files: tuple[Path, ...]) -> int:
    """Read rule FILES and say what is wrong with them, or doubtful."""
    wrong = 0
    for path in files:
        try:
            groups = read(path.read_text(encoding="utf-8"), str(path))
        except SettingsError as error:
            click.echo(str(error), err=True)
            wrong += 1
            continue
        rules = [rule for group in groups for rule in group.rules]
        click.echo(f"{path}: {len(rules)} rules")
        for rule in rules:
            if isinstance(rule, AlertRule):
                for doubt in doubts(rule):
                    click.echo(f"  {rule.name}: {doubt}")
    return 1 if wrong else 0


@command.command("test")
@FILES
def test(files: tuple[Path, ...]) -> int:
    """Run test FILES, as `promtool test rules` does."""
    failed = 0
    for path in files:
        failures = run(path)
        failed += len(failures)
        click.echo(f"{path}: {f'{len(failures)} failed' if failures else 'well'}")
        for failure in failures:
            click.echo(f"  {failure}")
    return 1 if failed else 0


def doubts(rule: AlertRule) -> list[str]:
    """Return what is allowed and probably not meant."""
    found = []
    if "severity" not in rule.labels:
        found.append("it has no label `severity` and counts as a warning")
    elif rule.severity not in {"critical", "warning", "info"}:
        found.append(f"severity {rule.severity!r} counts as a warning: there are critical, warning, info")
    if "summary" not in rule.annotations:
        found.append("it has no annotation `summary`: its name is all that people read")
    return found
