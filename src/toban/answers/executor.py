"""Executes answers with the same commands as the console, and says in a sentence what came of it."""

import re
from collections.abc import Callable
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from toban.answers.answer import LENGTH, Answer, Verb
from toban.core.actor import Actor
from toban.core.config_types import format_duration
from toban.core.errors import InvalidCommandError
from toban.core.message_catalogue import catalogue
from toban.core.ports import Clock
from toban.core.text_limits import one_line, truncate
from toban.incidents.commands import IncidentCommands
from toban.incidents.incident import Incident
from toban.incidents.policy import IncidentPolicy
from toban.runbooks.commands import RunbookCommands

LISTED = 10
_MENTION: Final = re.compile(r"<@([A-Z0-9]{1,30})(?:\|[^<>]{0,100})?>")
"""A person in the words of a command in Slack."""
Mark = Callable[[Connection], None]
"""Writes that an answer is executed."""


class AnswerExecutor:
    """Executes answers. Everything raises ``InvalidCommandError``, ``NotFoundError`` and ``StateError``."""

    def __init__(
        self, incidents: IncidentCommands, runbooks: RunbookCommands, policy: Callable[[], IncidentPolicy], clock: Clock
    ) -> None:
        self._incidents = incidents
        self._runbooks = runbooks
        self._policy = policy
        self._clock = clock

    async def execute(self, answer: Answer, actor: Actor, mark: Mark = lambda _: None) -> str:
        """
        Execute an answer; return what came of it, for whoever answered.

        ``mark`` is written in the transaction that changes an incident: a crash after it does not repeat the change.
        """
        verb = answer.verb
        if verb in {Verb.APPROVE, Verb.REFUSE}:
            return await self._run(answer, actor)
        if verb in {Verb.STATUS, Verb.INCIDENTS}:
            return await self._status()
        if verb is Verb.ON_CALL:
            return self._on_call()
        if verb is Verb.RUN:
            return await self._start(answer.text, actor)
        if verb is Verb.STOP:
            await self._runbooks.stop(actor, answer.text)
            return self.say("stopped")
        return await self._incident(answer, actor, self._incidents.writing(mark))

    @property
    def language(self) -> str:
        """The language of messages."""
        return self._policy().language

    def say(self, key: str, **facts: object) -> str:
        """Return a sentence in the language of messages."""
        return catalogue("toban.answers", self._policy().language)[key].format(**facts)

    async def _incident(self, answer: Answer, actor: Actor, commands: IncidentCommands) -> str:
        incident = (await self._incidents.details(answer.number)).incident
        if not incident.is_open and answer.verb is not Verb.NOTE:
            raise InvalidCommandError(self._resolved_text(incident))
        number = answer.number
        if answer.verb is Verb.ACKNOWLEDGE:
            self._check_is_news(incident, answer, actor)
            await commands.acknowledge(number, actor, answer.text)
        elif answer.verb is Verb.UNACKNOWLEDGE:
            await commands.unacknowledge(number, actor)
        elif answer.verb is Verb.SNOOZE:
            await commands.snooze(number, answer.length or LENGTH, actor, answer.text)
        elif answer.verb is Verb.ASSIGN:
            person = self._person(answer.text)
            await commands.assign(number, person, actor)
            return self.say("done-assign", number=number, person=self._policy().name_of(person))
        elif answer.verb is Verb.ESCALATE:
            await commands.escalate(number, actor)
        elif answer.verb is Verb.NOTE:
            await commands.note(number, answer.text, actor)
        else:
            await commands.resolve(number, actor, answer.text)
        return self.say(f"done-{answer.verb.value}", number=number, length=format_duration(answer.length or LENGTH))

    def _check_is_news(self, incident: Incident, answer: Answer, actor: Actor) -> None:
        """
        Refuse to take an incident from somebody by a button of a message from before they acknowledged it.

        Raises ``InvalidCommandError``.
        """
        is_old = answer.version is not None and answer.version < incident.messages - 1
        if is_old and incident.answer and incident.answer.by != actor.name:
            by = self._policy().name_of(incident.answer.by)
            raise InvalidCommandError(self.say("already-acknowledged", number=incident.id, by=by))

    async def _run(self, answer: Answer, actor: Actor) -> str:
        run = await self._runbooks.run(answer.number)
        if run.approval_digest != answer.approval or run.question is None:
            raise InvalidCommandError(self.say("question-changed", run=run.id, state=run.state.value))
        if answer.verb is Verb.APPROVE:
            await self._runbooks.approve(run.id, run.approval, actor)
        else:
            await self._runbooks.refuse(run.id, actor, answer.text)
        return self.say(f"done-{answer.verb.value}", run=run.id, runbook=run.runbook)

    async def _start(self, runbook: str, actor: Actor) -> str:
        """Start a runbook; it asks before it acts, and its page has the question."""
        run = await self._runbooks.start(runbook, actor)
        address = self._policy().address.rstrip("/")
        page = f"{address}/runbooks/runs/{run.id}" if address else f"toban run --approve {run.id}"
        return self.say("done-run", run=run.id, runbook=run.runbook, page=page)

    def _person(self, text: str) -> str:
        """Return the person that a name, or a mention in Slack, stands for; what nobody has is returned as it is."""
        mention = _MENTION.fullmatch(text)
        for key, person in self._policy().on_call.people.items():
            if text.casefold() in (key.casefold(), person.title.casefold()) or (mention and person.slack == mention[1]):
                return key
        return text

    async def _status(self) -> str:
        lines = [self._line(it) for it in self._incidents.open_now()[:LISTED]]
        switch = await self._runbooks.switch()
        stopped = [self.say("automation-stopped", by=switch.by)] if switch.is_stopped else []
        return "\n".join([*(lines or [self.say("no-incident")]), self._on_call(), *stopped])

    def _on_call(self) -> str:
        policy = self._policy()
        people = [policy.name_of(name) for name in policy.duty.on_call(self._clock.now())]
        return self.say("on-call", people=", ".join(people)) if people else self.say("nobody-on-call")

    def _line(self, incident: Incident) -> str:
        by = self._policy().name_of(incident.answer.by) if incident.answer else ""
        key = "incident-acknowledged" if by else "incident-open"
        title = truncate(one_line(incident.titled(self.language)), 150)
        return self.say(key, number=incident.id, priority=incident.priority, title=title, by=by)

    def _resolved_text(self, incident: Incident) -> str:
        policy: IncidentPolicy = self._policy()
        zone: ZoneInfo = policy.zone
        time = f"{incident.resolved.astimezone(zone):%H:%M %Z}" if incident.resolved else ""
        by = policy.name_of(incident.resolved_by)
        return self.say("already-resolved-by" if by else "already-resolved", number=incident.id, time=time, by=by)
