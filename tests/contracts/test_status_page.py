"""The posts on the status page, on both databases."""

import pytest

from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.state import audit_log
from toban.status_page.commands import MAX_OPEN, StatusPage
from toban.status_page.posts import PostStatus
from toban.status_page.settings import StatusPageSettings

ANN = Actor("ann", "session")
SETTINGS = StatusPageSettings(enabled=True, components=("Shop", "Payment"))


@pytest.fixture
def page(state, clock):
    return StatusPage(SETTINGS, state, clock)


async def test_a_post_is_published_updated_and_resolved(page, state, clock):
    """
    Each step is in the audit log, and another instance reads the same.
    """
    post = await page.publish("Payment is disturbed", "We look into it.", ["Payment"], ANN)
    clock.advance(600)
    await page.update(post.id, PostStatus.IDENTIFIED, "The provider has a problem.", ANN)
    clock.advance(600)
    await page.update(post.id, PostStatus.RESOLVED, "It works again.", ANN)

    (found,) = await StatusPage(SETTINGS, state, clock).posts()
    assert [it.status for it in found.updates] == ["investigating", "identified", "resolved"]
    assert (found.ends - found.starts).total_seconds() == 1_200
    entries = await state.transaction(audit_log.recent)
    assert [it.action for it in entries] == [
        *["updated a post on the status page"] * 2,
        "published a post on the status page",
    ]
    assert {it.actor for it in entries} == {ANN}


async def test_a_post_is_shown_for_two_weeks_after_its_end(page, clock):
    post = await page.publish("Slow", "We look into it.", [], ANN)
    await page.update(post.id, PostStatus.RESOLVED, "Over.", ANN)
    clock.advance(13 * 86_400)
    assert len(await page.posts()) == 1
    clock.advance(2 * 86_400)
    assert await page.posts() == []


async def test_what_was_read_once_is_shown_while_state_can_not_be_read(page, state, monkeypatch):
    await page.publish("Slow", "We look into it.", [], ANN)

    async def broken(work):
        raise StateError("the disk is gone")

    monkeypatch.setattr(state, "transaction", broken)
    assert len(await page.posts()) == 1
    assert await StatusPage(SETTINGS, state, page._clock).posts() == []


@pytest.mark.parametrize(
    ("title", "text", "components", "named"),
    [
        ("", "x", [], "title: must not be empty"),
        ("x", "  ", [], "text: must not be empty"),
        ("x" * 201, "x", [], "title: "),
        ("x", "x", ["Nowhere"], "unknown component 'Nowhere': `status_page.components` has Shop, Payment"),
        ("x", "\ud800", [], "text: "),
    ],
)
async def test_what_can_not_be_published_is_refused_in_words(page, title, text, components, named):
    with pytest.raises(InvalidCommandError, match=named.replace("(", r"\(")):
        await page.publish(title, text, components, ANN)
    assert await page.posts() == []


async def test_posts_are_limited_and_unknown_ones_are_named(page):
    for number in range(MAX_OPEN):
        await page.publish(f"Post {number}", "x", [], ANN)
    with pytest.raises(InvalidCommandError, match="20 posts are open"):
        await page.publish("One more", "x", [], ANN)
    with pytest.raises(NotFoundError, match="post 'nope' not found"):
        await page.update("nope", PostStatus.RESOLVED, "x", ANN)


async def test_without_a_status_page_nothing_is_published(state, clock):
    page = StatusPage(StatusPageSettings(), state, clock)
    with pytest.raises(InvalidCommandError, match=r"set `status_page\.enabled: true`"):
        await page.publish("x", "x", [], ANN)
