"""Documentation says what is there today."""

import copy
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from tools import reference

from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_lint import LintContext, lint_rule
from toban.cli.metric_catalog import declared_metrics
from toban.core.config_file import parse
from toban.dashboards.board_loader import parse_board
from toban.runbooks.settings import parse_runbook
from toban.settings import QUERY_PARSERS, Settings, build_settings, plugin_registries

ROOT = Path(__file__).parents[2]


def test_the_commands_of_the_guide_are_those_of_the_program():
    """
    It names every command, and none that is not there.
    """
    guide = (ROOT / "docs/get-started.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`toban ([\w-]+)[^`]*`", guide))
    there = {path.stem.replace("_", "-") for path in (ROOT / "src/toban/cli/commands").glob("[a-z]*.py")}

    assert named == there


@pytest.mark.parametrize("page", ["metrics", "runbooks", "settings", "sources"])
def test_the_reference_is_what_the_code_says(page):
    """
    `make reference` writes it anew.
    """
    written = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    assert written == getattr(reference, page)()


def settings_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the paths of all settings of a model, as the reference writes them."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        yield path
        for inner, place in places_of(field.annotation):
            yield from settings_of(inner, f"{path}{place}.")


def places_of(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """Yield the models in an annotation, each with how its place is written: `[]` in a list, `.NAME` among names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
    own = {tuple: "[]", list: "[]", Mapping: ".NAME"}.get(typing.get_origin(annotation), "")
    for inner in typing.get_args(annotation):
        for model, place in places_of(inner):
            yield model, f"{own}{place}"


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from models_in(inner)


REGISTRIES = plugin_registries()
SECTIONS = [
    *(
        (name, f"## {name}", model)
        for name, it in Settings.model_fields.items()
        for model in models_in(it.annotation)
        if name not in REGISTRIES
    ),
    *((name, f"### {kind}", it.load(kind)) for name, it in REGISTRIES.items() for kind in it.names()),
]


@pytest.mark.parametrize(("section", "heading", "model"), SECTIONS)
def test_the_reference_has_every_setting_with_type_default_and_description(section, heading, model):
    """
    Those that all plugins of a sort share are in the table above theirs, if they have the same default.
    """
    page = reference.settings()
    shared = {name for it in REGISTRIES.values() if issubclass(model, it.root) for name in it.root.model_fields}
    # A kind may be one of collectors, and of sinks too.
    ((within, _),) = re.findall(rf"(?ms)^(## {section}\n.*?)(?=^(## )|\Z)", page)
    (table,) = re.findall(rf"(?ms)^{heading}\n(.*?)(?=^##|\Z)", within)
    rows = re.findall(r"(?m)^\| `(\S+)` \| (.+) \| (.*) \| (.*) \|$", table)
    named = {path for path, *_ in rows}
    wanted = set(settings_of(model))
    assert wanted - shared <= named <= wanted
    assert [path for path, kind, _, description in rows if not (kind and description)] == []
    assert [path for path, kind, default, _ in rows if not default and "section" not in kind] == []


def test_every_number_says_what_it_tells():
    """
    A help text that is missing is missing on `/metrics` too.
    """
    assert [family.name for _, family in reference.declared_families() if not family.help] == []


PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("bench/*.md")),
    *sorted(ROOT.glob("integrations/**/*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_what_a_page_links_to_exists(page):
    """
    Files, headings and pictures; files and folders in backquotes are named from the root of the project.
    """
    text = page.read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
    if "decisions" not in page.parts:
        for path in re.findall(r"`((?:docs|src|tests|bench)/[\w./-]*)`", text):
            assert (ROOT / path).exists(), path


TRIED = (ROOT / "docs" / "TRIED.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("section", plugin_registries())
def test_each_plugin_says_what_it_was_tried_against(section):
    """
    In a row of its own: with the real thing, a fake, or not at all.
    """
    registry = plugin_registries()[section]
    text = TRIED.partition(f"## {registry.noun.capitalize()}s\n")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| (\w+) \| (real|fake|not at all) \| .+ \| `(\S+)` \|$", text)
    assert sorted(kind for kind, *_ in rows) == registry.names()
    for kind, how, test in rows:
        text = (ROOT / test).read_text(encoding="utf-8")
        assert kind in text.lower()
        assert how != "fake" or f"fake_{kind}" in text


VALUES = {
    "BACKUP_PUBLIC_KEY": "age1p9m2qraf2a83k7yky4zz69pmyaa4s0tz2xpy7tdyvgjel2pr2c3s25t08u",
    "REDIS_URL": "redis://cache:6379",
    "ROTA_ICS_URL": "https://calendar.example/rota.ics",
    "SENTRY_DSN": "https://key@sentry.io/1",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/x",
    "PAGERDUTY_INTEGRATION_KEY": "0" * 32,
    "TEAMS_WORKFLOW_URL": "https://x.logic.azure.com/workflows/x",
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/x",
}
"""Values of the variables that take only some."""


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_configuration_on_a_page_is_accepted(page):
    """
    From the top of the page down: a section takes the place of the same one above it. A file of another program's has
    its name after `yaml`.
    """
    text, tree = page.read_text(encoding="utf-8"), dict[str, Any]()
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        document = parse(block)
        assert document.problems == []
        tree = {**tree, **document.tree}
        environment = {name: VALUES.get(name, "x") for name in re.findall(r"\$\{(\w+)\}", text)}
        build_settings(copy.deepcopy(tree), environment, str(page), ROOT)


@pytest.mark.parametrize("page", ["docs/logs.md", "docs/ja/logs.md", "docs/sentry.md"])
def test_the_rules_on_a_page_are_accepted_without_a_doubt(page):
    (block,) = re.findall(r"(?ms)^```yaml rules/\w+\.yaml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"))
    rules = [rule for group in parse_rule_file(block, page, QUERY_PARSERS) for rule in group.rules]
    assert rules
    assert [doubt for rule in rules for doubt in lint_rule(rule, LintContext(declared_metrics()))] == []


@pytest.mark.parametrize("page", ["docs/incidents.md", "docs/ja/incidents.md"])
def test_the_runbook_on_the_page_about_incidents_is_accepted(page):
    (block,) = re.findall(r"(?ms)^```yaml runbook\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"))
    assert parse_runbook(block, page).name == "restart_worker"


@pytest.mark.parametrize("page", ["docs/incidents.md", "docs/ja/incidents.md"])
def test_the_manifest_of_the_slack_app_asks_for_what_toban_uses(page):
    """
    With the limits of slackapi/manifest-schema 2.0.0.
    """
    (block,) = re.findall(r"(?ms)^```yaml manifest.yaml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"))
    manifest = yaml.safe_load(block)
    assert len(manifest["display_information"]["name"]) <= 35
    assert len(manifest["display_information"]["description"]) <= 140
    (command,) = manifest["features"]["slash_commands"]
    assert (command["command"], command["url"]) == ("/toban", manifest["settings"]["interactivity"]["request_url"])
    assert {"chat:write", "commands", "users:read.email"} <= set(manifest["oauth_config"]["scopes"]["bot"])


def test_the_board_on_the_page_about_dashboards_is_accepted():
    """
    As a file beside `toban.yaml`.
    """
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    (board,) = re.findall(r"^```yaml boards/sales.yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert parse_board(board, "boards/sales.yaml").name == "sales"


SNIPPETS = [
    pytest.param(code, id=f"{page.name} {number}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    if "print(" in code
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_what_a_snippet_prints_is_what_stands_below_it(code, capsys):
    """
    As a comment.
    """
    exec(code, {})
    expected = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == expected
