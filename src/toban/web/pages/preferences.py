"""How somebody reads the console: in which language, time zone and theme."""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from toban.access.permissions import Permission
from toban.core.message_catalogue import LANGUAGES
from toban.web.endpoint import FORM, Endpoint
from toban.web.pages.i18n import negotiate_language

THEMES: Final = ("system", "light", "dark")
TIMEZONE: Final = "timezone"
"""The name, in the application's state, of the time zone of readers whose browser has not said one."""

COOKIE: Final = "toban_{name}"
START_PAGE: Final = "/"
"""The page to go on with, unless another one led to a form."""
YEAR: Final = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of a reader: from cookies, else what the browser says."""

    language: str
    timezone: str
    theme: str

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return the preferences of whoever sends a request."""
        cookies = {name: request.cookies.get(COOKIE.format(name=name), "") for name in cls.__slots__}
        return cls(
            cookies["language"]
            if cookies["language"] in LANGUAGES
            else negotiate_language(request.headers.get("accept-language", "")),
            cookies["timezone"] if _is_zone(cookies["timezone"]) else _default_timezone(request),
            cookies["theme"] if cookies["theme"] in THEMES else THEMES[0],
        )

    @property
    def zone(self) -> ZoneInfo:
        """The time zone; a browser says its own by a script."""
        return ZoneInfo(self.timezone)


def _default_timezone(request: Request) -> str:
    app = request.scope.get("app")
    return str(getattr(app.state, TIMEZONE, "UTC")) if app else "UTC"


def _is_zone(name: str) -> bool:
    try:
        return bool(name) and bool(ZoneInfo(name))
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return False


def local_path(text: str) -> str:
    """
    Return a path of toban to go on with; the first page where a text could lead to another site.

    That is what browsers, or a proxy that decodes or joins paths, would take for `//another-site`.
    """
    decoded = text
    for _ in range(3):
        parts = urlsplit(decoded)
        is_local = decoded.startswith("/") and decoded[1:2] not in {"/", "\\"} and not parts.scheme and not parts.netloc
        if not is_local or not decoded.isprintable() or "\\" in parts.path:
            return START_PAGE
        decoded = unquote(decoded)
    return text


class PreferencesPage:
    """Stores preferences in cookies."""

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/preferences", self.store, Permission.PUBLIC, methods=["POST"], takes=FORM, largest=4096)]

    async def store(self, request: Request) -> Response:
        """Store what a form chooses, and go back to where it was sent."""
        chosen = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        response = RedirectResponse(local_path(chosen.get("back", "/")), 303)
        valid = {"language": LANGUAGES, "theme": THEMES}
        for name, values in valid.items():
            if chosen.get(name) in values:
                response.set_cookie(COOKIE.format(name=name), chosen[name], max_age=YEAR, samesite="lax")
        return response
