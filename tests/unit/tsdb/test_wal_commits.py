"""How many frames of a write-ahead log were committed."""

import pytest

from toban.tsdb.head_file import PAGE, WAL_FRAME, WAL_HEADER, committed_frames

OLD, NEW, DAMAGED = (7, 1), (8, 2), (8, 66)


def log(header: tuple[int, int], *frames: tuple[tuple[int, int], int]) -> bytes:
    """Return a log of frames: each with its salt, and whether it commits."""
    start = WAL_HEADER.pack(0, 0, PAGE, 0, *header, 0, 0)
    return start + b"".join(WAL_FRAME.pack(1, commit, *salt, 0, 0) + bytes(PAGE) for salt, commit in frames)


@pytest.mark.parametrize(
    ("header", "frames", "found"),
    [
        (NEW, [], 0),
        (NEW, [(NEW, 1), (NEW, 0), (NEW, 1)], 3),  # at the end of the file: a page is there as a whole or not at all
        (NEW, [(NEW, 1), (NEW, 0)], 1),  # the second was never committed
        (NEW, [(NEW, 1), (NEW, 1), (NEW, 0), (OLD, 1)], 2),  # something came after it: it was whole
        (NEW, [(NEW, 1), (NEW, 0), (NEW, 1), (OLD, 0), (OLD, 1)], 1),  # over an old frame: its page may be the old one
        (NEW, [(NEW, 1), (OLD, 1)], 0),
        (NEW, [(NEW, 1), (DAMAGED, 1), (NEW, 1)], 3),
        (NEW, [(DAMAGED, 1), (NEW, 1), (OLD, 1)], 0),
        (DAMAGED, [(NEW, 1), (NEW, 1)], 2),
        (NEW, [(OLD, 1), (OLD, 1)], 0),  # the log was restarted and has no frame yet
    ],
)
def test_only_certain_commits_are_counted(header, frames, found):
    """
    SQLite writes a frame's header and then its page: a crash between the two, in a log that was restarted, leaves a
    commit over a page of the earlier log. That write was never acknowledged: it is no damage.
    """
    assert committed_frames(log(header, *frames)) == found


def test_a_truncated_frame_is_not_counted():
    """
    At the end of the file a crash leaves less than a frame.
    """
    assert committed_frames(log(NEW, (NEW, 1), (NEW, 1))[:-1]) == 1
