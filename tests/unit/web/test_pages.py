"""Health, /metrics, /federate, the overview page, and their permissions."""

import asyncio
import re
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse

import toban
from tests.unit.web.conftest import NOW
from toban.collect.service import TargetStatus
from toban.core.alerts import Acknowledgement, Alert, AlertStatus
from toban.core.labels import Labels
from toban.core.message_catalogue import LANGUAGES
from toban.core.ports import HealthStatus
from toban.exposition import writer
from toban.exposition.writer import Format
from toban.web import metrics_pages
from toban.web.pages.i18n import negotiate_language, texts
from toban.web.strict_transport import StrictTransport


async def test_health_is_terminus_json(client):
    """
    503 with what is down under `error`, what is up under `info`, and both under `details`.
    """
    response = await client.get("/health")

    assert response.status_code == 503
    assert response.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    down = {"status": "down", "message": "the database does not answer"}
    assert response.json() == {
        "status": "error",
        "info": {"storage": {"status": "up"}},
        "error": {"database": down},
        "details": {"storage": {"status": "up"}, "database": down},
    }


async def test_readiness_and_liveness_have_their_own_checks(client):
    """
    A database that is away never restarts anybody.
    """
    assert (await client.get("/health/readiness")).json()["status"] == "error"
    assert (await client.get("/health/liveness")).status_code == 200


async def test_a_check_without_sample_is_down(client, source):
    """
    Stale means down.
    """
    source.clear()
    found = (await client.get("/health")).json()
    assert found["error"]["storage"] == {"status": "down", "message": "no sample for 100 s"}


async def test_own_health_lists_each_service(client, collecting):
    """
    503 when one of them is not well.
    """
    assert (await client.get("/-/healthy")).text == "toban is healthy.\n[+] collect: 2 targets watched\n"
    collecting.condition = HealthStatus(False, "no look")
    response = await client.get("/-/healthy")
    assert (response.status_code, response.text) == (503, "toban is unhealthy.\n[-] collect: no look\n")


async def test_the_metrics_page_has_the_requested_format(client):
    """
    The plain one unless OpenMetrics is liked better.
    """
    plain = await client.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.text == (
        '# HELP heat How "warm" it is.\n# TYPE heat gauge\nheat{room="a\\nb"} 20.5\n'
        "# HELP orders_total Orders.\n# TYPE orders_total counter\norders_total 3\n"
    )
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    other = await client.get("/metrics", headers={"accept": accept})
    assert other.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert "# TYPE orders counter\norders_total 3\n# EOF\n" in other.text


async def test_federate_returns_matching_series_with_times(client):
    """
    And refuses what chooses nothing.
    """
    found = await client.get("/federate", params={"match[]": 'up{job="host"}'})
    assert found.text == '# TYPE up untyped\nup{instance="local",job="host"} 1 1767225600000\n'
    assert (await client.get("/federate")).status_code == 400


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_overview_page_is_in_the_readers_language(client, language):
    """
    What comes from outside can't become a part of the page.
    """
    response = await client.get("/", headers={"accept-language": f"{language},xx;q=0.3"})

    assert texts(language)["targets"] in response.text
    assert f'<html lang="{language}">' in response.text
    assert "&lt;b&gt;wrong password&lt;/b&gt;" in response.text
    assert "unsafe" not in response.headers["content-security-policy"]
    assert not re.search(r"<script(?! src=| type=\"module\" src=)|<style| style=| on\w+=", response.text)
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r'(src|href)="(https?:)?//', response.text)


def test_every_language_has_all_texts():
    """
    The same keys, with the same places to fill in.
    """

    def places(language: str) -> dict[str, list[str]]:
        return {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in texts(language).items()}

    assert all(places(language) == places(LANGUAGES[0]) for language in LANGUAGES)


def test_every_message_is_used():
    """
    By its key, or by the beginning of its key, to which a page or a template adds a name.
    """
    folder = Path(toban.__file__).parent
    files = [*folder.rglob("*.py"), *folder.rglob("*.html")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    made = (*re.findall(r"['\"]([\w-]+-)['\"] \+", code), *re.findall(r"f\"([\w-]+-)\{", code))
    keys = [key for key in texts(LANGUAGES[0]) if not key.startswith(made)]
    assert [key for key in keys if f"'{key}'" not in code and f'"{key}"' not in code] == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("ja", "ja"),
        ("ja-JP,en;q=0.5", "ja"),
        ("en,ja", "en"),
        ("ja;q=0.2,en;q=0.9", "en"),
        ("fr, ja;q=x", "en"),
    ],
)
def test_the_language_is_negotiated(header, language):
    """
    English when none of them is there.
    """
    assert negotiate_language(header) == language


@pytest.mark.listening(listen="0.0.0.0:9119", token="hush")
async def test_remote_clients_need_the_token(client):
    """
    Without it there are states and names at the health pages, and nothing more.
    """
    assert (await client.get("/metrics")).status_code == 401
    assert (await client.get("/")).status_code == 401
    assert (await client.get("/health/nope")).status_code == 401
    found = (await client.get("/health")).json()
    assert found["error"] == {"database": {"status": "down"}}
    assert (await client.get("/-/healthy")).text == "toban is healthy.\n"
    for header, code in (
        ("Bearer hush", 200),
        ("bearer hush", 200),
        ("Bearer hus", 401),
        ("hush", 401),
        ("Bearer ü", 401),
        ("Basic YW55OmhlOnNoOmh1c2g=", 401),  # any:he:sh:hush
        ("Basic YW55Omh1c2g=", 200),  # any:hush
        ("basic Omh1c2g=", 200),  # :hush
        ("Basic aHVzaDo=", 401),  # hush:
        ("Basic hush", 401),
        ("Basic /////w==", 401),
    ):
        headers = {"authorization": header.encode()}
        assert (await client.get("/metrics", headers=headers)).status_code == code
    assert "message" in (await client.get("/health", headers={"authorization": "Bearer hush"})).text


