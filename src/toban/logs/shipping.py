"""Ships stored lines to a sink: from a cursor, with retry, every line accounted for."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import orjson
import structlog

from toban.core.backoff import retry_delay
from toban.core.errors import DeliveryError, StoreError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import HealthStatus, LineSink
from toban.core.samples import counter, gauge, milliseconds
from toban.core.wakeup import Wakeup
from toban.logs.line_store import LineStore, StoredLine
from toban.logs.sink import LinesRejectedError, Sink, SinkTools, UnansweredError

log = structlog.get_logger("toban.logs")

LINES: Final = counter(
    "toban_log_sink_lines_total",
    "Lines by sink and outcome: shipped, or dropped for a reason: filtered (by level), expired (deleted before they"
    " could be sent), too_old, too_large, rejected, failed (by an error of the sink itself).",
    labels=("sink", "outcome"),
)
WAITING: Final = gauge("toban_log_sink_lines_waiting", "Lines that a sink has not been sent yet.", labels=("sink",))
RESENT: Final = counter(
    "toban_log_sink_lines_resent_total",
    "Lines that were sent again because no response said whether the receiver has them.",
    labels=("sink",),
)

IDLE: Final = 1.0
"""Seconds between two checks for new lines."""

LONGEST_WAIT: Final = 60.0
LONGEST_RETRY_AFTER: Final = 3_600.0
"""Seconds between two attempts, unless the receiver asks for more."""

PREFIX: Final = "sink:"
"""Begins the names of the cursors."""


@dataclass(frozen=True, slots=True)
class Account:
    """How far a sink is: the number of the next line, and what became of all lines since ``first``."""

    first: int
    next: int
    outcomes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> "Account":
        """Return an account from its cursor."""
        fields = orjson.loads(text)
        return cls(fields["first"], fields["next"], fields["outcomes"])

    @property
    def text(self) -> str:
        """The cursor."""
        return orjson.dumps({"first": self.first, "next": self.next, "outcomes": dict(self.outcomes)}).decode()

    def settled(self, next_number: int, outcomes: Mapping[str, int]) -> "Account":
        """Return it after the lines before a number have had these outcomes; the others of them have expired."""
        expired = next_number - self.next - sum(outcomes.values())
        return Account(
            self.first, next_number, Counter(self.outcomes) + Counter(outcomes) + Counter({"expired": expired})
        )


class LineShipper:
    """
    Ships lines to one sink.

    The store is the buffer: lines wait in it, also over restarts, as long as they are kept. What became of each is
    written together with the cursor, so that lines in = shipped + dropped + waiting, always. A sink that was not there
    before begins with the lines that come from then on.
    """

    def __init__(
        self, sink: Sink, store: LineStore, cursors: LineSink, tools: SinkTools, meters: MetricRegistry
    ) -> None:
        """``cursors`` writes the cursor, for one thread alone writes to the store."""
        self.name = f"log sink {sink.name}"
        self.account: Account | None = None
        self._sink = sink
        self._store = store
        self._cursors = cursors
        self._tools = tools
        self._meters = meters
        self._wakeup = Wakeup(tools.clock)
        self._failure = FailureLog(log, "log sink failed, lines wait", "log sink recovered", sink=sink.name)
        self._attempts = 0
        self._waiting = 0
        self._unanswered = 0
        """The receiver may have the lines before this number that wait: no response said so."""

    def wake(self) -> None:
        """Ship soon: there are new lines."""
        self._wakeup.set()

    async def run(self) -> None:
        """Ship until cancelled."""
        try:
            while True:
                wait = await self.once()
                if wait > IDLE:
                    await self._tools.clock.sleep(wait)  # new lines are no reason to try earlier
                elif wait:
                    await self._wakeup.wait(wait)
        finally:
            await self._sink.close()

    async def once(self) -> float:
        """Ship some lines; return how many seconds to wait for the next."""
        try:
            account = self.account or await self._open()
            lines = await asyncio.to_thread(self._store.numbered, account.next, self._sink.max_lines)
            if lines:
                await self._ship(account, lines)
            elif (end := await self._next_number()) > account.next:
                await self._settle(account.settled(end, {}))
            else:
                self._report(account, end)
                return IDLE
        except StoreError as error:
            log.debug("log sink can't read or write its cursor", sink=self._sink.name, error=str(error))
            return IDLE
        except DeliveryError as error:
            self._attempts += 1
            self._failure.failed(str(error))
            with suppress(StoreError):  # the store reports that itself
                if self.account:
                    self._report(self.account, await self._next_number())
            jitter = random.random()  # noqa: S311  # spreading retries is no secret
            usual = min(retry_delay(self._attempts, None, jitter).total_seconds(), LONGEST_WAIT)
            # A receiver may ask for longer, up to an hour.
            return max(usual, min(error.after or 0.0, LONGEST_RETRY_AFTER))
        self._failure.succeeded()
        self._attempts = 0
        return 0.0

    def health(self) -> HealthStatus:
        """Return whether the sink takes lines, and how many wait."""
        if self._failure.error:
            return HealthStatus(False, f"{self._failure.error}; {self._waiting} lines wait")
        return HealthStatus(True, f"{self._waiting} lines wait")

    async def _open(self) -> Account:
        text = await asyncio.to_thread(self._store.cursor, f"{PREFIX}{self._sink.name}")
        number = await self._next_number()
        account = Account.read(text) if text else Account(number, number)
        if not text:
            await self._settle(account)
        for outcome, count in account.outcomes.items():
            self._meters.add(LINES, count, sink=self._sink.name, outcome=outcome)
        self.account = account
        return account

    async def _next_number(self) -> int:
        return (await asyncio.to_thread(self._store.report)).next_number

    async def _settle(self, account: Account) -> Account:
        """Write the cursor; the lines before it are never sent again."""
        await self._cursors.append([], self._sink.name, {f"{PREFIX}{self._sink.name}": account.text})
        before = Counter(self.account.outcomes) if self.account else Counter[str](account.outcomes)
        for outcome, count in (Counter(account.outcomes) - before).items():
            self._meters.add(LINES, count, sink=self._sink.name, outcome=outcome)
        self.account = account
        self._report(account, await self._next_number())
        return account

    def _report(self, account: Account, next_number: int) -> None:
        self._waiting = next_number - account.next
        self._meters.set(WAITING, self._waiting, sink=self._sink.name)

    async def _ship(self, account: Account, lines: Sequence[StoredLine]) -> None:
        """
        Send lines, in smaller parts where the receiver rejects one: those that it takes must not be lost with it.

        What became of a part is written before the next one is sent. Raises ``DeliveryError``.
        """
        parts = [lines]
        while parts:
            part = parts.pop()
            reasons = [self._reason_to_skip(line) for line in part]
            fit = [line for line, reason in zip(part, reasons, strict=True) if not reason]
            again = sum(line.position.number < self._unanswered for line in fit)
            try:
                outcomes = await self._shipped(fit) if fit else Counter[str]()
            except UnansweredError:
                self._meters.add(RESENT, again, sink=self._sink.name)
                self._unanswered = max(self._unanswered, fit[-1].position.number + 1)
                raise
            except LinesRejectedError as error:
                if len(fit) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                    continue
                log.warning("log line rejected", sink=self._sink.name, error=str(error))
                outcomes = Counter({error.reason: 1})
            outcomes["shipped"] += len(fit) - outcomes.total()
            outcomes.update(reason for reason in reasons if reason)
            self._meters.add(RESENT, again, sink=self._sink.name)
            account = await self._settle(account.settled(part[-1].position.number + 1, outcomes))

    async def _shipped(self, lines: Sequence[StoredLine]) -> Counter[str]:
        """Send lines; an unexpected error is that of a line, which is looked for as one that is rejected."""
        try:
            return Counter(await self._sink.ship(lines, self._tools))
        except (DeliveryError, LinesRejectedError):
            raise
        except Exception as error:
            log.exception("log sink failed unexpectedly", sink=self._sink.name, lines=len(lines))
            raise LinesRejectedError(f"unexpected error: {type(error).__name__}: {error}", "failed") from error

    def _reason_to_skip(self, line: StoredLine) -> str:
        """Return why a line is not sent; nothing where it is."""
        if not line.line.level.is_at_least(self._sink.level):
            return "filtered"
        age = self._sink.max_age
        if age and line.position.at < milliseconds(self._tools.clock.now() - age):
            return "too_old"
        return ""
