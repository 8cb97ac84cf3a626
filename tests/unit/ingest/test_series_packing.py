"""Single numbers put together to batches."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock
from toban.core.labels import Labels
from toban.core.samples import gauge, is_absent
from toban.ingest.series_packing import UNUSED, WIDE, SeriesPacker
from toban.remote.remote_write_model import RemoteSample, RemoteSamples

SERIES = [Labels(__name__=f"m{number}", job="ab"[number % 2], instance=str(number % 3)) for number in range(12)]
MANY = [Labels(__name__="many", job="x", instance="y", number=str(number)) for number in range(300)]


def told(batches):
    """Return what batches hold: of two for one series at one time the later."""
    return {
        (labels, batch.at): struct.pack("<d", value)
        for batch in batches
        for labels, value, absent in zip(
            batch.layout.series, batch.values.tolist(), is_absent(batch.values).tolist(), strict=True
        )
        if not absent
    }


SAMPLES = st.lists(st.builds(RemoteSample, st.sampled_from(SERIES), st.integers(0, 5), st.floats()))


@given(st.lists(SAMPLES, max_size=6))
def test_nothing_is_lost_and_nothing_made_up(requests):
    """
    However a sender cuts what it sends.
    """
    places = SeriesPacker(FakeClock(), 1000)
    for request in requests:
        batches = places.pack(RemoteSamples.from_samples(request), {}).batches
        assert told(batches) == {(it.labels, it.at): struct.pack("<d", it.value) for it in request}


def test_the_same_series_make_the_same_layouts():
    """
    Also when they come in other pieces: known once, they cost the store nothing.
    """
    places = SeriesPacker(FakeClock(), 1000)
    places.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in MANY]), {})
    put = places.pack(RemoteSamples.from_samples([RemoteSample(labels, 1, 1) for labels in MANY[:200]]), {})
    first, second = (
        put.batches,
        places.pack(RemoteSamples.from_samples([RemoteSample(labels, 2, 1) for labels in MANY[200:]]), {}).batches,
    )

    assert put.new == []
    assert {len(batch.layout) for batch in first} == {WIDE}
    assert {id(batch.layout) for batch in second} & {id(batch.layout) for batch in first}


def test_a_few_of_many_are_written_without_the_gaps():
    """
    What shares no time with the others takes no room for them.
    """
    places = SeriesPacker(FakeClock(), 1000)
    places.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in MANY]), {})
    (one,) = places.pack(RemoteSamples.from_samples([RemoteSample(MANY[7], 1, 5)]), {}).batches
    (again,) = places.pack(RemoteSamples.from_samples([RemoteSample(MANY[7], 2, 5)]), {}).batches
    assert (one.layout.series, again.layout) == ((MANY[7],), one.layout)


def test_places_that_are_taken_back_are_free():
    """
    As if the series had never come.
    """
    places = SeriesPacker(FakeClock(), 1000)
    places.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in SERIES[:6]]), {})
    places.release(places.pack(RemoteSamples.from_samples([RemoteSample(labels, 1, 1) for labels in SERIES]), {}).new)

    assert [labels for labels in SERIES if labels in places] == SERIES[:6]
    batches = places.pack(
        RemoteSamples.from_samples([RemoteSample(labels, 2, 1) for labels in SERIES[3:9]]), {}
    ).batches
    assert {labels for labels, _ in told(batches)} == set(SERIES[3:9])


async def test_what_nobody_sends_any_more_loses_its_place():
    """
    Short-lived series do not pile up.
    """
    clock = FakeClock()
    places = SeriesPacker(clock, 1000)
    places.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in MANY]), {})
    await clock.sleep(UNUSED + 1)
    places.pack(RemoteSamples.from_samples([RemoteSample(SERIES[0], 0, 1)]), {})
    places.pack(RemoteSamples.from_samples([RemoteSample(SERIES[0], 1, 1)]), {})
    assert MANY[0] not in places


def test_what_is_known_of_a_metric_comes_with_it():
    """
    Of a histogram by its parts.
    """
    families = {"took": gauge("took", "How long it took.")}
    (batch,) = (
        SeriesPacker(FakeClock(), 1000)
        .pack(RemoteSamples.from_samples([RemoteSample(Labels(__name__="took_sum"), 0, 1)]), families)
        .batches
    )
    assert batch.layout.families == (families["took"],)


async def test_a_target_has_so_many_places_and_no_more():
    """
    Another one has its own; and what is not sent any more makes room.
    """
    clock = FakeClock()
    places = SeriesPacker(clock, 10)
    put = places.pack(
        RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in [*MANY[:12], SERIES[0]]]), {}
    )
    assert [sample.labels for sample in put.without] == MANY[10:12]
    assert {labels for labels, _ in told(put.batches)} == {*MANY[:10], SERIES[0]}
    assert not places.pack(RemoteSamples.from_samples([RemoteSample(MANY[0], 1, 1)]), {}).without

    await clock.sleep(UNUSED + 1)
    assert not places.pack(RemoteSamples.from_samples([RemoteSample(MANY[11], 2, 1)]), {}).without
