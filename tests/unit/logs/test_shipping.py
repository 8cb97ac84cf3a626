"""What becomes of each line that is shipped: in = shipped + dropped + waiting, over faults and restarts."""

import random
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import orjson
import pytest

from tests import fake_http
from tests.fake_line_store import FakeLineStore
from tests.fake_log_sinks import FakeDatadogLogs, FakeElasticsearch, FakeLoki, FakeOtlpLogs, FakeSentry
from tests.fakes import FakeClock
from toban.core.errors import StoreError
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.logs.shipping import LINES, RESENT, WAITING, Account, LineShipper
from toban.logs.sink import SINKS, SinkTools
from toban.logs.sinks.datadog import Datadog
from toban.logs.sinks.elasticsearch import Elasticsearch
from toban.logs.sinks.file import File
from toban.logs.sinks.loki import Loki
from toban.logs.sinks.otlp import Otlp
from toban.logs.sinks.sentry import Sentry
from toban.logs.sinks.victorialogs import VictoriaLogs

NOW = datetime.now(UTC)


def line(message: str, level: LogLevel = LogLevel.INFO, at: datetime = NOW, **fields) -> LogLine:
    return LogLine(at, level, message, service="api", environment="production", instance="d1", **fields)


class Cursors:
    """Writes cursors into a store, as the pipeline does."""

    def __init__(self, store: FakeLineStore) -> None:
        self._store = store

    def write(self, lines) -> None:
        raise AssertionError("a shipper writes no lines")

    async def append(self, lines, source, cursors=None) -> None:
        self._store.append(lines, cursors or {})


class Shipping:
    """A store with lines, and what ships them."""

    def __init__(self, sink, http, store: FakeLineStore | None = None) -> None:
        self.store = store or FakeLineStore()
        self.clock, self.meters = FakeClock(NOW), MetricRegistry()
        tools = SinkTools(http, self.clock)
        self.shipper = LineShipper(sink, self.store, Cursors(self.store), tools, self.meters)

    async def begin(self, *messages: str) -> None:
        """Begin to ship, and store lines after that."""
        await self.shipper.once()
        self.store.append([line(message) for message in messages], {})

    async def all(self) -> None:
        """Ship until nothing is left or the sink fails."""
        while await self.shipper.once() == 0:
            pass

    @property
    def account(self) -> Account:
        return Account.read(self.store.cursor("sink:" + self.shipper._sink.name))

    def value(self, outcome: str) -> float:
        return self.meters.value(LINES, sink=self.shipper._sink.name, outcome=outcome)


@asynccontextmanager
async def shipping(sink):
    async with httpx2.AsyncClient() as http:
        yield Shipping(sink, http)


@asynccontextmanager
async def datadog(**settings):
    async with (
        FakeDatadogLogs(**settings) as fake_datadog,
        shipping(Datadog(url=fake_datadog.url, api_key=fake_datadog.key)) as it,
    ):
        yield fake_datadog, it


async def test_lines_arrive_at_datadog_as_in_the_original():
    async with datadog() as (server, it):
        await it.begin()
        it.store.append([line("declined", LogLevel.WARN, context="Payments", facts={"order": "A1"}, trace_id="ab")], {})
        await it.all()
        assert server.lines == [
            {
                "ddsource": "nodejs",
                "ddtags": "environment:production,instance:d1,sourcecategory:vendure",
                "hostname": "d1",
                "service": "api",
                "message": "declined",
                "status": "warning",
                "timestamp": round(NOW.timestamp() * 1000),
                "context": "Payments",
                "trace_id": "ab",
                "order": "A1",
            }
        ]


async def test_only_lines_from_then_on_are_shipped():
    async with datadog() as (server, it):
        it.store.append([line("before")], {})
        await it.begin("after")
        await it.all()
        assert server.messages == ["after"]


@pytest.mark.parametrize(
    "fault", [fake_http.busy(7), fake_http.broken, fake_http.reset, fake_http.says(403, b"no key"), fake_http.half]
)
async def test_after_a_fault_lines_wait_and_are_sent_again(fault):
    async with datadog() as (server, it):
        await it.begin("one", "two")
        server.next(fault)
        wait = await it.shipper.once()
        assert wait >= (7 if fault == fake_http.busy(7) else 0.5)
        assert not it.shipper.health().ok
        assert it.account.next == 1
        await it.all()
        assert it.shipper.health().ok
        assert set(server.messages) == {"one", "two"}
        assert it.account.outcomes == {"shipped": 2}


