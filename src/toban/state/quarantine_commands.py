"""Commands for rows in quarantine: list and delete."""

from collections.abc import Sequence

from sqlalchemy import Connection

from toban.core.actor import Actor
from toban.core.errors import NotFoundError
from toban.state import audit_log, quarantine
from toban.state.audit_log import AuditEntry
from toban.state.database import State
from toban.state.quarantine import QuarantinedRow


class QuarantineCommands:
    """Deletes rows in quarantine; each deletion and its row of the audit log are one transaction."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def rows(self) -> Sequence[QuarantinedRow]:
        """Return the newest rows in quarantine. Raises ``StateError``."""
        return await self._state.transaction(quarantine.rows)

    async def forget(self, number: int, actor: Actor) -> None:
        """Delete a row for good. Raises ``NotFoundError``, ``StateError``."""

        def work(connection: Connection) -> None:
            if not quarantine.forget(connection, number):
                raise NotFoundError(f"no row {number} in quarantine")
            entry = AuditEntry(self._state.now(), actor, "deleted a row in quarantine", {"row": number})
            audit_log.record(connection, entry)

        await self._state.transaction(work)
        await self._state.quarantine.refresh()
