"""Sample sinks and sources: the store, and the fakes of tests and unit tests of rules."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeClock, ListSink
from toban.core.errors import SampleLimitError, StoreError
from toban.core.labels import Labels
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import SampleSink, SeriesSource
from toban.core.samples import ABSENT, Batch, Layout, gauge, is_absent, milliseconds
from toban.promql.memory_source import MemorySource
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

START = milliseconds(FakeClock().now())
MINUTE = 60_000
LAYOUT = Layout(
    [Labels(__name__="temperature", place=place) for place in ("attic", "cellar")], [gauge("temperature", "")]
)
ROWS = [(-2, [1.0, 5.0]), (-1, [2.0, ABSENT]), (0, [3.0, 7.0])]
"""Minutes before the start, and the value of each place."""


def batches() -> list[Batch]:
    return [Batch(LAYOUT, START + minute * MINUTE, np.array(values)) for minute, values in ROWS]


def named(name: str, **places: str) -> list[Matcher]:
    equal = {"__name__": name, **places}
    return [Matcher(label, MatchOperator.EQUAL, value) for label, value in equal.items()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "tsdb", TsdbSettings(), FakeClock(), MetricRegistry()) as opened:
        yield opened


@pytest.fixture(params=["store", "memory", "memory, shared"])
async def source(request: pytest.FixtureRequest) -> SeriesSource:
    if request.param == "store":
        opened: Store = request.getfixturevalue("store")
        await opened.append(batches())
        return opened
    kept = MemorySource(shared="shared" in request.param)
    for column, labels in enumerate(LAYOUT.series):
        kept.add(labels, [(batch.at, float(batch.values[column])) for batch in batches()])
    return kept


def selected(source: SeriesSource, matchers: Sequence[Matcher], start: int, end: int) -> dict[str, dict[int, float]]:
    """Return what was selected by place and minute; a series in two blocks is an error."""
    found: dict[str, dict[int, float]] = {}
    for block in source.select(matchers, START + start * MINUTE, START + end * MINUTE):
        for labels, values in zip(block.series, block.values, strict=True):
            present = ~is_absent(values)
            assert labels["place"] not in found
            minutes = ((block.times[present] - START) // MINUTE).tolist()
            found[labels["place"]] = dict(zip(minutes, values[present].tolist(), strict=True))
    return {place: values for place, values in found.items() if values}


async def test_a_source_selects_what_matches_with_both_ends(source: SeriesSource):
    """
    A series without a sample at some time has none there.
    """
    everything = named("temperature")
    assert selected(source, everything, -2, 0) == {"attic": {-2: 1, -1: 2, 0: 3}, "cellar": {-2: 5, 0: 7}}
    assert selected(source, everything, -1, -1) == {"attic": {-1: 2}}
    assert selected(source, named("temperature", place="cellar"), -2, -1) == {"cellar": {-2: 5}}
    assert selected(source, named("humidity"), -2, 0) == {}


async def test_a_source_knows_its_series_and_the_oldest_sample(source: SeriesSource):
    """
    Nothing is older than what is not there.
    """
    begin = START - 2 * MINUTE
    assert set(source.series(named("temperature"), begin, START)) == set(LAYOUT.series)
    oldest = source.oldest(named("temperature"))
    assert oldest is not None
    assert oldest <= begin
    assert source.oldest(named("humidity")) is None


async def test_selecting_more_samples_than_allowed_is_an_error(store: Store):
    """
    Before they are in memory.
    """
    await store.append(batches())
    with pytest.raises(SampleLimitError):
        store.select(named("temperature"), START - 2 * MINUTE, START, 3)


@pytest.fixture(params=["store", "list"])
def sink(request: pytest.FixtureRequest) -> tuple[SampleSink, Callable[[], int]]:
    """Return a sink, and what counts its samples."""
    if request.param == "list":
        listing = ListSink()
        return listing, lambda: sum(int((~is_absent(it.values)).sum()) for it in listing.batches)
    store: Store = request.getfixturevalue("store")

    def count() -> int:
        found = store.select(named("temperature"), START - 2 * MINUTE, START)
        return sum(int((~is_absent(it.values)).sum()) for it in found)

    return store, count


async def test_accepted_samples_can_be_selected(sink: tuple[SampleSink, Callable[[], int]]):
    """
    All batches of one append; nothing at all is no error.
    """
    append, count = sink
    await append.append([])
    assert count() == 0
    await append.append(batches())
    assert count() == 5


async def test_a_rejected_append_stores_nothing(tmp_path: Path):
    """
    A closed store takes nothing, and says so.
    """
    clock, meters = FakeClock(), MetricRegistry()
    with Store(tmp_path / "closed", TsdbSettings(), clock, meters) as store:
        pass
    with pytest.raises(StoreError):
        await store.append(batches())
    with Store(tmp_path / "closed", TsdbSettings(), clock, meters) as store:
        assert store.oldest(named("temperature")) is None
