"""A shop's own metrics against a real PostgreSQL."""

from collections.abc import Iterator

import psycopg
import pytest
from structlog.testing import capture_logs

from tests import servers
from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools, open_scraper, scrape
from toban.collect.collectors.sql import Sql
from toban.core.errors import CollectError
from toban.core.samples import MetricType


@pytest.fixture(scope="module")
def server(postgres: servers.Postgres) -> Iterator[servers.Postgres]:
    """A shop with rebates."""
    postgres.execute("CREATE DATABASE rebates")
    postgres.execute(
        "CREATE TABLE rebate (period text, customer text, amount numeric)",
        "INSERT INTO rebate VALUES ('2026-01', 'a', 10.5), ('2026-01', 'b', 4.5), ('2026-02', 'a', 1)",
        database="rebates",
    )
    return postgres


REBATES = {
    "name": "shop_rebates_yen",
    "help": "Rebates by period.",
    "query": "SELECT period AS label_period, sum(amount) AS value, count(*) AS rows FROM rebate GROUP BY 1; ",
}


async def test_columns_become_labels_and_metrics(server: servers.Postgres) -> None:
    """
    Columns called label_… are labels, `value` bears the metric's name, others add theirs; a name decides the type.
    """
    total = {
        "name": "shop_rebates_total",
        "help": "Rebates made.",
        "query": "SELECT count(*) AS value FROM rebate -- all",
    }
    collector = Sql.model_validate({"kind": "sql", "metrics": [REBATES, total]})
    async with collector_tools(database=server.address("rebates")) as tools:
        found = await open_scraper(collector, tools).collect()
        seen = await scrape(collector, tools)
    assert not seen.error
    assert seen.one("shop_rebates_yen", period="2026-01") == 15
    assert seen.one("shop_rebates_yen_rows", period="2026-01") == 2
    assert seen.one("shop_rebates_total") == 3
    assert {sample.family.name: sample.family.type for sample in found.samples} == {
        "shop_rebates_yen": MetricType.GAUGE,
        "shop_rebates_yen_rows": MetricType.GAUGE,
        "shop_rebates_total": MetricType.COUNTER,
    }


