"""A report as it arrives by SMTP, opened in a browser: on a phone and on a desk, light and dark, in both languages."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

import httpx2
import pytest
from playwright.sync_api import Browser

from tests.fake_smtp import FakeSmtp
from tests.fakes import FakeClock
from tests.sample_report import NOW, sample_report
from toban.core.notification import Link, Notification, NotificationKind
from toban.notify.channel import ChannelTools
from toban.notify.channels.email import Email
from toban.reports.content import write
from toban.reports.mail import as_mail
from toban.reports.service import summary

LANGUAGES = ("en", "ja")


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EmailMessage]:
    """The report as a mail in each language, as a mail server received it."""
    folder = tmp_path_factory.mktemp("mail")

    async def send() -> list[EmailMessage]:
        async with FakeSmtp(folder) as server, httpx2.AsyncClient() as http:
            channel = Email(
                host="127.0.0.1", port=server.port, ca=server.ca, username=server.user, password=server.password,
                sender="reports@example.com", to="owner@example.com",
            )  # fmt: skip  # a line a field would hide what is tested
            for language in LANGUAGES:
                content = write(sample_report(), language)
                report = Notification(
                    f"report-{language}", 0, f"report-{language}.0", NotificationKind.NOTICE, "info", content.title,
                    tuple(summary(content)), (), (Link("toban", content.link),), NOW, NOW, language,
                    document=as_mail(content),
                )  # fmt: skip
                await channel.send(report, {}, ChannelTools(http, FakeClock(NOW), "https://toban.example", "Kiosk"))
            return [it.message for it in server.mails]

    # The browser's own event loop may run in this thread.
    with ThreadPoolExecutor(1) as thread:
        received = thread.submit(asyncio.run, send()).result()
    return dict(zip(LANGUAGES, received, strict=True))


def parts(mail: EmailMessage) -> tuple[str, str, dict[str, bytes]]:
    """Return the text, the page and the images of a mail."""
    leaves = [it for it in mail.walk() if not it.is_multipart()]
    (text,) = [it.get_content() for it in leaves if it.get_content_type() == "text/plain"]
    (page,) = [it.get_content() for it in leaves if it.get_content_type() == "text/html"]
    return text, page, {it["Content-ID"].strip("<>"): it.get_content() for it in leaves if it["Content-ID"]}


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 800])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_is_readable_in_a_mail(
    browser: Browser, mails: dict[str, EmailMessage], language: str, width: int, is_dark: bool
):
    _, html, images = parts(mails[language])
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme="dark" if is_dark else "light", java_script_enabled=True
    )
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda it: asked.append(it.url))
    page.route("https://cid.invalid/*", lambda it: it.fulfill(body=images[it.request.url.rpartition("/")[2]]))
    page.set_content(html.replace("cid:", "https://cid.invalid/"), wait_until="load")
    assert asked == [f"https://cid.invalid/{name}" for name in images]
    assert page.evaluate("[...document.images].every(it => it.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".name").first.is_visible() is (width == 390)
    cut_off = (
        "[...document.querySelectorAll('td, th, p, h1, h2, li')].filter(it => it.getBoundingClientRect().right > %d)"
    )
    assert page.evaluate(f"{cut_off % width}.length") == 0
    assert page.evaluate(CONTRAST) >= 4.5
    context.close()


CONTRAST = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map(it => it / 255)
      .map(it => it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (it) => {
    const color = getComputedStyle(it).backgroundColor;
    return color === 'rgba(0, 0, 0, 0)' && it.parentElement ? behind(it.parentElement) : color;
  };
  const ratios = [...document.querySelectorAll('td, th, p, h1, h2, li, a, span')]
    .filter(it => it.innerText.trim()).map(it => {
      const pair = [light(getComputedStyle(it).color), light(behind(it))];
      return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    });
  return Math.min(...ratios);
}"""
"""The least contrast of a text against what is behind it (WCAG 2.2)."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mail_brings_all_that_it_shows_and_says_the_same_as_text(mails: dict[str, EmailMessage], language: str):
    text, html, images = parts(mails[language])
    assert set(re.findall(r'src="([^"]*)"', html)) == {f"cid:{name}" for name in images}
    assert not re.search(r"<(script|link|iframe)|url\(|@import", html)
    for figure in ("713", "¥12,345,678", "99.93", "card_declined", "青山 太郎", "95.2"):
        assert figure in html and figure in text, figure