AWAY = [
    *(fake_http.broken, fake_http.reset, fake_http.half, fake_http.busy(30), fake_http.says(503)),
    fake_http.says(413),
]


@pytest.mark.parametrize("kills", [0, 6])
@pytest.mark.parametrize("kind", ["datadog", "loki"])
async def test_lines_of_an_hour_in_which_the_receiver_was_away_arrive_when_it_is_back(kind, kills):
    """
    It answers 429 with `Retry-After`, 413, 500 and 503, resets, and takes lines whose response is lost: these are sent
    again and counted. A shipper that is killed knows only what the store has.
    """
    chance = random.Random(7)
    receiver = FakeDatadogLogs() if kind == "datadog" else FakeLoki()
    async with receiver as server:
        sink = Datadog(url=server.url, api_key=server.key) if kind == "datadog" else Loki(url=server.url)
        async with shipping(sink) as it:
            await it.begin()
            server.next(*chance.choices(AWAY, k=2_000))
            start, number, attempts, resent = it.clock.now(), 0, 0, 0.0
            killed_at = sorted(chance.uniform(0, 3_600) for _ in range(kills))
            while (seconds := (it.clock.now() - start).total_seconds()) < 3_600:
                it.store.append([line(f"line {number + one}") for one in range(100)], {})
                number, attempts = number + 100, attempts + 1
                wait = await it.shipper.once()
                assert wait <= 60
                it.clock.advance(max(1.0, wait))
                if killed_at and killed_at[0] < seconds:
                    killed_at.pop(0)
                    resent += it.meters.value(RESENT, sink=it.shipper._sink.name)
                    clock, it = it.clock, Shipping(sink, it.shipper._tools.http, it.store)
                    it.clock.advance((clock.now() - it.clock.now()).total_seconds())
            assert attempts < 300  # it waits longer and longer, a minute at most
            assert not it.shipper.health().ok
            assert it.meters.value(WAITING, sink=it.shipper._sink.name) > 0
            server.clear_faults()
            await it.all()
            received, account = Counter(server.messages), it.account
            assert set(received) == {f"line {one}" for one in range(number)}
            assert account.outcomes == {"shipped": number}
            assert account.next - account.first == number
            duplicates = received.total() - len(received)
            resent += it.meters.value(RESENT, sink=it.shipper._sink.name)
            # Of those whose response was lost just before a kill nobody knows: a request's lines for each kill at most.
            assert 0 < duplicates <= resent + kills * sink.max_lines
            assert it.shipper.health().ok


async def test_a_batch_that_is_too_large_is_split_and_a_line_that_is_rejected_is_dropped_alone():
    async with datadog(poison="odd", max_bytes=2_000) as (server, it):
        await it.begin(*(f"line {number} {'odd' if number == 13 else 'fine'}" for number in range(40)), "x" * 3_000)
        await it.all()
        assert server.messages == [f"line {number} fine" for number in range(40) if number != 13]
        assert it.account.outcomes == {"shipped": 39, "rejected": 1, "too_large": 1}
        assert it.value("rejected") == 1


async def test_a_line_at_which_the_sink_itself_fails_costs_no_other(monkeypatch):
    async with datadog() as (fake_datadog, it):
        log = Datadog._log

        def fails(sink, stored):
            return log(sink, stored) if stored.line.message != "odd" else {}["a bug"]

        monkeypatch.setattr(Datadog, "_log", fails)
        await it.begin("one", "odd", "two")
        await it.all()
        assert fake_datadog.messages == ["one", "two"]
        assert it.account.outcomes == {"shipped": 2, "failed": 1}


async def test_any_fact_can_be_shipped():
    async with datadog() as (fake_datadog, it):
        await it.begin()
        it.store.append([line("large", facts={"number": 2**70})], {})
        await it.all()
        assert fake_datadog.lines[0]["number"] == 2**70


