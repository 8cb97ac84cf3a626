"""What `toban check` says about log sinks: each is tried without storing a line."""

import asyncio
import os
from pathlib import Path

import httpx2
import pytest

from tests import fake_http
from tests.fake_log_sinks import FakeDatadogLogs, FakeElasticsearch, FakeLineReceiver, FakeLoki, FakeOtlpLogs
from tests.fakes import FakeClock
from toban.core.connection_check import ConnectionCheck
from toban.logs.sink import Sink, SinkTools
from toban.logs.sinks.datadog import Datadog
from toban.logs.sinks.elasticsearch import Elasticsearch
from toban.logs.sinks.file import File
from toban.logs.sinks.loki import Loki
from toban.logs.sinks.otlp import Otlp
from toban.logs.sinks.sentry import Sentry
from toban.logs.sinks.victorialogs import VictoriaLogs

INSERT = "/insert/loki/api/v1/push"


async def check(sink: Sink) -> ConnectionCheck:
    async with httpx2.AsyncClient() as http:
        return await sink.check_connection(SinkTools(http, FakeClock()))


def sink_for(server: FakeLineReceiver) -> Sink:
    match server:
        case FakeDatadogLogs():
            return Datadog(url=f"{server.url}/api/v2/logs", api_key=server.key)
        case FakeLoki(path="/insert/loki/api/v1/push"):
            return VictoriaLogs(url=server.url)
        case FakeLoki():
            return Loki(url=server.url)
        case FakeElasticsearch():
            return Elasticsearch(url=server.url)
        case _:
            return Otlp(url=server.url)


SERVERS = [FakeDatadogLogs, FakeLoki, lambda: FakeLoki(INSERT), FakeElasticsearch, FakeOtlpLogs]


@pytest.mark.parametrize("make", SERVERS)
async def test_a_receiver_that_answers_is_fine_and_has_no_line_after_that(make):
    async with make() as server:
        found = await check(sink_for(server))
        assert found.ok, found.message
        assert server.lines == []
        assert len(server.requests) == 1


@pytest.mark.parametrize("make", SERVERS)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (fake_http.says(500, b"no disk"), "answered 500: no disk"),
        (fake_http.says(401, b"who?"), "answered 401: who?: check the key or the password"),
        (fake_http.busy(), "answered 429: slow down: the service has too many requests"),
        (fake_http.says(302, location="/login"), "answered 302"),
        (fake_http.says(400, b"plain HTTP sent to an HTTPS port"), "answered 400: plain HTTP"),
        (fake_http.says(403, b"blocked"), "answered 403: blocked: check what the key or the user may do"),
        (fake_http.reset, "check the address"),
    ],
)
async def test_a_receiver_that_fails_is_named_with_the_remedy(make, fault, said):
    async with make() as server:
        server.next(fault)
        found = await check(sink_for(server))
        assert not found.ok
        assert said in found.message
        assert server.url in found.message


async def test_a_receiver_that_hangs_is_not_waited_for(monkeypatch):
    async with FakeOtlpLogs() as server:
        monkeypatch.setattr("toban.logs.sink.CHECK_SECONDS", 0.05)
        server.next(fake_http.late)
        found = await check(Otlp(url=server.url))
        assert not found.ok
        assert "does not answer: it hangs" in found.message


async def test_wrong_credentials_are_found():
    """
    They are not shown.
    """
    async with (
        FakeDatadogLogs() as datadog,
        FakeLoki(authorization="Basic dTpy") as loki,
        FakeElasticsearch() as elastic,
    ):
        elastic.authorization = "ApiKey right"
        found = [
            await check(Datadog(url=datadog.url, api_key="wrong-key")),
            await check(Loki(url=loki.url, user="u", password="wrong-key")),
            await check(Elasticsearch(url=elastic.url, api_key="wrong-key")),
        ]
        assert not any(it.ok or "wrong-key" in it.message for it in found)
        assert (await check(Loki(url=loki.url, user="u", password="r"))).ok
        assert (await check(Elasticsearch(url=elastic.url, api_key="right"))).ok


async def test_a_wrong_path_is_found():
    async with FakeLoki() as server:
        found = await check(Loki(url=f"{server.url}/loki"))
        assert (found.ok, "it is that of the server, without a path" in found.message) == (False, True)


async def test_a_key_of_elasticsearch_that_may_only_write_is_fine():
    async with FakeElasticsearch() as server:
        server.next(fake_http.says(403, b"action [cluster:monitor/main] is unauthorized"))
        assert (await check(Elasticsearch(url=server.url, api_key="k"))).ok


async def test_a_folder_is_tried_and_nothing_is_left_in_it(tmp_path: Path):
    assert (await check(File(folder=tmp_path))).message == "the folder is writable"
    later = await check(File(folder=tmp_path / "a" / "b"))
    assert later.message == f"the folder will be made in {tmp_path}, which is writable"
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path):
    found = await check(File(folder=Path("/proc/version/logs")))
    assert not found.ok
    assert "give toban's user the right to write there" in found.message


async def test_sentry_has_nothing_to_try():
    found = await check(Sentry(dsn="https://key@sentry.example/1"))
    assert found.ok
    assert "whether Sentry takes it shows the first error" in found.message
