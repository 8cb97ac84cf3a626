"""What is to do after an incident: added, changed, ticked, unticked and deleted, each in the timeline."""

import pytest

from tests.alerting_process import AlertingProcess
from tests.fakes import FakeClock
from tests.incident_timeline import policy
from tests.rule_evaluation import load_series
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.incidents.action_items import MAX_ACTION_ITEMS, ActionItemCommands
from toban.incidents.incident import EntryKind, Incident
from toban.incidents.timeline_text import entry_text
from toban.state import audit_log

ANN, BEN = Actor("ann", "session"), Actor("ben", "session")
POLICY = policy({"people": {"ann": {"name": "Ann", "channels": ["phone"]}}})
RULE = "groups: [{name: shop, rules: [{alert: down, expr: up == 0}]}]"


@pytest.fixture
async def life(tmp_path):
    found = AlertingProcess(RULE, load_series("up 1x10"), tmp_path, FakeClock(), ("phone",), POLICY)
    await found.commands.declare("Orders fail", "P2", ANN)
    yield found
    await found.close()


async def said(life, language="en"):
    """Return what the timeline says about action items."""
    found = (await life.commands.details(1)).timeline
    return [entry_text(it, POLICY, language) for it in found if it.kind is EntryKind.ACTION_ITEM]


async def test_each_change_of_an_action_item_is_in_the_timeline_and_in_the_audit_log(life):
    items = ActionItemCommands(life.commands)
    await items.add(1, "Add an indx", ANN)
    await items.edit(1, 1, BEN, text="Add an index", owner="ann")
    await items.tick(1, 1, ANN)
    await items.untick(1, 1, BEN)
    await items.edit(1, 1, BEN, owner="")
    found = await items.delete(1, 1, BEN, by="cai")
    assert found.action_items == ()
    assert await said(life) == [
        "Ann added an action item: Add an indx",
        "ben changed an action item: Add an indx → Add an index",
        "ben gave an action item to Ann: Add an index",
        "Ann ticked an action item: Add an index",
        "ben unticked an action item: Add an index",
        "ben left an action item without an owner: Add an index",
        "cai deleted an action item: Add an index",
    ]
    assert (await said(life, "ja"))[-1] == "cai がアクションアイテムを削除: Add an index"
    rows = await life.state.transaction(lambda connection: audit_log.recent(connection, 20, actor="ben"))
    assert [(row.action, row.facts) for row in rows] == [
        ("deleted an action item", {"incident": 1, "item": 1, "by": "cai"}),
        ("changed an action item", {"incident": 1, "item": 1, "owner": ""}),
        ("unticked an action item", {"incident": 1, "item": 1}),
        ("changed an action item", {"incident": 1, "item": 1, "text": "Add an index", "owner": "ann"}),
    ]


async def test_an_edit_changes_what_it_names_and_one_that_changes_nothing_is_not_in_the_timeline(life):
    items = ActionItemCommands(life.commands)
    await items.add(1, "Add an index", ANN, "ann")
    found = await items.edit(1, 1, BEN, text="Add two")
    assert [(it.text, it.owner) for it in found.action_items] == [("Add two", "ann")]
    await items.edit(1, 1, BEN, text="Add two", owner="ann")
    assert len(await said(life)) == 2


async def test_the_others_keep_their_numbers_when_an_action_item_is_deleted(life):
    items = ActionItemCommands(life.commands)
    for text in ("one", "two", "three"):
        await items.add(1, text, ANN)
    await items.delete(1, 2, ANN)
    await items.tick(1, 3, ANN)
    found = await items.add(1, "four", ANN)
    assert [(it.number, it.text, it.done is not None) for it in found.action_items] == [
        (1, "one", False),
        (3, "three", True),
        (4, "four", False),
    ]
    with pytest.raises(NotFoundError, match="incident 1 has no action item 2"):
        await items.edit(1, 2, ANN, text="x")


async def test_what_makes_no_sense_is_refused_and_changes_nothing(life):
    items = ActionItemCommands(life.commands)
    await items.add(1, "Add an index", ANN)
    for work, reason in (
        (items.untick(1, 1, ANN), "is not ticked"),
        (items.edit(1, 1, ANN, text="  "), "must not be empty"),
        (items.edit(1, 1, ANN, owner="x" * 1_000), "characters"),
    ):
        with pytest.raises(InvalidCommandError, match=reason):
            await work
    await items.tick(1, 1, ANN)
    with pytest.raises(InvalidCommandError, match="is ticked already"):
        await items.tick(1, 1, ANN)
    for _ in range(MAX_ACTION_ITEMS - 1):
        await items.add(1, "more", ANN)
    with pytest.raises(InvalidCommandError, match="it has 50 action items"):
        await items.add(1, "too many", ANN)
    assert len(await said(life)) == MAX_ACTION_ITEMS + 1


async def test_action_items_of_an_older_version_are_numbered_by_their_places(life):
    incident = (await life.commands.details(1)).incident
    older = {"text": "Add an index", "owner": "", "done": None}
    body = {**incident.as_dict(), "action_items": [older, {**older, "text": "Raise the limit"}]}
    assert [(it.number, it.text) for it in Incident.from_dict(1, body).action_items] == [
        (1, "Add an index"),
        (2, "Raise the limit"),
    ]
