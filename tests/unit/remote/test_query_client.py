"""Queries of the remote engine."""

from datetime import timedelta

import httpx2
import pytest

from tests.fake_http import Reply, broken, half, late, reset
from tests.fake_remote import FakeRemote
from toban.core.errors import BadQueryError, QueryCanceledError, QueryError, QueryTimeoutError, StoreError
from toban.core.query_result import ResultType
from toban.remote import query_client
from toban.remote.query_client import RemoteQueryClient
from toban.remote.settings import RemoteSettings


@pytest.fixture
async def engine():
    async with FakeRemote() as engine:
        yield engine


@pytest.fixture
async def client(engine):
    async with httpx2.AsyncClient() as http:
        yield RemoteQueryClient(RemoteSettings(query_url=f"{engine.url}/"), http)


def success(result_type, result, **fields):
    return Reply.json({"status": "success", "data": {"resultType": result_type, "result": result}, **fields})


def series(result):
    return [(dict(one.labels), one.times.tolist(), one.values.tolist()) for one in result.series]


async def test_an_instant_query_returns_a_vector(engine, client):
    """
    With its warnings and infos.
    """
    vector = [{"metric": {"__name__": "up"}, "value": [4.25, "+Inf"]}]
    engine.responses.append(success("vector", vector, warnings=["careful"], infos=["by the way"]))

    result = await client.instant("up", 4250)

    assert engine.queries == [{"query": "up", "time": "4.250", "timeout": "30"}]
    assert (result.type, series(result)) == (ResultType.VECTOR, [({"__name__": "up"}, [4250], [float("inf")])])
    assert (result.warnings, result.infos) == (("careful",), ("by the way",))


async def test_a_range_query_returns_a_matrix(engine, client):
    """
    Times are seconds on the wire and milliseconds in the result.
    """
    engine.responses.append(success("matrix", [{"metric": {}, "values": [[1, "1"], [2.5, "-0.5"]]}]))

    result = await client.range("sum(up)", 1000, 2500, 1500, time_limit=timedelta(seconds=5))

    form = {"query": "sum(up)", "start": "1.000", "end": "2.500", "step": "1.500", "timeout": "5"}
    assert engine.queries == [form]
    assert series(result) == [({}, [1000, 2500], [1, -0.5])]


async def test_scalars_and_strings(engine, client):
    """
    They have no labels.
    """
    engine.responses += [success("scalar", [7, "2"]), success("string", [7, "words"])]

    assert series(await client.instant("2", 7000)) == [({}, [7000], [2])]
    assert (await client.instant('"words"', 7000)).text == "words"


@pytest.mark.parametrize(
    ("error_type", "status", "raised"),
    [
        ("bad_data", 400, BadQueryError),
        ("execution", 422, QueryError),
        ("timeout", 503, QueryTimeoutError),
        ("canceled", 503, QueryCanceledError),
        ("unavailable", 503, StoreError),
        ("internal", 500, StoreError),
    ],
)
async def test_errors_are_raised_as_the_embedded_engine_raises_them(error_type, status, raised, engine, client):
    """
    With the remote engine's message.
    """
    engine.responses.append(Reply.json({"status": "error", "errorType": error_type, "error": "no such thing"}, status))
    with pytest.raises(raised, match="no such thing") as caught:
        await client.instant("x", 0)
    assert type(caught.value) is raised


@pytest.mark.parametrize("failure", [broken, half, reset])
async def test_a_broken_connection_is_a_store_error(failure, engine, client):
    """
    Samples can't be read at the moment.
    """
    engine.next(failure)
    engine.responses.append(success("vector", []))
    with pytest.raises(StoreError, match="remote engine"):
        await client.instant("x", 0)


@pytest.mark.parametrize(
    "reply",
    [
        Reply.json([]),
        Reply.json({"status": "success"}),
        Reply.json({"status": "success", "data": {"resultType": "streams", "result": []}}),
        Reply.json({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}}]}}),
        Reply.json(
            {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "x"]}]}}
        ),
        Reply.json({"status": "error"}),
    ],
)
async def test_an_invalid_response_is_a_store_error(reply, engine, client):
    """
    With the beginning of the response.
    """
    engine.responses.append(reply)
    with pytest.raises(StoreError, match="invalid response"):
        await client.instant("x", 0)


async def test_a_query_times_out(engine, client):
    """
    After the caller's timeout.
    """
    engine.next(late)
    engine.responses.append(success("vector", []))
    with pytest.raises(QueryTimeoutError):
        await client.instant("x", 0, time_limit=timedelta(milliseconds=50))


async def test_a_response_that_is_too_large_is_an_error(engine, client, monkeypatch):
    """
    It would take all memory.
    """
    monkeypatch.setattr(query_client, "MAX_RESPONSE", 100)
    engine.responses.append(success("vector", [{"metric": {"x": "y" * 200}, "value": [1, "1"]}]))
    with pytest.raises(QueryError, match="more than 100 bytes"):
        await client.instant("x", 0)