async def test_what_datadog_would_not_take_is_dropped_with_a_reason():
    async with datadog() as (server, it):
        await it.begin()
        it.store.append([line("old", at=NOW - timedelta(hours=18)), line("new")], {})
        await it.all()
        assert server.messages == ["new"]
        assert it.account.outcomes == {"shipped": 1, "too_old": 1}


async def test_lines_below_the_level_are_filtered():
    async with FakeLoki() as fake_loki, shipping(Loki(url=fake_loki.url, level=LogLevel.WARN)) as it:
        await it.begin("info")
        it.store.append([line("warn", LogLevel.WARN)], {})
        await it.all()
        assert fake_loki.messages == ["warn"]
        assert it.account.outcomes == {"shipped": 1, "filtered": 1}


async def test_lines_that_were_deleted_before_they_could_be_sent_are_counted():
    async with datadog() as (server, it):
        await it.begin("one", "two", "three")
        it.store._lines = [stored for stored in it.store._lines if stored.position.number != 1]
        await it.all()
        assert server.messages == ["two", "three"]
        it.store.append([line("four")], {})
        it.store._lines.clear()
        await it.all()
        assert it.account.outcomes == {"shipped": 2, "expired": 2}
        assert it.meters.value(WAITING, sink="datadog") == 0


async def test_a_restart_goes_on_where_the_last_run_was(tmp_path):
    async with datadog() as (server, it):
        await it.begin("one")
        await it.all()
        it.store.append([line("two")], {})
        async with httpx2.AsyncClient() as http:
            again = Shipping(it.shipper._sink, http, it.store)
            await again.all()
            assert again.value("shipped") == 2
        assert server.messages == ["one", "two"]


@pytest.mark.parametrize("seed", range(25))
async def test_the_balance_is_exact_over_any_history_of_faults(seed):
    """
    Faults of every kind, restarts, expired and rejected lines: each line is accounted for, and none is lost.
    """
    chance = random.Random(seed)
    faults = [
        fake_http.busy(1), fake_http.broken, fake_http.reset, fake_http.half, fake_http.says(503), fake_http.says(413),
    ]  # fmt: skip
    async with datadog(poison="odd", max_bytes=20_000) as (server, it):
        await it.begin()
        written: list[str] = []
        for _ in range(30):
            new = [
                f"{len(written) + place}{' odd' if chance.random() < 0.05 else ''}"
                for place in range(chance.randrange(9))
            ]
            written += new
            it.store.append([line(message) for message in new], {})
            server.next(*(chance.choice(faults) for _ in range(chance.randrange(3))))
            it.store.error = "disk full" if chance.random() < 0.1 else ""
            try:
                await it.shipper.once()
            except StoreError:
                pytest.fail("a store that fails is no error of the shipper")
            it.store.error = ""
            if chance.random() < 0.2:
                it.shipper = Shipping(it.shipper._sink, it.shipper._tools.http, it.store).shipper
        server.clear_faults()
        await it.all()
        account = it.account
        assert sum(account.outcomes.values()) == account.next - account.first == len(written)
        sent = Counter(server.messages)
        fine = [message for message in written if "odd" not in message]
        # What was answered with 413 as a single line is dropped, and said so.
        assert len(set(sent) & set(fine)) >= account.outcomes["shipped"]
        assert len(fine) - account.outcomes.get("too_large", 0) <= len(sent)


async def test_loki_gets_streams_in_the_order_of_time():
    async with (
        FakeLoki() as fake_loki,
        shipping(Loki(url=fake_loki.url, tenant="shop", user="u", password="hush")) as it,
    ):
        await it.begin()
        late = line("late", at=NOW - timedelta(seconds=5), trace="Error\n  at x", facts={"rows": 3}, trace_id="ab")
        it.store.append([line("first"), late], {})
        await it.all()
        assert [stored["message"] for stored in fake_loki.lines] == ["late\nError\n  at x", "first"]
        assert fake_loki.lines[0]["labels"] == {
            "service": "api", "environment": "production", "instance": "d1", "level": "info",
        }  # fmt: skip
        assert fake_loki.lines[0]["metadata"] == {"rows": "3", "trace_id": "ab"}
        assert fake_loki.requests[0].headers["x-scope-orgid"] == "shop"
        assert fake_loki.requests[0].headers["authorization"] == "Basic dTpodXNo"


