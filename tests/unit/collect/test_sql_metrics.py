"""Metrics by SQL: parsing of queries, their choice, and the samples of results."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.collect.collectors.postgres import FAMILIES, QUERIES, Server, missing
from toban.collect.sql_metrics import SqlQuery, column_family, parse_queries, row_samples, suitable_queries
from toban.core.errors import CollectError
from toban.core.labels import METRIC_NAME
from toban.core.samples import MetricType

FILE = """\
-- What stands above is for people.

-- query: shop_things
-- interval: 5m
-- versions: 14-16
-- needs: primary waiting
-- value: Things there are.
-- seconds_total: Time they took: all of them.
-- A note for people.
SELECT 1 AS value; -- the end

-- query: shop_others
-- count: Others.
SELECT 1 AS count;

-- query: shop_waiting
-- present: while somebody waits
-- present oldest: once somebody has waited
-- value: How many.
-- oldest: Since when.
SELECT 1 AS value, 2 AS oldest;
"""


def test_a_file_of_queries_is_parsed() -> None:
    """
    Name, pace, versions, needs, one sentence a number, and the SQL; notes are passed over.
    """
    things, others, waiting = parse_queries(FILE)
    assert things.name == "shop_things"
    assert things.interval == timedelta(minutes=5)
    assert (things.since, things.until) == (14, 16)
    assert things.needs == {"primary", "waiting"}
    assert things.columns == {"value": "Things there are.", "seconds_total": "Time they took: all of them."}
    assert things.sql.startswith("SELECT 1 AS value")
    assert [family.name for family in things.families] == ["shop_things", "shop_things_seconds_total"]
    assert [family.present for family in waiting.families] == ["while somebody waits", "once somebody has waited"]
    assert [family.is_transient for family in (*waiting.families, *others.families)] == [True, False, False]
    assert others == SqlQuery("shop_others", "SELECT 1 AS count", {"count": "Others."})


@pytest.mark.parametrize(
    "text",
    [
        "-- query: a\nSELECT 1",
        "-- query: a\n-- value: A.\n",
        "-- query: a\n-- versions: 14\n-- value: A.\nSELECT 1",
        "-- query: a\n-- present: sometimes\n-- value: A.\nSELECT 1",
        "-- query: a\n-- present b: once it was\n-- value: A.\nSELECT 1",
    ],
)
def test_an_incomplete_query_is_an_error_that_names_it(text: str) -> None:
    """
    Without a sentence, without SQL, or with versions that can be read in two ways, it is refused by name.
    """
    with pytest.raises(ValueError, match=r"^a: "):
        parse_queries(text)


@pytest.mark.parametrize("version", [14, 15, 16, 17, 18, 19])
@pytest.mark.parametrize("has", [{"primary"}, {"standby"}, {"primary", "waiting", "pg_stat_statements"}])
def test_each_server_runs_one_query_for_each_metric(version: int, has: set[str]) -> None:
    """
    Whatever the version and the role, no two queries bring the same metric.
    """
    names = [family.name for query in suitable_queries(QUERIES, version, has) for family in query.families]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("version", "view"),
    [(14, "pg_stat_bgwriter"), (16, "pg_stat_bgwriter"), (17, "pg_stat_checkpointer"), (18, "pg_stat_checkpointer")],
)
def test_checkpoint_queries_depend_on_the_version(version: int, view: str) -> None:
    """
    Since 17 checkpoints have a view of their own.
    """
    (query,) = (
        query for query in suitable_queries(QUERIES, version, {"primary"}) if query.name == "postgres_checkpoints"
    )
    assert f"FROM {view}" in query.sql


def test_queries_for_missing_features_are_skipped() -> None:
    """
    A standby is not asked what only a primary can tell, nor who blocks whom while nobody waits.
    """
    standby = {query.name for query in suitable_queries(QUERIES, 18, {"standby"})}
    primary = {query.name for query in suitable_queries(QUERIES, 18, {"primary"})}
    assert primary - standby == {"postgres_replication"}
    assert standby - primary == {"postgres_standby"}
    waiting = {query.name for query in suitable_queries(QUERIES, 18, {"primary", "waiting"})}
    assert waiting - primary == {"postgres_blocking"}


def test_variants_of_a_query_have_the_same_help_text() -> None:
    """
    A metric has one sentence, whichever version it is read from.
    """
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert all(METRIC_NAME.fullmatch(name) for name in names)
    assert all(family.help.endswith((".", "1.")) and family.help[0].isupper() for family in FAMILIES)


def test_no_query_changes_settings_or_reads_statement_texts() -> None:
    """
    Nothing is set beyond the transaction, and no statement's text leaves the database.
    """
    for query in QUERIES:
        words = query.sql.upper().split()
        assert words[0] in {"SELECT", "WITH"}
        assert not {"SET", "LOCK", "UPDATE", "DELETE", "INSERT"} & set(words)
        assert ".QUERY" not in query.sql.upper()


@pytest.mark.parametrize(
    ("column", "name", "type", "unit"),
    [
        ("value", "shop", MetricType.GAUGE, ""),
        ("orders_total", "shop_orders_total", MetricType.COUNTER, ""),
        ("wait_seconds", "shop_wait_seconds", MetricType.GAUGE, "seconds"),
        ("sent_bytes_total", "shop_sent_bytes_total", MetricType.COUNTER, "bytes"),
    ],
)
def test_type_and_unit_follow_from_the_metric_name(column: str, name: str, type: MetricType, unit: str) -> None:
    """
    The end of a metric's name decides its type and its unit.
    """
    family = column_family("shop", column, "Help.")
    assert (family.name, family.type, family.unit) == (name, type, unit)


FAMILIES_OF_TWO = {column: column_family("shop", column, "Help.") for column in ("value", "rows")}


def test_rows_become_samples_with_labels() -> None:
    """
    Each row brings one number a column; an empty one is none, an empty label is no label.
    """
    columns = ["label_b", "label_a", "value", "rows"]
    found = row_samples(FAMILIES_OF_TWO, columns, [("y", "x", Decimal("1.5"), 2), (None, "z", True, None)])
    assert [(sample.family.name, dict(sample.labels), sample.value) for sample in found] == [
        ("shop", {"a": "x", "b": "y"}, 1.5),
        ("shop", {"a": "z"}, 1.0),
        ("shop_rows", {"a": "x", "b": "y"}, 2.0),
    ]


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=False)), unique_by=lambda row: row[0]), st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[tuple[str, float]], random: object) -> None:
    """
    Whatever order rows come in, the numbers come in one: the store uses its layout again.
    """
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis' Random
    family = {"value": column_family("shop", "value", "Help.")}
    assert row_samples(family, ["label_a", "value"], rows) == row_samples(family, ["label_a", "value"], shuffled)


@pytest.mark.parametrize(
    ("columns", "rows", "error"),
    [
        (["label_a-b", "value"], [("x", 1)], "'label_a-b' makes no label name"),
        (["value"], [("text",)], "'value' has text, not a number"),
        (["value"], [({},)], "'value' has dict, not a number"),
        (["label_a", "label_a", "value"], [("x", "y", 1)], "two columns are called 'label_a'"),
        (["value"], [(1,), (2,)], "two rows are labelled nothing"),
    ],
)
def test_a_result_without_numbers_is_an_error(columns: list[str], rows: list[tuple[object, ...]], error: str) -> None:
    """
    The message names the column, or what two rows share.
    """
    with pytest.raises(CollectError, match=error):
        row_samples({"value": column_family("shop", "value", "Help.")}, columns, rows)


def test_missing_features_of_a_server_are_reported_with_the_remedy() -> None:
    """
    Each lack has a sentence that says what would help; a server that has all is without.
    """
    assert not any(missing(Server(18, frozenset({"pg_stat_statements"}), "toban", True)).values())
    lacking = missing(Server(13, frozenset(), "toban", False, "CREATE EXTENSION pg_stat_statements"))
    assert "GRANT pg_monitor TO toban" in lacking["sessions"]
    assert "CREATE EXTENSION" in lacking["statements"]
    assert "older than 14" in lacking["version"]
