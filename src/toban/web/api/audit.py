"""The audit log in the API."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.state.audit_report import AuditEntry
from toban.web.api.api_endpoint import ApiEndpoint, RequestModel, ResponseModel
from toban.web.api.models import OptionalName
from toban.web.endpoint import Endpoint


class AuditRequest(RequestModel):
    """Which entries of the audit log are returned."""

    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    before: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    """Only entries with a lower number."""
    actor: OptionalName = ""
    """Only what somebody of this name did."""


class AuditEntryModel(ResponseModel):
    """Who did what, when and from where."""

    id: int
    at: datetime
    actor: str
    via: str
    """How the actor was authenticated: `local socket`, `token`, `session`, …"""
    address: str
    """From where; empty for the local socket."""
    action: str
    facts: dict[str, Any]


class AuditResponse(ResponseModel):
    """Entries of the audit log, newest first."""

    entries: list[AuditEntryModel]


class AuditApi:
    """Shows the audit log."""

    def __init__(self, audit_log: Callable[[int, int | None, str], Awaitable[Sequence[AuditEntry]]]) -> None:
        """``audit_log`` returns a number of entries, those before an entry or the newest, of an actor or of all."""
        self._audit_log = audit_log

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/audit", self.audit, Permission.READ, AuditRequest, AuditResponse)]

    async def audit(self, request: AuditRequest, actor: Actor) -> AuditResponse:
        """Return the newest entries of the audit log."""
        entries = await self._audit_log(request.limit, request.before, request.actor)
        return AuditResponse(
            entries=[
                AuditEntryModel(
                    id=it.id,
                    at=it.at,
                    actor=it.actor.name,
                    via=it.actor.via,
                    address=it.actor.address,
                    action=it.action,
                    facts=dict(it.facts),
                )
                for it in entries
            ]
        )
