"""The collector `toban`."""

from tests.fakes import sample_values
from toban.collect.collectors.toban import Toban
from toban.core.samples import counter

SEEN = counter("seen_total", "What was seen.")


async def test_samples_of_the_process_and_of_its_metrics(tools, monkeypatch):
    """
    What it counts comes as a batch, beginning with noughts.
    """
    monkeypatch.setenv("FLY_MACHINE_ID", "148e21")
    tools.meters.add(SEEN)
    scrape = await Toban().collect(tools)
    own = {sample.family.name: sample.value for sample in scrape.samples}

    assert Toban().default_instance == "148e21"
    assert own["process_resident_memory_bytes"] > 1_000_000
    assert own["process_open_fds"] >= 3
    assert [sample_values([batch]) for batch in scrape.batches] == [
        {'seen_total{instance="148e21", job="toban"}': 0},
        {'seen_total{instance="148e21", job="toban"}': 1},
    ]
