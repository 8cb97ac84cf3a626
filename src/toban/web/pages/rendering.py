"""Pages of the console, rendered from templates: everything that is inserted is escaped."""

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response

from toban.web.pages.i18n import negotiate_language, texts
from toban.web.static_files import address

if TYPE_CHECKING:
    from jinja2 import Environment

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "vary": "accept-language",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""The headers of every page."""


@cache
def _environment() -> "Environment":
    # Imported when somebody opens a page: toban that nobody looks at does not pay for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("toban.web.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals["static"] = address
    return found


def language_of(request: Request) -> str:
    """Return the language of a reader."""
    return negotiate_language(request.headers.get("accept-language", ""))


def page(request: Request, template: str, status: int = 200, **content: Any) -> Response:
    """Return a page, in the reader's language."""
    language = language_of(request)
    found = _environment().get_template(template)
    html = found.render(say=texts(language), language=language, path=request.url.path, **content)
    return Response(html, status, HEADERS, media_type="text/html")
