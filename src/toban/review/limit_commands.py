"""Applies a proposed limit: writes it into toban.yaml, reloads, and takes it back when it does not come into force."""

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from toban.core.actor import Actor
from toban.core.config_source import ConfigSource
from toban.core.errors import InvalidCommandError, NotFoundError, SettingsError, StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.paths import CONFIGURATION
from toban.core.ports import Clock
from toban.core.samples import counter
from toban.core.text_limits import one_line
from toban.review import limit_repository as repository
from toban.review.config_override import override_lines, with_override
from toban.review.follow_up import AppliedLimit
from toban.review.proposal_service import ProposalService
from toban.review.proposals import Proposal
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.review")

NAME_LENGTH: Final = 60
RUNNING: Final = "a review of thresholds goes on, and a reload would end it: wait for its end"
APPLIED: Final = counter(
    "toban_review_limits_total", "Proposed limits that somebody applied, by how that ended.", labels=("outcome",)
)
"""``outcome`` is ``applied``, ``refused`` (nothing was written) or ``reverted`` (it did not come into force)."""


class NotInForceError(InvalidCommandError):
    """A limit was written, and did not come into force."""


@dataclass(frozen=True, slots=True)
class LimitApplied:
    """An applied limit, and the lines of the configuration that were added."""

    applied: AppliedLimit
    difference: str


