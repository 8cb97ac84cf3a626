"""All alerts as they stand: in memory to judge by, in state to survive, in a file while state is away."""

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import orjson
import structlog
from sqlalchemy import Connection

from toban.alerting import repository
from toban.alerting.repository import AlertRecord
from toban.alerting.states import ActiveAlert, ActiveAlerts, Step
from toban.core.alerts import Alert, AlertChange, AlertStatus, priority
from toban.core.errors import StateError
from toban.core.labels import Labels
from toban.core.ports import HealthStatus
from toban.state import quarantine
from toban.state.database import State

log = structlog.get_logger("toban.alerting")

BESIDE: Final = "alerts.jsonl"
"""The file in the data folder that holds what could not be written to state yet."""


class AlertStore:
    """
    Alerts by rule. What changes is written to state together with its line in the feed.

    While state is away changes are kept in a file beside it and told to ``urgent`` at once; when state is back they
    are written there, in order. A crash between the two tells a change twice rather than never.
    """

    def __init__(
        self,
        state: State,
        folder: Path,
        told: Callable[[], None],
        urgent: Callable[[Sequence[AlertChange]], Awaitable[None]],
    ) -> None:
        self._state = state
        self._file = folder / BESIDE
        self._told = told
        self._urgent = urgent
        self._alerts: dict[str, ActiveAlerts] = {}
        self._stored: dict[tuple[str, str], ActiveAlert] = {}
        self._waiting: list[tuple[int, AlertRecord]] = []
        self._broken: list[tuple[int, str, str]] = []
        """Lines of the file that can't be read: which, what they hold, and why; they go into quarantine."""
        self._number = 0
        self._trouble = ""
        self._opened = False

    async def open(self) -> None:
        """
        Take up where the last run ended; while state is away, with what the file holds.

        A file that breaks off in the middle of a line was being written when the power went: what is whole counts.
        """
        entries = self._from_file()
        self._waiting = entries
        self._number = max((number for number, _ in entries), default=0)
        for _, entry in entries:
            self._apply(entry)
        await self.catch_up()

    def rules(self) -> Iterator[str]:
        """Return the keys under which there are alerts."""
        return iter(list(self._alerts))

    def of(self, rule: str) -> ActiveAlerts:
        """Return a rule's alerts."""
        return self._alerts.get(rule, {})

    def all(self) -> Iterator[tuple[str, ActiveAlert]]:
        """Return every alert with the key of its rule."""
        for rule, standings in list(self._alerts.items()):
            for standing in standings.values():
                yield rule, standing

    def alerts(self) -> list[Alert]:
        """Return every alert: those that are over last, else what matters most first, then what is oldest."""
        found = [standing.alert for _, standing in self.all()]
        return sorted(found, key=lambda it: (it.status is AlertStatus.RESOLVED, priority(it.labels), it.starts))

    async def apply(self, rule: str, step: Step) -> None:
        """Make a step: it stands from now on, survives, and its changes are told. This never fails."""
        changes = {change.alert.labels: change for change in step.changes}
        before = self.of(rule)
        entries = [
            AlertRecord(rule, standing.alert.fingerprint, standing, changes.get(labels))
            for labels, standing in step.after.items()
            if labels in changes or self._differs(rule, standing)
        ]
        entries += [
            AlertRecord(rule, standing.alert.fingerprint, None)
            for labels, standing in before.items()
            if labels not in step.after and (rule, standing.alert.fingerprint) in self._stored
        ]
        self._alerts[rule] = step.after
        if not step.after:
            del self._alerts[rule]
        await self._write(entries)

    async def catch_up(self) -> None:
        """Take up what state holds and write there what waits, if state is back."""
        if not self._opened:
            await self._take_up()
        if self._opened and (self._waiting or self._broken):
            await self._write([])

    async def _take_up(self) -> None:
        """Read what state holds; what was learned since without it stands above that."""

        def work(connection: Connection) -> tuple[dict[str, dict[Labels, ActiveAlert]], int]:
            return repository.load(connection), repository.caught_up(connection)

        try:
            stored, caught_up = await self._state.transaction(work)
        except StateError as error:
            self._trouble = str(error)
            return
        self._opened = True
        # What the file holds of before is in state already: the last run ended between the two.
        self._waiting = [(number, entry) for number, entry in self._waiting if number > caught_up]
        self._number = max(self._number, caught_up)
        news = {(entry.rule, entry.fingerprint) for _, entry in self._waiting}
        for rule, standings in stored.items():
            old = {labels: it for labels, it in standings.items() if (rule, it.alert.fingerprint) not in news}
            self._alerts[rule] = {**self._alerts.get(rule, {}), **old}
            for standing in old.values():
                self._stored[rule, standing.alert.fingerprint] = standing

    def health(self) -> HealthStatus:
        """Say whether alerts survive a restart just now."""
        if self._waiting:
            return HealthStatus(False, f"{len(self._waiting)} changes of alerts wait for state: {self._trouble}")
        return HealthStatus(True, "alerts are kept")

    def _differs(self, rule: str, standing: ActiveAlert) -> bool:
        """Tell whether what is stored would not do after a restart: values and texts come anew with each judgement."""
        stored = self._stored.get((rule, standing.alert.fingerprint))
        return stored is None or _what_matters(stored) != _what_matters(standing)

    async def _write(self, entries: Sequence[AlertRecord]) -> None:
        if not entries and not self._waiting and not self._broken:
            return
        if not self._opened:
            await self._take_up()
        waiting = [*(entry for _, entry in self._waiting), *entries]
        try:
            await self._state.transaction(partial(self._work, entries=waiting, upto=self._number))
        except StateError as error:
            self._trouble = str(error)
            await self._set_aside(entries)
            return
        for entry in waiting:
            self._note_stored(entry)
        if self._waiting or self._broken:
            log.info("state is back", changes=len(self._waiting))
            self._waiting.clear()
            self._broken.clear()
            self._clear_file()
        self._trouble = ""
        if any(entry.change for entry in waiting):
            self._told()

    def _work(self, connection: Connection, entries: Sequence[AlertRecord], upto: int) -> None:
        for line, content, error in self._broken:
            quarantine.keep(connection, BESIDE, f"line {line}", content, error, self._state.now())
        repository.save(connection, entries)
        if upto > repository.caught_up(connection):
            repository.catch_up(connection, upto)

    async def _set_aside(self, entries: Sequence[AlertRecord]) -> None:
        if not entries:
            return
        numbered = [(self._number + place, entry) for place, entry in enumerate(entries, 1)]
        self._number += len(entries)
        self._waiting += numbered
        for entry in entries:
            # So that what stands differs from what is stored only until it was set aside once.
            self._note_stored(entry)
        self._to_file(numbered)
        changes = [entry.change for entry in entries if entry.change]
        if changes:
            await self._urgent(changes)

    def _note_stored(self, entry: AlertRecord) -> None:
        if entry.standing is None:
            self._stored.pop((entry.rule, entry.fingerprint), None)
        else:
            self._stored[entry.rule, entry.fingerprint] = entry.standing

    def _apply(self, entry: AlertRecord) -> None:
        standings = {
            labels: it
            for labels, it in self._alerts.get(entry.rule, {}).items()
            if it.alert.fingerprint != entry.fingerprint
        }
        if entry.standing:
            standings[entry.standing.alert.labels] = entry.standing
        self._alerts[entry.rule] = standings

    def _from_file(self) -> list[tuple[int, AlertRecord]]:
        try:
            lines = self._file.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("what was set aside can't be read", file=str(self._file), error=str(error))
            return []
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                told = orjson.loads(line)
                entries.append((int(told["number"]), AlertRecord.read(told)))
            except Exception as error:
                log.warning("a line of what was set aside is broken", file=str(self._file), error=str(error))
                if line.endswith(b"\n"):
                    self._broken.append((number, line.decode(errors="replace"), f"{type(error).__name__}: {error}"))
        return entries

    def _to_file(self, entries: Sequence[tuple[int, AlertRecord]]) -> None:
        lines = [orjson.dumps({"number": number, **entry.line()}) + b"\n" for number, entry in entries]
        try:
            with self._file.open("ab") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("alerts are kept in memory only", file=str(self._file), error=str(error))

    def _clear_file(self) -> None:
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            # What it holds is passed over by its number.
            log.warning("what was set aside can't be removed", file=str(self._file), error=str(error))


def _what_matters(standing: ActiveAlert) -> tuple[object, ...]:
    alert = standing.alert
    return alert.status, alert.starts, alert.fired, alert.ends, alert.acknowledged, standing.unmet_since