async def test_firing_alerts_are_first_on_the_overview_page(client, alerts):
    """
    With its number, its limit and what to do; what only may fire soon is fainter, and text from outside is text.
    """
    labels = {"alertname": "disk_usage_high", "severity": "warning"}
    says = {"summary": "Disk <full>", "summary_ja": "ディスク逼迫", "value": "91 %", "limit": "85 %", "action": "Look."}
    alerts.append(Alert(Labels({**labels, "mount": "/"}), {"summary": "soon"}, AlertStatus.PENDING, NOW))
    alerts.append(Alert(Labels(labels), says, AlertStatus.FIRING, NOW, acknowledged=Acknowledgement("ann", NOW)))
    alerts.append(Alert(Labels({"alertname": "over"}), {"summary": "long over"}, AlertStatus.RESOLVED, NOW))
    text = (await client.get("/")).text
    japanese = (await client.get("/", headers={"accept-language": "ja"})).text
    status = (await client.get("/api/status")).json()

    for phrase in (
        "P2",
        "disk_usage_high",
        "91 % (limit 85 %)",
        "acknowledged by ann",
        "2026-01-01 00:00:00 UTC",
        "Look.",
    ):
        assert phrase in text
    assert text.index(">Disk &lt;full&gt;</a>") < text.index(">soon</a>") < text.index(">Target<")
    assert "long over" not in text
    assert "ディスク逼迫" in japanese
    assert [it["name"] for it in status["alerts"]] == ["disk_usage_high"] * 2
    assert status["state"] == "unhealthy"


async def test_a_part_that_fails_to_render_does_not_affect_the_others(client, collecting, failures):
    """
    A target whose labels lack the instance: there is a note in its place, and the failure is reported.
    """
    collecting.more.append(TargetStatus("broken", "http", {"job": "broken"}, 30))
    answer = await client.get("/")
    assert answer.status_code == 200
    for shown in ("<td>host</td><td>local</td>", "toban itself", "</html>"):
        assert shown in answer.text
    assert "<td>broken" not in answer.text
    assert answer.text.count("can&#39;t be shown") == 1
    assert [(it.part, it.item) for it in failures] == [("page part", "target broken")]


async def test_what_hides_or_reverses_text_is_shown_as_what_it_is(client, alerts):
    """
    Control characters, marks that turn text around, and halves of surrogate pairs, wherever they come from.
    """
    summary = "all \u202eis\u200b well\x1b[2J \ud800"
    alerts.append(Alert(Labels(alertname="odd"), {"summary": summary}, AlertStatus.FIRING, NOW))
    text = (await client.get("/")).text
    assert "all \\u202eis\\u200b well\\u001b[2J \\ud800" in text


async def test_a_part_without_status_is_left_out_of_the_status(client, collecting, monkeypatch):
    """
    A service that can't say how it is is not well; the rest is told.
    """

    async def figures(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(collecting, "health", lambda: 1 / 0)
    monkeypatch.setattr("toban.health.service.HealthService.figures", figures)
    status = (await client.get("/api/status")).json()
    assert [it["name"] for it in status["targets"]] == ["host", "postgres", "late"]
    assert status["services"] == [
        {
            "name": "collect",
            "state": "unhealthy",
            "message": "health can't be read: ZeroDivisionError: division by zero",
        }
    ]
    assert (await client.get("/-/healthy")).status_code == 503
    assert (await client.get("/")).status_code == 200


async def test_unknown_paths_are_404(client):
    """
    In Prometheus' words.
    """
    response = await client.get("/nope")
    assert (response.status_code, response.text) == (404, "404 page not found\n")
    assert (await client.post("/metrics")).status_code == 405


@pytest.mark.parametrize(
    ("address", "host", "strict"),
    [
        ("https://toban.example", "toban.example", True),
        ("https://toban.example:8443/x", "TOBAN.example:8443", True),
        ("https://toban.example", "127.0.0.1:9119", False),
        ("http://toban.example", "toban.example", False),
        ("", "localhost", False),
    ],
)
async def test_a_public_https_name_has_strict_transport_security(address, host, strict):
    async def app(scope, receive, send):
        await PlainTextResponse("well")(scope, receive, send)

    transport = httpx2.ASGITransport(StrictTransport(app, address))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as asking:
        found = await asking.get("/", headers={"host": host})
    assert found.headers.get("strict-transport-security") == ("max-age=31536000" if strict else None)


async def test_metrics_are_written_once_for_each_collection(client, monkeypatch):
    """
    However many ask, and in both formats.
    """
    written = []
    monkeypatch.setattr(
        metrics_pages, "write_page", lambda *given: written.append(given[-1]) or writer.write_page(*given)
    )
    openmetrics = {"accept": "application/openmetrics-text"}
    found = await asyncio.gather(*(client.get("/metrics") for _ in range(20)))
    found += await asyncio.gather(*(client.get("/metrics", headers=openmetrics) for _ in range(20)))
    assert len({it.text for it in found}) == 2
    assert all(int(it.headers["content-length"]) == len(it.content) for it in found)
    assert written == [Format.TEXT, Format.OPENMETRICS]
