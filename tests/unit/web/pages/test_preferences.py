"""How somebody reads the console, and where a form leads."""

import pytest
from starlette.requests import Request

from toban.web.pages.preferences import Preferences, local_path


def preferences(cookie: str = "", language: str = "") -> Preferences:
    headers = [(b"cookie", cookie.encode()), (b"accept-language", language.encode())]
    return Preferences.of(Request({"type": "http", "method": "GET", "path": "/", "headers": headers}))


def test_cookies_come_before_what_the_browser_says():
    found = preferences("toban_language=ja; toban_timezone=Asia/Tokyo; toban_theme=dark", "en")
    assert (found.language, found.timezone, found.theme) == ("ja", "Asia/Tokyo", "dark")


@pytest.mark.parametrize("zone", ["", "Nowhere/City", "../../etc/passwd", "/etc/passwd", "UTC\x00", "a" * 5_000])
def test_what_is_no_preference_is_none(zone):
    found = preferences(f"toban_language=xx; toban_timezone={zone}; toban_theme=pink", "ja")
    assert (found.language, found.timezone, found.theme) == ("ja", "UTC", "system")


@pytest.mark.parametrize("text", ["/", "/alerts", "/alerts?state=firing&filter=a%3D%22b%22"])
def test_a_form_leads_to_a_page_of_this_site(text):
    assert local_path(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alerts",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/a\r\nset-cookie: x=1",
        "/a\\..\\b",
        "///evil.example",
    ],
)
def test_a_form_leads_nowhere_else(text):
    assert local_path(text) == "/"
