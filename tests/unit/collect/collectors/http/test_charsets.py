"""Pages in the charset that they declare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.collect.collectors.http.charsets import CHARSETS, decode_page

ORDER = "ご注文"


@pytest.mark.parametrize(
    ("codec", "media", "head"),
    [
        ("cp932", "text/html; charset=Shift_JIS", ""),
        ("cp932", "text/html;charset='x-sjis'", ""),
        ("cp932", "text/html; charset=Windows-31J", ""),
        ("euc_jp", 'text/html; charset="EUC-JP"', ""),
        ("iso2022_jp", "text/html; charset=ISO-2022-JP", ""),
        ("utf-16-le", "text/html; charset=utf-16", ""),
        ("utf-16-be", "text/html; charset=UTF-16BE", ""),
        ("utf-16", "text/html", ""),
        ("utf-16", "text/html; charset=Shift_JIS", ""),
        ("utf-8-sig", "text/html; charset=EUC-JP", ""),
        ("cp932", "text/html", '<meta charset="shift_jis">'),
        ("euc_jp", "", "<META content='text/html; charset=EUC-JP' http-equiv=Content-Type>"),
        ("euc_jp", "application/xml", '<?xml version="1.0" encoding="euc-jp"?>'),
        ("cp932", "text/html; charset=nonsense", "<meta charset=sjis>"),
        ("utf-8", "text/html", '<meta charset="utf-16">'),
        ("utf-8", "text/html", ""),
        ("utf-8", "text/html; charset=zip", ""),
        ("utf-8", "text/html; charset=punycode", ""),
    ],
)
def test_a_page_is_decoded_by_its_declared_charset(codec, media, head):
    """
    Its first bytes say most, then its header, then itself; all else is UTF-8.
    """
    assert ORDER in decode_page(f"{head}<p>{ORDER}</p>".encode(codec), media)


@pytest.mark.parametrize("codec", sorted(set(CHARSETS.values())))
def test_python_knows_every_charset(codec):
    """
    The table has no name that nobody knows.
    """
    assert b"a".decode(codec, "replace") in {"a", "\ufffd"}


@given(st.binary(max_size=300), st.text(max_size=60))
def test_any_page_can_be_decoded(body, media):
    """
    Whatever it declares.
    """
    assert isinstance(decode_page(body, media), str)
    assert isinstance(decode_page(body, f"text/html; charset={media}"), str)
