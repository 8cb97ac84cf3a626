"""Decodes a page by the charset that it declares, as browsers do: by its first bytes, its header, or its markup."""

import codecs
import re
from typing import Final

BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

CHARSETS: Final = {
    **{name: name for name in ("utf-8", "utf-16-le", "utf-16-be", "euc_jp", "iso2022_jp", "gb18030", "cp949", "cp866")},
    **{name: name for name in ("koi8-r", "koi8-u", "mac-roman", "mac-cyrillic", "tis-620", "cp874", "big5hkscs")},
    **{f"iso8859-{number}": f"iso8859-{number}" for number in (*range(2, 9), 10, 13, 14, 15, 16)},
    **{f"cp125{number}": f"cp125{number}" for number in range(9)},
    "shift_jis": "cp932", "cp932": "cp932", "gbk": "gb18030", "gb2312": "gb18030", "big5": "big5hkscs",
    "euc_kr": "cp949", "utf-16": "utf-16-le", "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254",
}  # fmt: skip  # a table
"""The codec for a declared charset, by Python's name of the latter (https://encoding.spec.whatwg.org/)."""

OTHER_NAMES: Final = {
    "x-sjis": "shift_jis",
    "windows-31j": "cp932",
    "x-euc-jp": "euc_jp",
    "x-gbk": "gbk",
    "unicode": "utf-16",
}

PRESCAN_BYTES: Final = 1024
"""Bytes that are searched for a declaration in the markup."""

_META: Final = re.compile(rb"""<meta\b[^>]*?\bcharset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_XML: Final = re.compile(rb"""^\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([\w.:-]+)""")
_HEADER: Final = re.compile(r"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)


def decode_page(body: bytes, media_type: str) -> str:
    """
    Return a page as text; ``media_type`` is its Content-Type.

    Invalid bytes become U+FFFD. Without a known charset the page is read as UTF-8.
    """
    for mark, charset in BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, "replace")
    return body.decode(_declared(body, media_type), "replace")


def _declared(body: bytes, media_type: str) -> str:
    header = _HEADER.search(media_type)
    if header and (codec := _codec(header[1])):
        return codec
    beginning = body[:PRESCAN_BYTES]
    markup = _META.search(beginning) or _XML.search(beginning)
    codec = _codec(markup[1].decode("ascii", "replace")) if markup else ""
    # A declaration that can be read as ASCII is not in UTF-16, whatever it says.
    return "utf-8" if not codec or codec.startswith("utf-16") else codec


def _codec(name: str) -> str:
    """Return the codec of a charset; empty for an unknown one."""
    try:
        return CHARSETS.get(codecs.lookup(OTHER_NAMES.get(name.lower(), name)).name, "")
    except LookupError:
        return ""
