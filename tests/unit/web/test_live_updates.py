"""The stream of changes to open pages."""

from starlette.requests import Request

from tests.fakes import FakeClock
from toban.access.permissions import Permission
from toban.access.principal import Principal
from toban.core.actor import ANONYMOUS
from toban.web.live_updates import KEEP_ALIVE, MAX_STREAMS, LiveUpdates, PageState, live_state


class Shown:
    """What is shown, by topic; each look at it is counted."""

    def __init__(self) -> None:
        self.versions: dict[str, object] = {"alerts": 1, "targets": 1}
        self.looks = 0

    def __call__(self) -> dict[str, object]:
        self.looks += 1
        return dict(self.versions)


READER = Principal(ANONYMOUS, frozenset({Permission.READ}))


async def opened(live: LiveUpdates, authenticate=lambda: READER, query: str = ""):
    scope = {"type": "http", "method": "GET", "headers": [], "query_string": query.encode()}
    response = await live.stream(Request({**scope, "state": {"authenticate": authenticate}}))
    return response, response.body_iterator if response.status_code == 200 else None


async def test_a_change_is_sent_with_its_topics():
    shown, clock = Shown(), FakeClock()
    _, events = await opened(LiveUpdates(shown, clock))
    assert await anext(events) == "retry: 2000\n\n"
    shown.versions = {"alerts": 2, "targets": 1}
    assert await anext(events) == "event: changed\ndata: alerts\n\n"
    shown.versions = {"alerts": 3, "targets": 2}
    assert await anext(events) == "event: changed\ndata: alerts targets\n\n"


async def test_what_changed_between_the_page_and_its_stream_is_sent_at_once():
    """
    So is everything after a restart, whose states have other names.
    """
    shown, clock = Shown(), FakeClock()
    live = LiveUpdates(shown, clock)
    before = live.state()
    _, events = await opened(live, query=f"since={before}")
    await anext(events)
    assert await anext(events) == ":\n\n", "nothing has changed"
    shown.versions = {"alerts": 2, "targets": 1}
    clock.advance(1)
    for updates in (live, LiveUpdates(shown, clock)):
        _, events = await opened(updates, query=f"since={before}")
        assert await anext(events) == "retry: 2000\n\n"
        assert await anext(events) == "event: changed\ndata: alerts targets\n\n"
    assert live.state() != before


async def test_a_page_carries_the_state_from_before_its_content_was_gathered():
    shown, clock = Shown(), FakeClock()
    live, pages = LiveUpdates(shown, clock), []
    before = live.state()

    async def application(scope, receive, send):
        shown.versions = {"alerts": 2, "targets": 1}
        clock.advance(1)
        pages.append(live_state(Request(scope)))

    for accept in ("text/html", "application/json"):
        scope = {"type": "http", "path": "/alerts", "headers": [(b"accept", accept.encode())], "state": {}}
        await PageState(application, live)(scope, None, None)
    assert pages == [before, ""]


async def test_without_changes_a_comment_keeps_the_connection_open():
    clock = FakeClock()
    _, events = await opened(LiveUpdates(Shown(), clock))
    await anext(events)
    began = clock.monotonic()
    assert await anext(events) == ":\n\n"
    assert clock.monotonic() - began >= KEEP_ALIVE


async def test_many_open_pages_share_one_look():
    shown, clock = Shown(), FakeClock()
    live = LiveUpdates(shown, clock)
    streams = [(await opened(live))[1] for _ in range(20)]
    for events in streams:
        await anext(events)
    assert shown.looks == 1


async def test_streams_end_when_their_services_are_replaced_and_are_limited_in_number():
    live = LiveUpdates(Shown(), FakeClock())
    streams = [(await opened(live))[1] for _ in range(MAX_STREAMS)]
    for events in streams:
        await anext(events)
    refused, _ = await opened(live)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    live.end()
    for events in streams:
        assert [it async for it in events] == []
    again, _ = await opened(live)
    assert again.status_code == 200


async def test_a_stream_ends_with_the_session_that_opened_it():
    readers = [READER, READER, Principal(ANONYMOUS, frozenset())]
    _, events = await opened(LiveUpdates(Shown(), FakeClock()), lambda: readers.pop(0))
    assert [it async for it in events] == ["retry: 2000\n\n"]


async def test_log_lines_have_an_event_of_their_own():
    """
    Lines come all the time: pages that show none must not ask again for them.
    """
    shown, clock = Shown(), FakeClock()
    shown.versions["logs"] = 0
    _, events = await opened(LiveUpdates(shown, clock))
    await anext(events)
    shown.versions = {**shown.versions, "logs": 7}
    assert await anext(events) == "event: logs\ndata: logs\n\n"
    shown.versions = {"alerts": 2, "targets": 1, "logs": 8}
    assert await anext(events) == "event: changed\ndata: alerts\n\nevent: logs\ndata: logs\n\n"
