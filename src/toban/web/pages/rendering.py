"""Pages of the console, rendered from templates: everything that is inserted is escaped."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.charts.svg import rectangles, sparkline
from toban.core.item_isolation import ItemIsolation
from toban.core.message_catalogue import LANGUAGES
from toban.core.number_format import Unit, format_money, format_value
from toban.core.terminal_escapes import escape_controls
from toban.web.compression import compress
from toban.web.endpoint import actor, permissions, principal
from toban.web.live_updates import live_state
from toban.web.pages.i18n import texts
from toban.web.pages.preferences import THEMES, Preferences
from toban.web.pages.translations import translate, translate_runbook, translate_service
from toban.web.static_files import address

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.runtime import Context, Macro
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "vary": "accept-encoding, accept-language, cookie",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""The headers of every page."""

REPORT_FAILURES: Final = "report_failures"
"""The name, in the application's state, of the function that reports the parts of a page that could not be shown."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page, and what pages may offer."""

    name: str
    """Empty where nobody is signed in."""
    role: str
    permissions: Collection[Permission]
    """What the role grants, also what takes the password again."""
    is_open: bool
    """Whether everybody on this machine may do everything: there is no user and no token."""


def viewer_of(request: Request) -> Viewer:
    """Return who looks at a page."""
    client, is_open = principal(request), bool(request.scope["state"].get("is_open"))
    if user := client.user:
        return Viewer(user.name, user.role, user.role.permissions, is_open)
    return Viewer("", "", client.permissions, is_open)


@cache
def _environment() -> "Environment":
    # Imported when somebody opens a page: toban that nobody looks at does not pay for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context

    found = Environment(
        loader=PackageLoader("toban.web.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals["static"] = address
    found.filters["time"] = pass_context(_time)
    found.filters["ago"] = pass_context(_ago)
    found.filters["left"] = pass_context(_left)
    found.filters["clock"] = pass_context(_clock)
    found.filters["value"] = pass_context(_value)
    found.filters["amount"] = pass_context(_amount)
    found.filters["localized"] = pass_context(_localized)
    found.filters["translated"] = pass_context(_translated)
    found.filters["of_runbook"] = pass_context(_of_runbook)
    found.filters["of_service"] = pass_context(_of_service)
    found.filters["web_link"] = _web_link
    found.globals["sparkline"] = sparkline
    found.globals["rectangles"] = rectangles
    return found


def _time(context: "Context", at: datetime | None) -> Markup | str:
    """Show a time in the reader's zone: the clock alone today, the date too otherwise; UTC on hover."""
    if at is None:
        return ""
    preferences: Preferences = context["preferences"]
    local, today = at.astimezone(preferences.zone), datetime.now(preferences.zone).date()
    day = "%Y/%m/%d" if preferences.language == "ja" else "%Y-%m-%d"
    text = local.strftime("%H:%M:%S" if local.date() == today else f"{day} %H:%M")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d %H:%M:%S} UTC", text
    )


def _ago(context: "Context", at: datetime | None) -> str:
    """Show how long ago a time was, in two units at most."""
    return "" if at is None else _value(context, max(0, round((datetime.now(UTC) - at).total_seconds())), "s")


def _left(context: "Context", at: datetime) -> str:
    """Show how long it is until a time, in two units at most."""
    return _value(context, max(0, round((at - datetime.now(UTC)).total_seconds())), "s")


def _clock(context: "Context", at: datetime) -> str:
    """Show the time of day alone, in the reader's zone."""
    return f"{at.astimezone(context['preferences'].zone):%H:%M}"


def _amount(context: "Context", value: float | None, currency: str = "") -> str:
    """Show a number of orders, or an amount of money in a currency."""
    language = context["preferences"].language
    return format_money(value, currency, language) if currency else format_value(value, Unit.SHORT, language)


def _translated(context: "Context", text: str) -> str:
    """Show what a command or the notification pipeline says, in the reader's language."""
    return translate(text, context["preferences"].language)


def _of_runbook(context: "Context", text: str) -> str:
    """Show what a runbook says, in the reader's language."""
    return translate_runbook(text, context["preferences"].language)


def _of_service(context: "Context", text: str) -> str:
    """Show what a service says of its health, in the reader's language."""
    return translate_service(text, context["preferences"].language)


def _localized(context: "Context", annotations: Mapping[str, str], name: str) -> str:
    """Return an annotation in the reader's language if there is one, else without."""
    return annotations.get(f"{name}_{context['preferences'].language}") or annotations.get(name, "")


def _web_link(text: str) -> str:
    """Return a link from outside, empty where it leads nowhere in the web: `javascript:` is none."""
    return text if text.startswith(("https://", "http://")) else ""


def _value(context: "Context", value: float | None, unit: str) -> str:
    return format_value(value, Unit(unit), context["preferences"].language)


@dataclass(frozen=True, slots=True)
class Translator:
    """The texts of a language, by key, with values filled in."""

    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> Markup:
        """Return a text as HTML; values are escaped unless they are HTML already."""
        text = Markup.escape(self.texts[key])
        return text.format(**{name: it if isinstance(it, Markup) else str(it) for name, it in values.items()})


def language_of(request: Request) -> str:
    """Return the language of a reader."""
    return Preferences.of(request).language


def script_texts(language: str, keys: Iterable[str]) -> str:
    """Return the texts that a script of a page shows, as JSON."""
    say = texts(language)
    return json.dumps({key: say[key] for key in keys}, ensure_ascii=False)


def page(request: Request, template: str, status: int = 200, **content: Any) -> Response:
    """
    Return a page, in the reader's language.

    A template renders what comes from outside, item by item, with ``part(name, macro, …)``: in the place of one that
    fails stands a note, and the failure is reported.
    """
    preferences, isolation = Preferences.of(request), ItemIsolation()
    say = texts(preferences.language)
    html = (
        _environment()
        .get_template(template)
        .render(
            say=say,
            t=Translator(say),
            preferences=preferences,
            languages=LANGUAGES,
            themes=THEMES,
            language=preferences.language,
            path=request.url.path,
            live_state=live_state(request),
            address=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            actor=actor(request),
            permissions=permissions(request),
            viewer=viewer_of(request),
            part=_isolated(isolation, say["unshown"]),
            **content,
        )
    )
    if report := getattr(request.app.state, REPORT_FAILURES, None):
        report(f"page {template}", isolation.failures)
    # Characters that hide or reverse text, and halves of surrogate pairs, are shown as what they are.
    body, headers = compress(request, escape_controls(html).encode())
    return Response(body, status, {**HEADERS, **headers}, media_type="text/html")


def _isolated(isolation: ItemIsolation, unshown: str) -> Callable[..., Markup]:
    def part(name: object, macro: "Macro", *arguments: object) -> Markup:
        with isolation.item("page part", str(name)):
            html: Markup = macro(*arguments)  # type: ignore[assignment]  # the stubs say str
            return html
        return Markup('<p class="error">{}</p>').format(unshown)

    return part
