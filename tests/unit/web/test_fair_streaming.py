"""Long answers leave short ones their turn."""

import asyncio

from toban.web.fair_streaming import FairStreaming


async def test_of_many_long_answers_one_piece_is_written_at_each_turn_of_the_loop():
    """
    Twenty of them hold the loop no longer than one does; each comes to its end, in order.
    """
    turns, written, most = FairStreaming(), [0], [0]

    def pieces():
        for number in range(30):
            written[0] += 1
            yield number

    async def answer():
        return [piece async for piece in turns.pieces(pieces())]

    answers = [asyncio.create_task(answer()) for _ in range(20)]
    while not all(it.done() for it in answers):
        before = written[0]
        await asyncio.sleep(0)
        most[0] = max(most[0], written[0] - before)
    assert [it.result() for it in answers] == [list(range(30))] * 20
    assert most[0] <= 2


async def test_one_who_leaves_holds_nobody_up():
    turns = FairStreaming()
    stuck = turns.pieces(iter("ab"))
    assert await anext(stuck) == "a"
    assert [piece async for piece in turns.pieces(iter("cd"))] == ["c", "d"]
