"""Single samples are packed into batches."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock
from toban.core.labels import Labels
from toban.core.samples import gauge, is_absent
from toban.ingest.series_packing import GROUP_SERIES, UNUSED_SECONDS, SeriesPacker
from toban.remote.remote_write_model import RemoteSample, RemoteSamples

SERIES = [Labels(__name__=f"m{number}", job="ab"[number % 2], instance=str(number % 3)) for number in range(12)]
MANY = [Labels(__name__="many", job="x", instance="y", number=str(number)) for number in range(300)]


def samples_of(batches):
    """Return the samples of batches; of two of one series at one time the later."""
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
def test_batches_have_exactly_the_samples_of_the_requests(requests):
    """
    However a sender divides them into requests.
    """
    packer = SeriesPacker(FakeClock(), 1000)
    for request in requests:
        batches = packer.pack(RemoteSamples.from_samples(request), {}).batches
        assert samples_of(batches) == {(it.labels, it.at): struct.pack("<d", it.value) for it in request}


def test_the_same_series_make_the_same_layouts():
    """
    Also when they are divided differently: the store knows the layouts already.
    """
    packer = SeriesPacker(FakeClock(), 1000)
    packer.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in MANY]), {})
    packed = packer.pack(RemoteSamples.from_samples([RemoteSample(labels, 1, 1) for labels in MANY[:200]]), {})
    first, second = (
        packed.batches,
        packer.pack(RemoteSamples.from_samples([RemoteSample(labels, 2, 1) for labels in MANY[200:]]), {}).batches,
    )

    assert packed.new == []
    assert {len(batch.layout) for batch in first} == {GROUP_SERIES}
    assert {id(batch.layout) for batch in second} & {id(batch.layout) for batch in first}


def test_a_few_of_many_series_are_packed_without_gaps():
    """
    In a layout of their own.
    """
    packer = SeriesPacker(FakeClock(), 1000)
    packer.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in MANY]), {})
    (one,) = packer.pack(RemoteSamples.from_samples([RemoteSample(MANY[7], 1, 5)]), {}).batches
    (again,) = packer.pack(RemoteSamples.from_samples([RemoteSample(MANY[7], 2, 5)]), {}).batches
    assert (one.layout.series, again.layout) == ((MANY[7],), one.layout)


def test_released_slots_are_free():
    """
    As if the series had never been sent.
    """
    packer = SeriesPacker(FakeClock(), 1000)
    packer.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in SERIES[:6]]), {})
    packer.release(packer.pack(RemoteSamples.from_samples([RemoteSample(labels, 1, 1) for labels in SERIES]), {}).new)

    assert [labels for labels in SERIES if labels in packer] == SERIES[:6]
    batches = packer.pack(
        RemoteSamples.from_samples([RemoteSample(labels, 2, 1) for labels in SERIES[3:9]]), {}
    ).batches
    assert {labels for labels, _ in samples_of(batches)} == set(SERIES[3:9])


async def test_series_that_are_not_sent_any_more_lose_their_slots():
    """
    Short-lived series do not accumulate.
    """
    clock = FakeClock()
    packer = SeriesPacker(clock, 1000)
    packer.pack(RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in MANY]), {})
    await clock.sleep(UNUSED_SECONDS + 1)
    packer.pack(RemoteSamples.from_samples([RemoteSample(SERIES[0], 0, 1)]), {})
    packer.pack(RemoteSamples.from_samples([RemoteSample(SERIES[0], 1, 1)]), {})
    assert MANY[0] not in packer


def test_batches_have_the_metric_families():
    """
    Those of histograms by their series.
    """
    families = {"took": gauge("took", "How long it took.")}
    (batch,) = (
        SeriesPacker(FakeClock(), 1000)
        .pack(RemoteSamples.from_samples([RemoteSample(Labels(__name__="took_sum"), 0, 1)]), families)
        .batches
    )
    assert batch.layout.families == (families["took"],)


async def test_the_slots_of_a_target_are_limited():
    """
    Other targets have their own; slots of series that are not sent any more are free again.
    """
    clock = FakeClock()
    packer = SeriesPacker(clock, 10)
    packed = packer.pack(
        RemoteSamples.from_samples([RemoteSample(labels, 0, 1) for labels in [*MANY[:12], SERIES[0]]]), {}
    )
    assert [sample.labels for sample in packed.rejected] == MANY[10:12]
    assert {labels for labels, _ in samples_of(packed.batches)} == {*MANY[:10], SERIES[0]}
    assert not packer.pack(RemoteSamples.from_samples([RemoteSample(MANY[0], 1, 1)]), {}).rejected

    await clock.sleep(UNUSED_SECONDS + 1)
    assert not packer.pack(RemoteSamples.from_samples([RemoteSample(MANY[11], 2, 1)]), {}).rejected
