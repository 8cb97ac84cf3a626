"""What of state can't be read: shown, and forgotten when somebody has looked at it."""

from dataclasses import asdict

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from toban.core import input_limits
from toban.core.ports import Clock
from toban.state import audit_log, quarantine
from toban.state.database import State
from toban.web.alerts_api import NotFoundError, read_fields, with_error_status
from toban.web.endpoint import JSON, Endpoint, Permission
from toban.web.json_response import JsonResponse


class QuarantineApi:
    """Shows the rows in quarantine."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/api/quarantine", with_error_status(self.rows), Permission.READ),
            Endpoint(
                "/api/quarantine/forget", with_error_status(self.forget), Permission.ACT, methods=["POST"], takes=JSON
            ),
        ]

    async def rows(self, request: Request) -> Response:
        """Answer the newest rows in quarantine, and what is skipped or can't be read in words."""
        found = await self._state.transaction(quarantine.rows)
        rows = [{**asdict(row), "at": row.at.isoformat()} for row in found]
        return JsonResponse({"rows": rows, "says": self._state.quarantine.health().message})

    async def forget(self, request: Request) -> Response:
        """Delete a row that is in quarantine: `id`, and `by` whom."""
        said = await read_fields(request, id=20, by=input_limits.PERSON_LENGTH)
        now, number = self._clock.now(), int(said["id"]) if said["id"].isdecimal() else 0

        def work(connection: Connection) -> bool:
            there = quarantine.forget(connection, number)
            if there:
                audit_log.record(connection, said["by"], "deleted a row from quarantine", now, row=number)
            return there

        if not await self._state.transaction(work):
            raise NotFoundError(f"there is no row {said['id']!r} in quarantine")
        await self._state.quarantine.refresh()
        return JsonResponse({"forgotten": number})
