"""Which blocks become one, and which go."""

from hypothesis import given
from hypothesis import strategies as st

from toban.tsdb.block import BlockName
from toban.tsdb.compaction import BlockCalendar, expired

CALENDAR = BlockCalendar(window=10, day=120)
NAMES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 99)), unique_by=lambda one: one[1], max_size=20).map(
    lambda some: [BlockName(window * 10, window * 10 + 10, turn) for window, turn in some]
)


@given(NAMES, st.integers(0, 500))
def test_compaction_ends_and_keeps_the_order_of_writing(names, now):
    """
    The new block is later than all it replaces and lies around them; days that are over end as one block each.
    """
    cutoff = CALENDAR.cutoff(now)
    while due := CALENDAR.compaction(names, cutoff):
        name, some = due
        assert len(some) >= 2
        assert name.turn > max(one.turn for one in names)
        assert all(name.start <= one.start and one.end <= name.end for one in some)
        names = [one for one in names if one not in some] + [name]
    over = [name.start // 120 for name in names if (name.start // 120 + 1) * 120 <= cutoff]
    assert len(over) == len(set(over))


@given(NAMES, st.integers(0, 500), st.integers(0, 50))
def test_the_oldest_go_and_the_newest_stays(names, before, limit):
    """
    What goes ended before all that stays, or at the same time; what stays fits, or is one block.
    """
    sizes = dict.fromkeys(names, 10)
    gone = expired(sizes, before=before, limit=limit)
    left = [name for name in names if name not in gone]

    assert bool(left) == bool(names)
    assert not gone or max(name.end for name in gone) <= min(name.end for name in left)
    assert len(left) <= 1 or (len(left) * 10 <= limit and all(name.end > before for name in left))