@pytest.mark.parametrize(
    ("query", "trouble"),
    [
        ("SELECT no_such FROM rebate", "no_such"),
        ("SELECT customer AS value FROM rebate", "has text, not a number: cast it, like ::float8"),
        ("SELECT now() AS value", "has a time, not a number: write extract(epoch FROM …)"),
        ("SELECT interval '90 s' AS value", "has a time, not a number: write extract(epoch FROM …)"),
        ("SELECT 1 AS value, 2 AS value", "two columns are called 'value': rename one"),
        ("SELECT 1", "column '?column?' makes no metric name: name it `value`"),
        ('SELECT 1 AS "my value"', "column 'my value' makes no metric name: name it `value`"),
        ("SELECT amount AS value FROM rebate", "two rows are labelled nothing"),
        ("SELECT i AS label_i, 1 AS value FROM generate_series(1, 2000) AS i", "more than 1000 rows"),
        ("SELECT period AS label_period FROM rebate", "no column has a value"),
        ("DELETE FROM rebate RETURNING 1 AS value", "syntax error"),
        ("SELECT 1 AS value); DELETE FROM rebate; SELECT (1", "multiple commands"),
        ("SELECT 1 AS value); COMMIT; DELETE FROM rebate; SELECT (1", "multiple commands"),
        ("WITH gone AS (DELETE FROM rebate RETURNING 1 AS value) SELECT value FROM gone", "top level"),
        ("SELECT 1 AS value FROM pg_sleep(20)", "it took too long"),
        ("WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n FROM a) SELECT count(*) AS value FROM a", "too long"),
        ("SELECT i AS label_i, 1 AS value FROM generate_series(1, 1000000) AS i", "more than 1000 rows"),
        ("SELECT repeat('x', 10000000) AS label_x, 1 AS value", "a row has more than 8192 bytes"),
        ("SELECT i AS label_i, repeat('%', 9000) AS label_x FROM generate_series(1, 900) AS i", "more than 8192 bytes"),
        ("SELECT 'a' AS label_x, 'b' AS label_x, 2 AS value", "two columns are called 'label_x'"),
        ('SELECT 1 AS "値"', "column '値' makes no metric name"),
        ("SELECT 1 AS value, 'x' AS \"label_チーム\"", "column 'label_チーム' makes no label name"),
        ("SELECT 1 AS value, 'x' AS label_instance", "the label instance is set by the target"),
        ("SELECT 1 AS value, 'x' AS label_", "column 'label_' makes no label name"),
        ("SELECT 1 AS value, 'x' AS label___name__", "column 'label___name__' makes no label name"),
    ],
)
async def test_a_failing_query_loses_its_own_samples_only(server: servers.Postgres, query: str, trouble: str) -> None:
    """
    The target is down and says which metric failed and why; the other metrics are there, and nothing was written.
    """
    bad = {"name": "shop_bad", "help": "Fails.", "query": query}
    collector = Sql.model_validate({"kind": "sql", "metrics": [bad, REBATES]})
    with capture_logs() as logs:
        async with collector_tools(database=server.address("rebates")) as tools:
            seen = await scrape(collector, tools)
            await scrape(collector, tools)
    assert seen.error.startswith("shop_bad: ")
    assert trouble in seen.error
    assert "shop_bad" not in seen
    assert seen.one("shop_rebates_yen", period="2026-02") == 1
    assert [line["part"] for line in logs if line["log_level"] == "warning"] == ["shop_bad"]
    with psycopg.connect(server.address("rebates")) as other:
        assert other.execute("SELECT count(*) FROM rebate").fetchone() == (3,)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("'NaN'::float", "nan"),
        ("'-Infinity'::numeric", "-inf"),
        ("1e400::numeric", "inf"),
        ("NULL::int", ""),
        ("5 % 3", "2"),
    ],
)
async def test_unusual_numbers_are_read(server: servers.Postgres, value: str, number: str) -> None:
    """
    What is not known is left out.
    """
    metric = {"name": "shop_odd", "help": "Odd.", "query": f"SELECT {value} AS value"}
    async with collector_tools(database=server.address("rebates")) as tools:
        seen = await scrape(Sql.model_validate({"kind": "sql", "metrics": [metric, REBATES]}), tools)
    assert seen.error == ""
    assert [f"{it:g}" for it in seen.get("shop_odd", {}).values()] == ([number] if number else [])


async def test_each_metric_has_its_own_interval(server: servers.Postgres) -> None:
    """
    What is asked every five minutes keeps its number in between.
    """
    quick = {"name": "shop_now", "help": "Rows.", "query": "SELECT count(*) AS value FROM rebate", "interval": "30s"}
    slow = {**quick, "name": "shop_then", "interval": "5m"}
    collector = Sql.model_validate({"kind": "sql", "metrics": [quick, slow]})
    async with collector_tools(database=server.address("rebates")) as tools:
        await scrape(collector, tools)
        server.execute("INSERT INTO rebate VALUES ('2026-03', 'c', 1)", database="rebates")
        try:
            assert isinstance(tools.clock, FakeClock)
            tools.clock.advance(30)
            seen = await scrape(collector, tools)
            assert (seen.one("shop_now"), seen.one("shop_then")) == (4, 3)
            tools.clock.advance(270)
            assert (await scrape(collector, tools)).one("shop_then") == 4
        finally:
            server.execute("DELETE FROM rebate WHERE period = '2026-03'", database="rebates")


async def test_a_scrape_without_database_fails(server: servers.Postgres) -> None:
    """
    A server that is gone is the database's trouble, not a metric's.
    """
    collector = Sql.model_validate({"kind": "sql", "metrics": [REBATES]})
    async with collector_tools(database=f"postgresql://u:hunter2@127.0.0.1:{servers.free_port()}/db") as tools:
        with pytest.raises(CollectError, match="it can't be reached") as error:
            await open_scraper(collector, tools).collect()
    assert "hunter2" not in str(error.value)
