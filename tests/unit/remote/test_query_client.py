"""Questions to the outside engine."""

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
async def ours(engine):
    async with httpx2.AsyncClient() as http:
        yield RemoteQueryClient(RemoteSettings(query_url=f"{engine.url}/"), http)


def well(kind, result, **notes):
    return Reply.json({"status": "success", "data": {"resultType": kind, "result": result}, **notes})


def told(answer):
    return [(dict(points.labels), points.times.tolist(), points.values.tolist()) for points in answer.series]


async def test_an_answer_at_one_time(engine, ours):
    """
    With what is said about it.
    """
    result = [{"metric": {"__name__": "up"}, "value": [4.25, "+Inf"]}]
    engine.answers.append(well("vector", result, warnings=["careful"], infos=["by the way"]))

    answer = await ours.instant("up", 4250)

    assert engine.questions == [{"query": "up", "time": "4.250", "timeout": "30"}]
    assert (answer.type, told(answer)) == (ResultType.VECTOR, [({"__name__": "up"}, [4250], [float("inf")])])
    assert (answer.warnings, answer.infos) == (("careful",), ("by the way",))


async def test_an_answer_over_time(engine, ours):
    """
    In seconds outside, in milliseconds here.
    """
    engine.answers.append(well("matrix", [{"metric": {}, "values": [[1, "1"], [2.5, "-0.5"]]}]))

    answer = await ours.range("sum(up)", 1000, 2500, 1500, patience=timedelta(seconds=5))

    asked = {"query": "sum(up)", "start": "1.000", "end": "2.500", "step": "1.500", "timeout": "5"}
    assert engine.questions == [asked]
    assert told(answer) == [({}, [1000, 2500], [1, -0.5])]


async def test_scalars_and_strings(engine, ours):
    """
    They have no labels.
    """
    engine.answers += [well("scalar", [7, "2"]), well("string", [7, "words"])]

    assert told(await ours.instant("2", 7000)) == [({}, [7000], [2])]
    assert (await ours.instant('"words"', 7000)).text == "words"


@pytest.mark.parametrize(
    ("kind", "status", "raised"),
    [
        ("bad_data", 400, BadQueryError),
        ("execution", 422, QueryError),
        ("timeout", 503, QueryTimeoutError),
        ("canceled", 503, QueryCanceledError),
        ("unavailable", 503, StoreError),
        ("internal", 500, StoreError),
    ],
)
async def test_what_it_refuses_is_raised_as_here(kind, status, raised, engine, ours):
    """
    In its words.
    """
    engine.answers.append(Reply.json({"status": "error", "errorType": kind, "error": "no such thing"}, status))
    with pytest.raises(raised, match="no such thing") as caught:
        await ours.instant("x", 0)
    assert type(caught.value) is raised


@pytest.mark.parametrize("trouble", [broken, half, reset])
async def test_nonsense_and_silence_are_no_answers(trouble, engine, ours):
    """
    The numbers can't be read just now.
    """
    engine.next(trouble)
    engine.answers.append(well("vector", []))
    with pytest.raises(StoreError, match="outside engine"):
        await ours.instant("x", 0)


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
async def test_what_is_no_answer_of_prometheus_is_told_so(reply, engine, ours):
    """
    With how it begins.
    """
    engine.answers.append(reply)
    with pytest.raises(StoreError, match="not as Prometheus does"):
        await ours.instant("x", 0)


async def test_an_answer_that_does_not_come_is_not_waited_for(engine, ours):
    """
    Longer than whoever asks would.
    """
    engine.next(late)
    engine.answers.append(well("vector", []))
    with pytest.raises(QueryTimeoutError):
        await ours.instant("x", 0, patience=timedelta(milliseconds=50))


async def test_an_answer_without_end_is_given_up(engine, ours, monkeypatch):
    """
    It would take all memory.
    """
    monkeypatch.setattr(query_client, "LARGEST", 100)
    engine.answers.append(well("vector", [{"metric": {"x": "y" * 200}, "value": [1, "1"]}]))
    with pytest.raises(QueryError, match="more than 100 bytes"):
        await ours.instant("x", 0)
