"""What of state can't be read: shown, and forgotten when somebody has looked at it."""

from dataclasses import asdict

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from toban.core import input_limits
from toban.core.ports import Clock
from toban.state import audit_log, quarantine
from toban.state.database import State
from toban.web.alerts_api import NoSuchError, guarded, said_in
from toban.web.endpoint import JSON, Endpoint, Permission
from toban.web.json_response import Json


class Quarantined:
    """Shows the rows in quarantine."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/api/quarantine", guarded(self.rows), Permission.READ),
            Endpoint("/api/quarantine/forget", guarded(self.forget), Permission.ACT, methods=["POST"], takes=JSON),
        ]

    async def rows(self, request: Request) -> Response:
        """Answer the newest rows in quarantine, and what is skipped or can't be read in words."""
        found = await self._state.transaction(quarantine.rows)
        rows = [{**asdict(row), "at": row.at.isoformat()} for row in found]
        return Json({"rows": rows, "says": self._state.quarantine.health().says})

    async def forget(self, request: Request) -> Response:
        """Delete a row that is in quarantine: `id`, and `by` whom."""
        said = await said_in(request, id=20, by=input_limits.PERSON_LENGTH)
        now, number = self._clock.now(), int(said["id"]) if said["id"].isdecimal() else 0

        def work(connection: Connection) -> bool:
            there = quarantine.forget(connection, number)
            if there:
                audit_log.note(connection, said["by"], "deleted a row from quarantine", now, row=number)
            return there

        if not await self._state.transaction(work):
            raise NoSuchError(f"there is no row {said['id']!r} in quarantine")
        await self._state.quarantine.look()
        return Json({"forgotten": number})
