"""All active alerts: in memory for evaluation, in state to survive, in a fallback file while state is unavailable."""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
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
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.alerting")

FALLBACK: Final = "alerts.jsonl"
"""The file in the data folder with the records that could not be written to state yet."""

NO_AUDIT: Final[Mapping[Labels, AuditEntry]] = {}


class AlertStore:
    """
    Alerts by rule. A change is written to state together with its event and its row of the audit log.

    While state is unavailable changes go to the fallback file, and to ``urgent`` at once; when state is back they are
    written there, in order. After a crash in between, an event comes twice rather than never.
    """

    def __init__(
        self,
        state: State,
        folder: Path,
        wake: Callable[[], None],
        urgent: Callable[[Sequence[AlertChange]], Awaitable[None]],
    ) -> None:
        self._state = state
        self._file = folder / FALLBACK
        self._wake = wake
        self._urgent = urgent
        self._alerts: dict[str, ActiveAlerts] = {}
        self._stored: dict[tuple[str, str], ActiveAlert] = {}
        self._waiting: list[tuple[int, AlertRecord]] = []
        self._broken: list[tuple[int, str, str]] = []
        """Unreadable lines of the file: their numbers, contents and errors; they are moved to the quarantine."""
        self._number = 0
        self._error = ""
        self._opened = False

    async def open(self) -> None:
        """
        Load the alerts of the last run; while state is unavailable, those of the fallback file.

        A file that ends in the middle of a line was being written at a crash: complete lines count.
        """
        entries = self._read_fallback()
        self._waiting = entries
        self._number = max((number for number, _ in entries), default=0)
        for _, entry in entries:
            self._apply(entry)
        await self.catch_up()

    def rules(self) -> Iterator[str]:
        """Return the keys of rules that have alerts."""
        return iter(list(self._alerts))

    def of(self, rule: str) -> ActiveAlerts:
        """Return a rule's alerts."""
        return self._alerts.get(rule, {})

    def all(self) -> Iterator[tuple[str, ActiveAlert]]:
        """Return every alert with the key of its rule."""
        for rule, alerts in list(self._alerts.items()):
            for active in alerts.values():
                yield rule, active

    def alerts(self) -> list[Alert]:
        """Return every alert, by priority and age; resolved ones last."""
        found = [active.alert for _, active in self.all()]
        return sorted(found, key=lambda it: (it.status is AlertStatus.RESOLVED, priority(it.labels), it.starts))

    async def apply(self, rule: str, step: Step, audit: Mapping[Labels, AuditEntry] = NO_AUDIT) -> None:
        """
        Apply a step: its alerts replace those of the rule and survive a restart, its changes become events.

        ``audit`` has the rows of the audit log that are written with the changes, by the labels of their alerts. This
        never fails: records that can't be written to state go to the fallback file.
        """
        changes = {change.alert.labels: change for change in step.changes}
        before = self.of(rule)
        entries = [
            AlertRecord(rule, active.alert.fingerprint, active, changes.get(labels), audit.get(labels))
            for labels, active in step.after.items()
            if labels in changes or (active is not before.get(labels) and self._differs(rule, active))
        ]
        entries += [
            AlertRecord(rule, active.alert.fingerprint, None)
            for labels, active in before.items()
            if labels not in step.after and (rule, active.alert.fingerprint) in self._stored
        ]
        self._alerts[rule] = step.after
        if not step.after:
            del self._alerts[rule]
        await self._write(entries)

    async def catch_up(self) -> None:
        """Load alerts from state and write the waiting records to it, if it is available again."""
        if not self._opened:
            await self._load()
        if self._opened and (self._waiting or self._broken):
            await self._write([])

    async def _load(self) -> None:
        """Load alerts from state; changes that were made while it was unavailable take precedence."""

        def work(connection: Connection) -> tuple[dict[str, dict[Labels, ActiveAlert]], int]:
            return repository.load(connection), repository.last_record(connection)

        try:
            stored, last_record = await self._state.transaction(work)
        except StateError as error:
            self._error = str(error)
            return
        self._opened = True
        # Older records of the file are in state already: the last run ended before the file was removed.
        self._waiting = [(number, entry) for number, entry in self._waiting if number > last_record]
        self._number = max(self._number, last_record)
        changed = {(entry.rule, entry.fingerprint) for _, entry in self._waiting}
        for rule, alerts in stored.items():
            unchanged = {labels: it for labels, it in alerts.items() if (rule, it.alert.fingerprint) not in changed}
            self._alerts[rule] = {**self._alerts.get(rule, {}), **unchanged}
            for active in unchanged.values():
                self._stored[rule, active.alert.fingerprint] = active

    def health(self) -> HealthStatus:
        """Return whether alerts would survive a restart."""
        if self._waiting:
            return HealthStatus(False, f"{len(self._waiting)} changes of alerts are not stored yet: {self._error}")
        return HealthStatus(True, "alerts are stored")

    def _differs(self, rule: str, active: ActiveAlert) -> bool:
        """Return whether an alert differs from the stored one in more than what each evaluation renews."""
        stored = self._stored.get((rule, active.alert.fingerprint))
        return stored is None or _lasting_fields(stored) != _lasting_fields(active)

    async def _write(self, entries: Sequence[AlertRecord]) -> None:
        if not entries and not self._waiting and not self._broken:
            return
        if not self._opened:
            await self._load()
        waiting = [*(entry for _, entry in self._waiting), *entries]
        try:
            await self._state.transaction(partial(self._save, entries=waiting, number=self._number))
        except StateError as error:
            self._error = str(error)
            await self._write_fallback(entries)
            return
        for entry in waiting:
            self._mark_stored(entry)
        if self._waiting or self._broken:
            log.info("state recovered", changes=len(self._waiting))
            self._waiting.clear()
            self._broken.clear()
            self._remove_fallback()
        self._error = ""
        if any(entry.change for entry in waiting):
            self._wake()

    def _save(self, connection: Connection, entries: Sequence[AlertRecord], number: int) -> None:
        for line, content, error in self._broken:
            quarantine.keep(connection, FALLBACK, f"line {line}", content, error, self._state.now())
        repository.save(connection, entries)
        if number > repository.last_record(connection):
            repository.save_last_record(connection, number)

    async def _write_fallback(self, entries: Sequence[AlertRecord]) -> None:
        if not entries:
            return
        numbered = [(self._number + place, entry) for place, entry in enumerate(entries, 1)]
        self._number += len(entries)
        self._waiting += numbered
        for entry in entries:
            # A record that is in the file is not written there again.
            self._mark_stored(entry)
        self._append_fallback(numbered)
        changes = [entry.change for entry in entries if entry.change]
        if changes:
            await self._urgent(changes)

    def _mark_stored(self, entry: AlertRecord) -> None:
        if entry.active is None:
            self._stored.pop((entry.rule, entry.fingerprint), None)
        else:
            self._stored[entry.rule, entry.fingerprint] = entry.active

    def _apply(self, entry: AlertRecord) -> None:
        alerts = {
            labels: it
            for labels, it in self._alerts.get(entry.rule, {}).items()
            if it.alert.fingerprint != entry.fingerprint
        }
        if entry.active:
            alerts[entry.active.alert.labels] = entry.active
        self._alerts[entry.rule] = alerts

    def _read_fallback(self) -> list[tuple[int, AlertRecord]]:
        try:
            lines = self._file.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("fallback file unreadable", file=str(self._file), error=str(error))
            return []
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                body = orjson.loads(line)
                entries.append((int(body["number"]), AlertRecord.read(body)))
            except Exception as error:
                log.warning("line of the fallback file unreadable", file=str(self._file), error=str(error))
                if line.endswith(b"\n"):
                    self._broken.append((number, line.decode(errors="replace"), f"{type(error).__name__}: {error}"))
        return entries

    def _append_fallback(self, entries: Sequence[tuple[int, AlertRecord]]) -> None:
        lines = [orjson.dumps({"number": number, **entry.line()}) + b"\n" for number, entry in entries]
        try:
            with self._file.open("ab") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("fallback file not written, alerts only in memory", file=str(self._file), error=str(error))

    def _remove_fallback(self) -> None:
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            # Its records are skipped by their numbers.
            log.warning("fallback file not removed", file=str(self._file), error=str(error))


def _lasting_fields(active: ActiveAlert) -> tuple[object, ...]:
    alert = active.alert
    return alert.status, alert.starts, alert.fired, alert.ends, alert.acknowledged, active.unmet_since
