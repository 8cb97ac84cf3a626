"""Commands on alerts: acknowledge, and take an acknowledgement back."""

from dataclasses import replace

from toban.alerting.alert_store import AlertStore
from toban.alerting.states import ActiveAlerts, Step
from toban.core.actor import Actor
from toban.core.alerts import Acknowledgement, AlertChange, AlertStatus
from toban.core.errors import NotFoundError
from toban.core.input_limits import repair_surrogates
from toban.core.ports import Clock
from toban.state.audit_log import AuditEntry


class AcknowledgeCommands:
    """Changes acknowledgements; each change and its row of the audit log are one transaction."""

    def __init__(self, store: AlertStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def acknowledge(self, alert: str, actor: Actor, by: str = "", comment: str = "") -> int:
        """
        Acknowledge the firing alerts of a name or fingerprint until they resolve; return how many these are.

        ``by`` is the name that is shown, without it that of the actor. Raises ``NotFoundError``.
        """
        return await self._set(alert, Acknowledgement(by or actor.name, self._clock.now(), comment), actor)

    async def unacknowledge(self, alert: str, actor: Actor) -> int:
        """Take the acknowledgement of firing alerts back; return how many these are. Raises ``NotFoundError``."""
        return await self._set(alert, None, actor)

    async def _set(self, name: str, acknowledgement: Acknowledgement | None, actor: Actor) -> int:
        now, count = self._clock.now(), 0
        for rule, active in list(self._store.all()):
            alert = active.alert
            if alert.status is not AlertStatus.FIRING or name not in (alert.name, alert.fingerprint):
                continue
            count += 1
            changed = replace(alert, acknowledged=acknowledgement)
            why = f"acknowledged by {acknowledgement.by}" if acknowledgement else "no longer acknowledged"
            facts = {"alert": alert.name, "fingerprint": alert.fingerprint}
            if acknowledgement:
                facts |= {"by": acknowledgement.by, "comment": acknowledgement.comment}
            action = "acknowledged an alert" if acknowledgement else "unacknowledged an alert"
            after: ActiveAlerts = {**self._store.of(rule), alert.labels: replace(active, alert=changed)}
            step = Step(after, (AlertChange(changed, now, why),))
            await self._store.apply(rule, step, {alert.labels: AuditEntry(now, actor, action, facts)})
        if not count:
            raise NotFoundError(f"no firing alert {repair_surrogates(name)[:100]!r}")
        return count
