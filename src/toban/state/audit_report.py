"""The newest entries of the audit log, for whoever shows them."""

from collections.abc import Sequence
from functools import partial

from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

__all__ = ["AuditEntry", "recent_entries"]


async def recent_entries(state: State, limit: int, before: int | None = None, actor: str = "") -> Sequence[AuditEntry]:
    """
    Return entries, newest first: those with a number below ``before``, and of an actor, where these are given.

    Raises ``StateError``.
    """
    return await state.transaction(partial(audit_log.recent, limit=limit, before=before, actor=actor))
