"""Applying a proposed limit to toban.yaml."""

import asyncio
import os
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import FakeClock
from tests.review_fixtures import NOW, proposal, rule_of
from toban.core.actor import Actor
from toban.core.config_source import ConfigSource
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.review import limit_repository
from toban.review.limit_commands import APPLIED, LimitCommands
from toban.review.proposal_run import ProposalRun
from toban.review.proposal_service import ProposalService
from toban.settings import load_rules, load_settings
from toban.state import audit_log
from toban.state.backends import SqliteBackend
from toban.state.database import State

ANN = Actor("ann\n# x: 1", "session", "10.0.0.1")
RULE = "disk_usage_high"
BEFORE = "# mine\nalerting:\n  without: [disk_full]\n"


class Shop:
    """A toban.yaml, the proposal for a shipped rule of it, and the command that applies it."""

    def __init__(self, folder, state):
        self.path = folder / "toban.yaml"
        self.path.write_text(BEFORE)
        settings = load_settings(self.path, {})
        shipped = next(it for group in load_rules(settings) for it in group.alerts if it.name == RULE)
        self.proposal = proposal(RULE, shipped.query.text, shipped.for_)
        self.rules = [rule_of(self.proposal)]
        self.state, self.source, self.meters = state, settings.source, MetricRegistry()
        self.reloads, self.error = [], ""

    async def reload(self, actor):
        """Load the file, as toban does."""
        self.reloads.append(self.path.read_text())
        load_settings(self.path, {})
        return self.error if self.path.read_text() != BEFORE else ""

    async def commands(self):
        run = ProposalRun(NOW, "ann", 1, 1, NOW, (self.proposal,))
        await self.state.transaction(lambda connection: limit_repository.save_run(connection, run, NOW))
        clock, zone = FakeClock(), ZoneInfo("Asia/Tokyo")
        self.service = ProposalService(None, lambda: self.rules, None, zone, self.state, clock, self.meters)
        return LimitCommands(self.service, self.source, self.reload, zone, self.state, clock, self.meters)

    async def refused(self, match, rule=RULE):
        with pytest.raises((InvalidCommandError, NotFoundError), match=match):
            await (await self.commands()).apply(rule, ANN)
        assert self.path.read_text() == BEFORE
        assert [it.name for it in self.path.parent.glob("*toban.yaml*")] == ["toban.yaml"]

    async def kept(self):
        """Return the applied limits, and the actions in the audit log."""

        def work(connection):
            return limit_repository.applied(connection), [
                (it.actor, it.action, it.facts) for it in reversed(audit_log.recent(connection))
            ]

        return await self.state.transaction(work)


@pytest.fixture
async def shop(tmp_path):
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        yield Shop(tmp_path, state)


async def test_a_limit_is_written_with_its_evidence_in_force_and_remembered(shop):
    """
    Whoever applies it can't write anything else by their name.
    """
    shop.path.chmod(0o600)
    found = await (await shop.commands()).apply(RULE, ANN)
    override = load_settings(shop.path, {}).alerting.overrides[RULE]
    assert (override.limit, override.for_.total_seconds()) == (0.92, 600)
    comment = "# 2026-01-01, ann # x: 1: saves 40 of 50 firings in 90 days, keeps 1 of 1 incidents"
    added = ["  overrides:", f"    {comment}", f"    {RULE}:", "      limit: 0.92", "      for: 10m"]
    assert shop.path.read_text().splitlines() == ["# mine", "alerting:", *added, "  without: [disk_full]"]
    assert [it[1:] for it in found.difference.splitlines()[3:]] == added
    assert shop.path.stat().st_mode & 0o777 == 0o600
    assert shop.reloads == [shop.path.read_text()]
    (applied,), (entry,) = await shop.kept()
    assert replace(applied, id=0) == found.applied
    assert (applied.old_limit, applied.limit, applied.saved, applied.found) == (0.9, 0.92, 40, 1)
    assert entry[0].name == ANN.name and entry[1] == "applied a proposed limit"
    assert entry[2]["limit"] == "0.92" and entry[2]["file"] == "toban.yaml"
    assert shop.meters.value(APPLIED, outcome="applied") == 1


async def test_a_limit_that_does_not_come_into_force_is_taken_back(shop):
    shop.error = "my-rules.yaml: not valid"
    await shop.refused("was not reloaded, and is as it was: my-rules.yaml: not valid")
    assert len(shop.reloads) == 2 and shop.reloads[1] == BEFORE
    limits, entries = await shop.kept()
    assert limits == [] and [it[1] for it in entries] == ["applied a proposed limit", "put a proposed limit back"]
    assert entries[1][2] == {"rule": RULE, "error": "my-rules.yaml: not valid"}
    assert shop.meters.value(APPLIED, outcome="reverted") == 1


