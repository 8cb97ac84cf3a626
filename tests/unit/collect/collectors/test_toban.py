"""toban looks at itself."""

from toban.collect.collectors.toban import Toban
from toban.core.samples import counter

SEEN = counter("seen_total", "What was seen.")


async def test_toban_tells_of_its_own_process_and_what_it_counts(tools, monkeypatch):
    """
    A new counter begins at nought, so that its first event is an increase.
    """
    monkeypatch.setenv("FLY_MACHINE_ID", "148e21")
    tools.meters.add(SEEN)
    first, second = [{sample.family.name: sample.value for sample in await Toban().collect(tools)} for _ in range(2)]

    assert Toban().looks_at == "148e21"
    assert first["process_resident_memory_bytes"] > 1_000_000
    assert first["process_open_fds"] >= 3
    assert (first["seen_total"], second["seen_total"]) == (0, 1)
