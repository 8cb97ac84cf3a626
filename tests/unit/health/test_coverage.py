"""Which metrics of a shop are missing, and their texts."""

import re

import numpy as np
import pytest

from tests.fakes import FakeClock
from toban.core.labels import Labels
from toban.core.message_catalogue import LANGUAGES
from toban.core.query_result import BatchResult, QueryResult, ResultSeries, ResultType
from toban.health import checks
from toban.health.checks import Endpoints, UnavailableCheck, heap
from toban.health.key_figures import FIGURES, FigureValue, KeyFigure, Unit
from toban.health.service import HealthService
from toban.instruments.metric_sources import COVERAGE, missing_metrics
from toban.promql.parser import parse
from toban.web.pages.i18n import texts


class Answering:
    """An engine that knows the answers to some questions."""

    def __init__(self, **responses):
        self.responses = responses

    async def instant(self, query, at, *, time_limit=None):
        value = next((value for part, value in self.responses.items() if part in query), None)
        series = () if value is None else (ResultSeries(Labels(), np.array([at]), np.array([float(value)])),)
        return QueryResult(ResultType.VECTOR, series)

    async def run_batch(self, queries, at):
        return [BatchResult(await self.instant(queries[0], at))]


HEAP = heap(["vendure-server"], 250, Endpoints.HEALTH)


async def test_metrics_never_seen_are_listed_as_not_monitored():
    """
    It is not guessed; and what would tell it is said.
    """
    health = HealthService([HEAP], [], Answering(), FakeClock())

    assert await health.results(Endpoints.HEALTH) == []
    (unknown,) = await health.unavailable()
    assert unknown.reason == "no data: enable with the shop's telemetry (see integrations/vendure)"


async def test_a_check_without_data_is_down():
    """
    No data is never well.
    """
    health = HealthService([HEAP], [], Answering(**{"[86400s]": 1}), FakeClock())

    (finding,) = await health.results(Endpoints.HEALTH)
    assert (finding.up, finding.message) == (False, "no sample for 180 s")
    assert await health.unavailable() == []


@pytest.mark.parametrize(("held", "up"), [(250 * 2**20, True), (250 * 2**20 + 1, False)])
async def test_the_heap_limit_is_in_mebibytes(held, up):
    """
    As in the original.
    """
    (finding,) = await HealthService([HEAP], [], Answering(**{"[180s]": held}), FakeClock()).results(Endpoints.HEALTH)
    assert finding.up is up


@pytest.mark.parametrize("check", [it for it in vars(checks).values() if isinstance(it, checks.HealthCheck)])
def test_every_check_is_a_valid_query(check):
    """
    One that can't be parsed would be down for ever.
    """
    assert parse(check.query)
    assert not check.since or parse(check.ever)


def test_settings_that_are_missing_are_named():
    """
    With what to do about it.
    """
    assert UnavailableCheck("database", "shop.database").reason == "shop.database is not set"


def test_a_topic_is_covered_when_one_of_its_metrics_was_seen():
    """
    A histogram is seen by its parts.
    """
    keys = {number.key for number in missing_metrics({"vendure_api_duration_seconds_count", "vendure_jobs_waiting"})}

    assert keys == {number.key for number in COVERAGE} - {"requests", "jobs"}
    assert list(missing_metrics({name for number in COVERAGE for name in number.metrics})) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_figure_and_topic_has_a_text(language):
    """
    In each language; and no words are left over.
    """
    say = texts(language)
    expected = {f"figure-{figure.key}" for figure in FIGURES} | {f"known-{number.key}" for number in COVERAGE}
    expected |= {f"source-{source.name.lower()}" for number in COVERAGE for source in number.sources}

    assert {key for key in say if re.match("figure-|known-|source-", key)} == expected


@pytest.mark.parametrize("figure", [it for it in FIGURES if isinstance(it, KeyFigure)], ids=lambda figure: figure.key)
def test_every_figure_is_a_valid_query(figure):
    """
    In PromQL.
    """
    assert parse(figure.expression)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, Unit.SECONDS, "12 ms"),
        (7200, Unit.SECONDS, "7,200 s"),
        (12345.678, Unit.MONEY, "12,345.68"),
        (1.25, Unit.PERCENT, "1.2 %"),
        (3, Unit.COUNT, "3"),
    ],
)
def test_figures_are_formatted_with_units(value, unit, text):
    """
    Short times in milliseconds, money with two digits.
    """
    assert FigureValue("x", "", value, unit).text == text
