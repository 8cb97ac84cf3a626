"""What an entry of a timeline says, in a language."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from toban.core.message_catalogue import catalogue
from toban.core.runbook_events import SENTENCES
from toban.core.sentences import Sentences
from toban.core.text_limits import one_line
from toban.incidents.incident import EntryKind, TimelineEntry
from toban.incidents.policy import IncidentPolicy

_RUNBOOKS: Final = Sentences(SENTENCES)
_CHANNELS: Final = Sentences("toban.notify")
_LISTS: Final = frozenset({"people", "channels", "targets", "before", "after", "firing", "lingering"})


def entry_text(entry: TimelineEntry, policy: IncidentPolicy, language: str) -> str:
    """Return the sentence of an entry, without its time."""
    say = catalogue("toban.incidents", language)
    told = {**entry.facts, **_in_language(entry.facts, language)}
    facts = {name: _shown(name, value, policy) for name, value in told.items()}
    if entry.kind is EntryKind.RUNBOOK:
        facts["text"] = runbook_text(str(entry.facts.get("text", "")), str(entry.facts.get("text_ja", "")), language)
    if "error" in facts:
        facts["error"] = _CHANNELS.translate(facts["error"], language)
    by = policy.name_of(entry.actor) if entry.actor else "toban"
    return one_line(say[_key(entry, say)].format_map(_Facts(facts, by=by)))


def _in_language(facts: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return the facts that there are in a language (``summary_ja``), by their names without it."""
    end = f"_{language}"
    return {name.removesuffix(end): value for name, value in facts.items() if name.endswith(end) and value}


def runbook_text(text: str, text_ja: str, language: str) -> str:
    """Return what a runbook said in a language: its author's words where there are some."""
    return text_ja if language == "ja" and text_ja else _RUNBOOKS.translate(text, language)


def _key(entry: TimelineEntry, say: Mapping[str, str]) -> str:
    """Return the key of an entry's text: the most particular one that there is."""
    kind, facts = entry.kind, entry.facts
    particular = {
        EntryKind.OPENED: "declared" if entry.actor else "",
        EntryKind.HELD: str(facts.get("reason", "")),
        EntryKind.RESOLVED: "by" if entry.actor else "lingering" if facts.get("lingering") else "",
        EntryKind.REOPENED: "by" if entry.actor else "",
        EntryKind.PRIORITY: "by" if entry.actor else "",
        EntryKind.ACKNOWLEDGED: "comment" if facts.get("comment") else "",
        EntryKind.DEADLINE: f"{facts.get('deadline', '')}{'-over' if facts.get('percent') == 100 else ''}",
        EntryKind.SPLIT: "from" if "source" in facts else "",
        EntryKind.ACTION_ITEM: "done" if facts.get("done") else str(facts.get("event", "")),
        EntryKind.RUNBOOK: str(facts.get("event", "")),
        EntryKind.PAGED: "" if facts.get("people") else "channels",
    }.get(kind, "")
    key = f"entry-{kind.value}-{particular}"
    return key if particular and key in say else f"entry-{kind.value}"


def _shown(name: str, value: Any, policy: IncidentPolicy) -> str:
    if name in {"until", "due"}:
        return f"{datetime.fromisoformat(str(value)).astimezone(policy.zone):%m-%d %H:%M %Z}"
    if name in _LISTS and isinstance(value, list):
        return ", ".join(policy.name_of(str(it)) for it in value)
    return policy.name_of(str(value)) if name == "person" else str(value)


class _Facts(dict[str, str]):
    """The places of a text; one that an older entry does not have is empty."""

    def __missing__(self, key: str) -> str:
        return ""
