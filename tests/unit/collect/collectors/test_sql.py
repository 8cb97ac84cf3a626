"""Settings of the collector `sql`."""

import pytest
from pydantic import ValidationError

from toban.collect.collectors.sql import Metric, Sql

GOOD = {"name": "shop_things", "help": "Things.", "query": "SELECT 1 AS value;"}


@pytest.mark.parametrize(
    ("metrics", "mistake"),
    [
        ([], "at least 1"),
        ([{**GOOD, "name": "shop things"}], "invalid metric name"),
        ([{**GOOD, "help": ""}], "at least 1"),
        ([{**GOOD, "interval": "often"}], "invalid duration"),
        ([GOOD, GOOD], "shop_things is defined twice"),
    ],
)
def test_an_invalid_metric_is_rejected(metrics: list[dict[str, str]], mistake: str) -> None:
    """
    What can't be is refused before anything is asked.
    """
    with pytest.raises(ValidationError, match=mistake):
        Sql.model_validate({"kind": "sql", "metrics": metrics})


def test_any_query_is_bounded() -> None:
    """
    It is put in brackets, where only a SELECT can stand, a comment at its end notwithstanding.
    """
    metric = Metric.model_validate({**GOOD, "query": "SELECT 1 AS value -- one", "limit": 10})
    assert metric.bounded.startswith("SELECT * FROM (\nSELECT 1 AS value -- one\n) AS metric WHERE ")
    assert Metric.model_validate(GOOD).bounded.startswith("SELECT * FROM (\nSELECT 1 AS value\n) AS metric WHERE ")
    assert metric.bounded.endswith(" LIMIT %s")
