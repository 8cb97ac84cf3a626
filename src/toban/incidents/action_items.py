"""Commands on the action items of an incident: what is to do after it, by whom."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.incidents.commands import IncidentCommands, command_text
from toban.incidents.incident import ActionItem, EntryKind, Incident
from toban.incidents.lifecycle import Change

MAX_ACTION_ITEMS: Final = 50


class ActionItemCommands:
    """
    Changes action items. They are named by their numbers, which stay when another one is deleted.

    As with all commands on incidents, ``by`` is the name of a person that a command acts for.
    All raise ``NotFoundError``, ``InvalidCommandError`` and ``StateError``.
    """

    def __init__(self, commands: IncidentCommands) -> None:
        self._commands = commands

    async def add(self, number: int, text: str, actor: Actor, owner: str = "", by: str = "") -> Incident:
        """Add something to do; it stays open until it is ticked."""
        text, owner = _checked_text(text), _checked_owner(owner)

        def change(incident: Incident, now: datetime) -> Change:
            if len(incident.action_items) >= MAX_ACTION_ITEMS:
                raise InvalidCommandError(f"it has {MAX_ACTION_ITEMS} action items")
            item = ActionItem(max((it.number for it in incident.action_items), default=0) + 1, text, owner)
            found = Change(incident, now).with_fields(action_items=(*incident.action_items, item))
            return found.noted(EntryKind.ACTION_ITEM, by or actor.name, text=text, owner=owner)

        return await self._commands.change(number, change, (actor, by), "added an action item", text=text, owner=owner)

    async def edit(
        self, number: int, item: int, actor: Actor, text: str | None = None, owner: str | None = None, by: str = ""
    ) -> Incident:
        """Change the text or the owner of an action item; what is not given stays."""
        text = None if text is None else _checked_text(text)
        owner = None if owner is None else _checked_owner(owner)
        who = by or actor.name

        def change(incident: Incident, now: datetime) -> Change:
            before = _found(incident, item)
            after = replace(before, text=text or before.text, owner=before.owner if owner is None else owner)
            found = _with_item(Change(incident, now), after)
            if after.text != before.text:
                found = found.noted(EntryKind.ACTION_ITEM, who, event="edited", before=before.text, text=after.text)
            if after.owner != before.owner:
                event = "owner" if after.owner else "unowned"
                found = found.noted(EntryKind.ACTION_ITEM, who, event=event, person=after.owner, text=after.text)
            return found

        facts = {name: value for name, value in (("text", text), ("owner", owner)) if value is not None}
        return await self._commands.change(number, change, (actor, by), "changed an action item", item=item, **facts)

    async def tick(self, number: int, item: int, actor: Actor, by: str = "") -> Incident:
        """Tick an action item: it is done."""

        def change(incident: Incident, now: datetime) -> Change:
            before = _found(incident, item)
            if before.done is not None:
                raise InvalidCommandError(f"action item {item} is ticked already")
            found = _with_item(Change(incident, now), replace(before, done=now))
            return found.noted(EntryKind.ACTION_ITEM, by or actor.name, text=before.text, done=True)

        return await self._commands.change(number, change, (actor, by), "ticked an action item", item=item)

    async def untick(self, number: int, item: int, actor: Actor, by: str = "") -> Incident:
        """Take the tick of an action item back: it is still to do."""

        def change(incident: Incident, now: datetime) -> Change:
            before = _found(incident, item)
            if before.done is None:
                raise InvalidCommandError(f"action item {item} is not ticked")
            found = _with_item(Change(incident, now), replace(before, done=None))
            return found.noted(EntryKind.ACTION_ITEM, by or actor.name, event="unticked", text=before.text)

        return await self._commands.change(number, change, (actor, by), "unticked an action item", item=item)

    async def delete(self, number: int, item: int, actor: Actor, by: str = "") -> Incident:
        """Delete an action item; the timeline keeps what it said."""

        def change(incident: Incident, now: datetime) -> Change:
            before = _found(incident, item)
            rest = tuple(it for it in incident.action_items if it is not before)
            found = Change(incident, now).with_fields(action_items=rest)
            return found.noted(EntryKind.ACTION_ITEM, by or actor.name, event="deleted", text=before.text)

        return await self._commands.change(number, change, (actor, by), "deleted an action item", item=item)


def _found(incident: Incident, item: int) -> ActionItem:
    found = next((it for it in incident.action_items if it.number == item), None)
    if found is None:
        raise NotFoundError(f"incident {incident.id} has no action item {item}")
    return found


def _with_item(change: Change, item: ActionItem) -> Change:
    items = tuple(item if it.number == item.number else it for it in change.incident.action_items)
    return change.with_fields(action_items=items)


def _checked_text(text: str) -> str:
    return command_text("text", text, required=True)


def _checked_owner(owner: str) -> str:
    return command_text("owner", owner, input_limits.PERSON_LENGTH)
