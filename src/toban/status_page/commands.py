"""Commands on the status page: publish a post, add a message to it."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.core.input_limits import repair_surrogates
from toban.core.ports import Clock
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State
from toban.status_page import repository
from toban.status_page.posts import PostStatus, PostUpdate, StatusPost
from toban.status_page.settings import StatusPageSettings

MAX_OPEN: Final = 20
"""Posts that may be open at once."""

MAX_UPDATES: Final = 100
"""Messages that a post may have."""

TITLE_LENGTH: Final = 200

KEPT: Final = timedelta(days=365)
"""How long posts are kept after they have ended."""


class StatusPage:
    """
    The posts, and the commands on them; each command and its row of the audit log are one transaction.

    The posts stay in memory: customers read them also while state can't be read.
    """

    def __init__(self, settings: StatusPageSettings, state: State, clock: Clock) -> None:
        self.settings = settings
        self._state = state
        self._clock = clock
        self._posts: Sequence[StatusPost] | None = None

    async def posts(self) -> Sequence[StatusPost]:
        """Return the open posts and those that ended lately, newest first; none while they were never read."""
        since = self._clock.now() - self.settings.history
        return [it for it in await self.all_posts() if it.ends is None or it.ends >= since]

    async def all_posts(self) -> Sequence[StatusPost]:
        """Return the posts of the last year, newest first; none while they were never read."""
        if self._posts is None:
            try:
                self._posts = await self._state.transaction(repository.posts)
            except StateError:
                return ()
        return self._posts

    async def publish(self, title: str, text: str, components: Sequence[str], actor: Actor) -> StatusPost:
        """Publish a post. Raises ``InvalidCommandError``, ``StateError``."""
        self._check_enabled()
        unknown = [it for it in components if it not in self.settings.components]
        if unknown:
            known = ", ".join(self.settings.components)
            raise InvalidCommandError(
                f"unknown component {unknown[0][:100]!r}: `status_page.components` has {known}", "components"
            )
        update = PostUpdate(self._clock.now(), PostStatus.INVESTIGATING, _checked("text", text))
        post = StatusPost(str(uuid.uuid4()), _checked("title", title, TITLE_LENGTH), tuple(components), (update,))

        def work(connection: Connection) -> Sequence[StatusPost]:
            known = repository.posts(connection)
            if sum(it.ends is None for it in known) >= MAX_OPEN:
                raise InvalidCommandError(f"{MAX_OPEN} posts are open: resolve some of them first")
            return self._save(connection, post, actor, "published a post on the status page")

        self._posts = await self._state.transaction(work)
        return post

    async def update(self, post_id: str, status: PostStatus, text: str, actor: Actor) -> StatusPost:
        """Add a message to a post. Raises ``NotFoundError``, ``InvalidCommandError``, ``StateError``."""
        self._check_enabled()
        update = PostUpdate(self._clock.now(), status, _checked("text", text))

        def work(connection: Connection) -> tuple[StatusPost, Sequence[StatusPost]]:
            found = next((it for it in repository.posts(connection) if it.id == post_id), None)
            if found is None:
                raise NotFoundError(f"post {repair_surrogates(post_id)[:100]!r} not found")
            if len(found.updates) >= MAX_UPDATES:
                raise InvalidCommandError(f"it has {MAX_UPDATES} messages: publish another post")
            changed = found.updated(update)
            return changed, self._save(connection, changed, actor, "updated a post on the status page")

        changed, self._posts = await self._state.transaction(work)
        return changed

    def _check_enabled(self) -> None:
        if not self.settings.enabled:
            raise InvalidCommandError("there is no status page: set `status_page.enabled: true` in toban.yaml")

    def _save(self, connection: Connection, post: StatusPost, actor: Actor, action: str) -> Sequence[StatusPost]:
        repository.save_post(connection, post)
        newest = post.updates[-1]
        repository.delete_posts(connection, newest.at - KEPT)
        facts = {"post": post.id, "title": post.title, "status": newest.status, "text": newest.text}
        audit_log.record(connection, AuditEntry(newest.at, actor, action, facts))
        return repository.posts(connection)


def _checked(field: str, text: str, longest: int = input_limits.COMMENT_LENGTH) -> str:
    try:
        checked = input_limits.checked_text(text.strip(), longest)
    except ValueError as error:
        raise InvalidCommandError(str(error), field) from error
    if not checked:
        raise InvalidCommandError("must not be empty", field)
    return checked
