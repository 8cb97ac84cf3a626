"""Whether the browser has looked at every page that there is."""

from starlette.routing import Match

from tests.browser import test_pages, test_review
from tests.integration.test_routes import all_routes

OF_USERS = ["/sign-in", "/welcome/secret", "/account", "/users"]
"""What `test_sign_in.py` looks at."""
NO_PAGES = {
    "/incidents/{number}/report",
    "/status.atom",
    "/sign-in/oidc",
    "/sign-in/oidc/callback",
    "/sign-in/passkey",
    "/account/passkeys",
    "/graph",
}
"""What belongs to pages and is none: files, redirects, options of passkeys."""


def test_every_page_is_looked_at_by_a_browser():
    """
    Those that the program has, as the daemon puts them together.
    """
    looked_at = [it.partition("?")[0] for it in (*test_pages.PAGES, *test_review.PATHS, *OF_USERS)]
    pages = [it for it in all_routes() if "GET" in it.methods and it.endpoint.__module__.startswith("toban.web.pages.")]
    assert len(pages) > 30
    scopes = [{"type": "http", "method": "GET", "path": path, "headers": []} for path in looked_at]
    missed = {it.path for it in pages if not any(it.matches(scope)[0] is Match.FULL for scope in scopes)}
    assert missed == NO_PAGES