class LimitCommands:
    """Applies proposals. The API, the console and the CLI execute the same command."""

    def __init__(
        self,
        proposals: ProposalService,
        source: ConfigSource | None,
        reload: Callable[[Actor], Awaitable[str]],
        zone: ZoneInfo,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        """``source`` is the file of the configuration in force; ``reload`` returns why it is not, or nothing."""
        self._proposals = proposals
        self._source = source
        self._reload = reload
        self._zone = zone
        self._state = state
        self._clock = clock
        self._meters = meters
        self._lock = asyncio.Lock()

    async def apply(self, rule: str, actor: Actor) -> LimitApplied:
        """
        Write what is proposed for a rule into the configuration, and reload it.

        The row of the audit log is written before the file, in one transaction with what is remembered for the next
        review: no limit is changed without it. A refusal of the reload puts the file back.
        Raises ``NotFoundError``, ``InvalidCommandError`` and ``StateError``; then nothing has changed.
        """
        if self._lock.locked():
            raise InvalidCommandError("another limit is just being applied: try again")
        async with self._lock:
            try:
                found = await asyncio.shield(asyncio.ensure_future(self._apply(rule, actor)))
            except (NotFoundError, InvalidCommandError, StateError) as error:
                self._meters.add(APPLIED, outcome="reverted" if isinstance(error, NotInForceError) else "refused")
                raise
        self._meters.add(APPLIED, outcome="applied")
        return found

    async def obstacles(self, proposals: Sequence[Proposal]) -> list[str]:
        """Return why each proposal can't be applied now, empty where it can."""
        if self._proposals.is_running:
            return [RUNNING for _ in proposals]
        return await asyncio.to_thread(self._obstacles, proposals, self._proposals.void(proposals))

    def lines(self, proposal: Proposal) -> str:
        """Return the lines for `toban.yaml`, to be copied by hand."""
        block = override_lines(proposal.rule, proposal.override, self._comment(proposal))
        return "\n".join(["alerting:", "  overrides:", *(f"    {it}" for it in block)])

    async def _apply(self, rule: str, actor: Actor) -> LimitApplied:
        if self._proposals.is_running:
            raise InvalidCommandError(RUNNING)
        run = await self._proposals.last()
        proposal = next((it for it in run.proposals if it.rule == rule), None) if run else None
        if proposal is None:
            raise NotFoundError(
                f"nothing is proposed for {rule[:100]!r}: `toban review --propose` looks for better limits"
            )
        comment = self._comment(proposal, actor.name)
        if self._proposals.void([proposal]):
            raise InvalidCommandError(_changed_since(proposal))
        try:
            source, before, after = await asyncio.to_thread(self._changed, proposal, comment)
        except SettingsError as error:
            raise InvalidCommandError(str(error)) from error
        applied = self._applied(proposal, actor)
        difference = _difference(before, after, source.path.name)
        facts = {"rule": rule, **proposal.override, "file": source.path.name, "evidence": comment}
        number = await self._remember(applied, AuditEntry(applied.at, actor, "applied a proposed limit", facts))
        try:
            await asyncio.to_thread(source.replace, before, after)
        except SettingsError as error:
            await self._forget(number, rule, actor, str(error))
            raise InvalidCommandError(str(error)) from error
        if reason := await self._reload(actor):
            await self._revert(source, before, after, actor)
            await self._forget(number, rule, actor, reason)
            raise NotInForceError(f"the configuration was not reloaded, and is as it was: {reason}")
        log.info("limit applied", rule=rule, **proposal.override)
        return LimitApplied(applied, difference)

    def _changed(self, proposal: Proposal, comment: str) -> tuple[ConfigSource, str, str]:
        """Return the file, its text, and that with the override. Raises ``SettingsError`` where it can't be."""
        source, before = self._file()
        return source, before, with_override(before, proposal.rule, proposal.override, comment)

    def _file(self) -> tuple[ConfigSource, str]:
        """Return the file and the text in force. Raises ``SettingsError`` where it can't be changed."""
        if self._source is None:
            raise SettingsError(f"toban runs without a configuration file: write the lines into {CONFIGURATION}")
        before = self._source.text()
        self._source.check_writable()
        return self._source, before

    def _obstacles(self, proposals: Sequence[Proposal], void: Collection[str]) -> list[str]:
        try:
            _, before = self._file()
        except SettingsError as error:
            return [str(error) for _ in proposals]
        found = []
        for it in proposals:
            try:
                if it.rule in void:
                    raise SettingsError(_changed_since(it))
                with_override(before, it.rule, it.override, "")
            except SettingsError as error:
                found.append(str(error))
            else:
                found.append("")
        return found

    async def _remember(self, applied: AppliedLimit, entry: AuditEntry) -> int:
        def work(connection: Connection) -> int:
            audit_log.record(connection, entry)
            return repository.add_applied(connection, applied)

        return await self._state.transaction(work)

    async def _forget(self, number: int, rule: str, actor: Actor, error: str) -> None:
        """Remove what was remembered of a limit that is not in force, and say so in the audit log."""
        entry = AuditEntry(self._clock.now(), actor, "put a proposed limit back", {"rule": rule, "error": error})

        def work(connection: Connection) -> None:
            audit_log.record(connection, entry)
            repository.remove_applied(connection, number)

        try:
            await self._state.transaction(work)
        except StateError as failure:
            # The next review finds that it is not in force.
            log.warning("applied limit not forgotten", rule=rule, error=str(failure))

    async def _revert(self, source: ConfigSource, before: str, after: str, actor: Actor) -> None:
        """Put the file back. It is reloaded, so that toban's health does not say that another one is not in force."""
        try:
            await asyncio.to_thread(source.replace, after, before)
        except SettingsError as error:
            log.warning("limit not taken back", file=str(source.path), error=str(error))
            raise NotInForceError(
                f"the configuration was not reloaded, and the lines could not be taken back: {error}"
            ) from error
        await self._reload(actor)

    def _applied(self, proposal: Proposal, actor: Actor) -> AppliedLimit:
        judged, override = proposal.judged, proposal.override
        return AppliedLimit(
            proposal.rule,
            self._clock.now(),
            actor.name,
            proposal.limit,
            proposal.for_,
            float(override["limit"]) if "limit" in override else proposal.limit,
            proposal.for_ if proposal.change.for_ is None else proposal.change.for_,
            proposal.fired,
            judged.saved,
            len(judged.found),
            proposal.days,
            judged.source,
        )

    def _comment(self, proposal: Proposal, by: str = "") -> str:
        judged, kept, at = proposal.judged, len(proposal.judged.found), self._clock.now().astimezone(self._zone)
        who = f", {one_line(by)[:NAME_LENGTH]}" if by else ""
        return (
            f"{at:%Y-%m-%d}{who}: saves {judged.saved} of {proposal.fired} firings in {proposal.days:.0f} days,"
            f" keeps {kept} of {kept} incidents"
        )


def _changed_since(proposal: Proposal) -> str:
    return f"{proposal.rule} has changed since: run `toban review --propose` again"


def _difference(before: str, after: str, name: str) -> str:
    """Return the lines that are new: those around them may hold secrets."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=0)
    return "\n".join(lines)