@pytest.mark.parametrize("changes", [{"expression": "something else > 3"}, {"for_": NOW - NOW}])
async def test_a_proposal_for_a_rule_that_has_changed_since_is_refused(shop, changes):
    shop.rules = [replace(shop.rules[0], **changes)]
    await shop.refused("has changed since: run `toban review --propose` again")
    assert await shop.kept() == ([], []) and shop.reloads == []
    assert shop.meters.value(APPLIED, outcome="refused") == 1


async def test_a_file_that_has_changed_since_it_was_read_is_refused(shop):
    shop.source = replace(shop.source, digest="0")
    await shop.refused("has changed since toban read it: `toban reload` first")
    assert await shop.kept() == ([], [])


async def test_a_file_that_is_changed_meanwhile_is_refused(shop, monkeypatch):
    """
    Between the check and the write.
    """
    commands = await shop.commands()
    text = ConfigSource.text
    monkeypatch.setattr(ConfigSource, "text", lambda self: text(self) + "# old\n")
    with pytest.raises(InvalidCommandError, match="has changed meanwhile: nothing was written"):
        await commands.apply(RULE, ANN)
    assert shop.path.read_text() == BEFORE
    limits, entries = await shop.kept()
    assert limits == [] and entries[-1][1] == "put a proposed limit back"


async def test_without_a_file_that_can_be_written_the_lines_are_to_be_copied(shop, monkeypatch):
    shop.source, written = None, shop.source
    await shop.refused("toban runs without a configuration file: write the lines into toban.yaml")
    lines = (await shop.commands()).lines(shop.proposal)
    (shop.path.parent / "copy.yaml").write_text(lines)
    assert load_settings(shop.path.parent / "copy.yaml", {}).alerting.overrides[RULE].limit == 0.92
    shop.source = written
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != shop.path and access(path, mode))
    await shop.refused("can't be written here: copy the lines into it")


async def test_obstacles_are_said_before_anybody_tries(shop):
    commands = await shop.commands()
    other = replace(shop.proposal, rule="other")
    assert await commands.obstacles([shop.proposal, other]) == [
        "",
        "other has changed since: run `toban review --propose` again",
    ]
    shop.service.start(ANN)
    assert "goes on" in (await commands.obstacles([other]))[0]
    with pytest.raises(InvalidCommandError, match="goes on"):
        await commands.apply(RULE, ANN)


async def test_what_nobody_proposes_is_not_found(shop):
    await shop.refused("nothing is proposed for 'other'", "other")


async def test_a_limit_that_was_applied_before_is_changed(shop):
    shop.path.write_text(text := f"alerting:\n  overrides:\n    {RULE}:\n      limit: 0.5\n")
    shop.source = ConfigSource.of(shop.path, text)
    found = await (await shop.commands()).apply(RULE, ANN)
    assert load_settings(shop.path, {}).alerting.overrides[RULE].limit == 0.92
    assert "-      limit: 0.5" in found.difference.splitlines()


async def test_a_section_in_braces_is_for_people_to_change(shop):
    shop.path.write_text(text := f"alerting: {{overrides: {{{RULE}: {{limit: 0.5}}}}}}\n")
    shop.source = ConfigSource.of(shop.path, text)
    with pytest.raises(InvalidCommandError, match="is not written line by line: change it by hand"):
        await (await shop.commands()).apply(RULE, ANN)
    assert shop.path.read_text() == text


async def test_nothing_is_written_that_the_audit_log_does_not_have(shop, monkeypatch):
    commands = await shop.commands()
    transaction = shop.state.transaction
    calls = []

    async def refuse(work):
        calls.append(work)
        if len(calls) > 1:
            raise StateError("disk full")
        return await transaction(work)

    monkeypatch.setattr(shop.state, "transaction", refuse)
    with pytest.raises(StateError):
        await commands.apply(RULE, ANN)
    assert shop.path.read_text() == BEFORE and shop.reloads == []


async def test_two_are_not_applied_at_once(shop):
    commands = await shop.commands()
    first, second = await asyncio.gather(commands.apply(RULE, ANN), commands.apply(RULE, ANN), return_exceptions=True)
    assert first.applied.rule == RULE
    assert isinstance(second, InvalidCommandError) and "just being applied" in str(second)
