"""The table of the posts on the status page."""

from datetime import datetime
from typing import Final

from sqlalchemy import Column, Connection, Table, delete, insert, select

from toban.state.column_types import Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows
from toban.status_page.posts import StatusPost

POSTS: Final = Table(
    "status_page_post",
    metadata,
    Column("id", SafeString(36), primary_key=True),
    Column("starts", Timestamp, nullable=False),
    Column("ends", Timestamp, nullable=True),
    Column("body", Json, nullable=False),
)


def posts(connection: Connection) -> list[StatusPost]:
    """Return all posts, newest first."""
    rows = connection.execute(select(POSTS).order_by(POSTS.c.starts.desc(), POSTS.c.id))
    return readable_rows(connection, POSTS, rows, lambda row: StatusPost.from_dict(row.id, row.body))


def save_post(connection: Connection, post: StatusPost) -> None:
    """Store a post, a new or a changed one."""
    connection.execute(delete(POSTS).where(POSTS.c.id == post.id))
    connection.execute(insert(POSTS).values(id=post.id, starts=post.starts, ends=post.ends, body=post.as_dict()))


def delete_posts(connection: Connection, before: datetime) -> None:
    """Delete the posts that ended before a time."""
    connection.execute(delete(POSTS).where(POSTS.c.ends < before))
