"""What toban does about a fault of the demo, from break to report."""

from datetime import datetime, timedelta
from typing import Any

import httpx2

from tests.fakes import FakeClock
from toban.demo.recovery import Recovery, write_runbooks
from toban.runbooks.settings import parse_runbook

Incident = dict[str, Any]


def incident(number: int, opened: datetime, state: str) -> Incident:
    return {"id": number, "priority": "P1", "title": "Down", "opened": opened.isoformat(), "state": state}


async def test_the_recovery_is_over_when_everything_runs_and_each_incident_since_the_break_is_resolved():
    """
    What toban answers while it is busy is asked again; incidents from before the break are others.
    """
    clock = FakeClock()
    broken = clock.now()
    entry = {"at": (broken + timedelta(seconds=72)).isoformat(), "text": "Opened"}
    before = incident(1, broken - timedelta(hours=1), "triggered")
    answers = iter(
        [[before], None, [incident(2, broken, "triggered"), before], *[[incident(2, broken, "resolved"), before]] * 2]
    )
    running = iter([True, True, True, False, True])

    def answer(request: httpx2.Request) -> httpx2.Response:
        match request.url.path:
            case "/api/incidents":
                found = next(answers)
                return httpx2.Response(503) if found is None else httpx2.Response(200, json={"incidents": found})
            case "/api/incidents/details":
                return httpx2.Response(200, json={**incident(2, broken, "resolved"), "timeline": [entry]})
        return httpx2.Response(200, json={"markdown": f"# Incident {request.url.params['id']}"})

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://toban") as http:
        recovery = Recovery(http, clock, broken)
        [(found, report)] = await recovery.reports(lambda: next(running))

    assert report == "# Incident 2"
    assert recovery.timeline(found) == "#2 P1 Down\n   72 s  Opened"
    assert recovery.elapsed() == "    8 s"


def test_the_runbooks_of_the_demo_are_valid_and_named_like_their_files(tmp_path):
    names = write_runbooks(tmp_path)
    texts = {it.stem: it.read_text(encoding="utf-8") for it in (tmp_path / "runbooks").iterdir()}
    assert sorted(texts) == names
    assert [parse_runbook(texts[it], it).name for it in names] == names
