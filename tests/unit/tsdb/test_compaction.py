"""Which blocks are merged, and which are removed."""

from hypothesis import given
from hypothesis import strategies as st

from toban.tsdb.block import BlockName
from toban.tsdb.compaction import BlockCalendar, expired

CALENDAR = BlockCalendar(window=10, day=120)
NAMES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 99)), unique_by=lambda one: one[1], max_size=20).map(
    lambda some: [BlockName(window * 10, window * 10 + 10, sequence) for window, sequence in some]
)


@given(NAMES, st.integers(0, 500))
def test_compaction_ends_and_keeps_the_order_of_writing(names, now):
    """
    The new block has a higher sequence number than those it replaces and covers them; days that are over end as one
    block each.
    """
    cutoff = CALENDAR.cutoff(now)
    while due := CALENDAR.compaction(names, cutoff):
        name, some = due
        assert len(some) >= 2
        assert name.sequence > max(one.sequence for one in names)
        assert all(name.start <= one.start and one.end <= name.end for one in some)
        names = [one for one in names if one not in some] + [name]
    over = [name.start // 120 for name in names if (name.start // 120 + 1) * 120 <= cutoff]
    assert len(over) == len(set(over))


@given(NAMES, st.integers(0, 500), st.integers(0, 50))
def test_the_oldest_blocks_are_removed_and_never_the_newest(names, before, limit):
    """
    Removed blocks end before or together with the ones that stay; these fit in the limit, or are one block.
    """
    sizes = dict.fromkeys(names, 10)
    removed = expired(sizes, before=before, limit=limit)
    left = [name for name in names if name not in removed]

    assert bool(left) == bool(names)
    assert not removed or max(name.end for name in removed) <= min(name.end for name in left)
    assert len(left) <= 1 or (len(left) * 10 <= limit and all(name.end > before for name in left))