async def test_victorialogs_takes_the_same_at_its_path():
    path = "/insert/loki/api/v1/push"
    async with FakeLoki(path) as fake_victorialogs, shipping(VictoriaLogs(url=fake_victorialogs.url)) as it:
        await it.begin("one")
        await it.all()
        assert fake_victorialogs.messages == ["one"]


async def test_elasticsearch_stores_a_line_once_however_often_it_is_sent():
    async with FakeElasticsearch() as fake_elasticsearch, shipping(Elasticsearch(url=fake_elasticsearch.url)) as it:
        await it.begin("one", "two", "three")
        fake_elasticsearch.next(fake_http.half)
        await it.shipper.once()
        fake_elasticsearch.statuses = [409, 429]
        assert await it.shipper.once() > 0
        fake_elasticsearch.statuses = [409, 409, 400]
        await it.all()
        assert fake_elasticsearch.messages == ["one", "two", "three"]
        assert it.account.outcomes == {"shipped": 2, "rejected": 1}
        fake_elasticsearch.next(fake_http.unchanged)
        it.store.append([line("four")], {})
        assert await it.shipper.once() > 0
        await it.all()
        assert fake_elasticsearch.messages[-1] == "four"


async def test_a_collector_gets_records_by_resource_and_may_reject_some():
    async with FakeOtlpLogs() as fake_otlp, shipping(Otlp(url=fake_otlp.url)) as it:
        trace = "0af7651916cd43dd8448eb211c80319c"
        await it.begin()
        it.store.append([line("one", LogLevel.ERROR, trace_id=trace, context="Mails"), line("two")], {})
        await it.all()
        assert [(it["message"], it["severity"], it["trace_id"]) for it in fake_otlp.lines] == [
            ("one", 17, trace),
            ("two", 9, ""),
        ]
        assert fake_otlp.lines[0]["resource"]["service.name"] == "api"
        fake_otlp.success = fake_http.Reply.json({"partialSuccess": {"rejectedLogRecords": "1"}})
        it.store.append([line("three"), line("four")], {})
        await it.all()
        assert it.account.outcomes == {"shipped": 3, "rejected": 1}


async def test_errors_are_events_of_sentry():
    async with FakeSentry() as fake_sentry, shipping(Sentry(dsn=fake_sentry.dsn)) as it:
        await it.begin("info")
        it.store.append([line("declined", LogLevel.ERROR, context="Payments", trace="Error: x\n  at pay")], {})
        fake_sentry.next(fake_http.half)
        assert await it.shipper.once() == 0
        assert await it.shipper.once() > 0
        await it.all()
        (event,) = fake_sentry.lines
        assert (event["message"], event["level"], event["logger"]) == ("declined", "error", "Payments")
        assert event["extra"]["stack"] == "Error: x\n  at pay"


async def test_files_have_each_line_once_in_winstons_shape(tmp_path):
    async with shipping(File(folder=tmp_path / "out", max_size=250, max_files=3)) as it:
        await it.begin("one")
        it.store.append([line("two", LogLevel.ERROR)], {})
        await it.all()
        # A crash after the lines were written and before the cursor was, in the middle of the next line.
        it.store._cursors["sink:file"] = Account(1, 1).text
        with (tmp_path / "out" / "combined.log").open("ab") as file:
            file.write(b'{"message":"cut o')
        again = Shipping(it.shipper._sink, it.shipper._tools.http, it.store)
        for number in range(3, 7):
            it.store.append([line(str(number))], {})
            await again.all()
        names = ["combined.log.2", "combined.log.1", "combined.log"]
        files = [(tmp_path / "out" / name).read_bytes().splitlines() for name in names]
        assert [orjson.loads(row)["message"] for rows in files for row in rows] == ["one", "two", "3", "4", "5", "6"]
        assert orjson.loads((tmp_path / "out" / "error.log").read_bytes())["message"] == "two"


def test_every_kind_of_sink_has_a_manual():
    assert all(SINKS.load(kind).__doc__ for kind in SINKS.names())
