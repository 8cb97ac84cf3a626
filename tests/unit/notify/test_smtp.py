"""How a mail goes over the line."""

from hypothesis import given
from hypothesis import strategies as st

from toban.notify.smtp import _dot_stuffed


@given(st.lists(st.sampled_from([b".", b"..", b"a", b".a", b"", b"\r", b"a.", "é".encode()]), max_size=12))
def test_dots_in_a_mail_are_escaped(parts):
    """
    What the server reads is what was written.
    """
    *lines, end, rest = _dot_stuffed(b"\r\n".join(parts)).split(b"\r\n")
    assert (end, rest) == (b".", b"")
    assert b"." not in lines
    read = b"\n".join(line.removeprefix(b".") for line in lines)
    assert read.rstrip(b"\n") == b"\n".join(parts).replace(b"\r", b"\n").rstrip(b"\n")
