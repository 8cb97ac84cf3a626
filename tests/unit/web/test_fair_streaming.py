"""Long responses do not block short ones."""

import asyncio

from toban.web.fair_streaming import FairStreaming


async def test_long_responses_write_one_chunk_for_each_loop_iteration():
    """
    Twenty of them hold the loop no longer than one does; each comes to its end, in order.
    """
    turns, written, most = FairStreaming(), [0], [0]

    def pieces():
        for number in range(30):
            written[0] += 1
            yield number

    async def respond():
        return [piece async for piece in turns.pieces(pieces())]

    responses = [asyncio.create_task(respond()) for _ in range(20)]
    while not all(it.done() for it in responses):
        before = written[0]
        await asyncio.sleep(0)
        most[0] = max(most[0], written[0] - before)
    assert [it.result() for it in responses] == [list(range(30))] * 20
    assert most[0] <= 2


async def test_a_disconnected_client_delays_no_other():
    turns = FairStreaming()
    stuck = turns.pieces(iter("ab"))
    assert await anext(stuck) == "a"
    assert [piece async for piece in turns.pieces(iter("cd"))] == ["c", "d"]
