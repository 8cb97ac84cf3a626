"""The collector `sentry`: unresolved issues, by Sentry's API (https://docs.sentry.io/api/events/)."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from pydantic import Field, StringConstraints

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.rest_client import RestClient
from toban.collect.tools import HasHttp
from toban.core.config_types import Address, Duration, Secret
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.core.untyped_json import as_mapping, as_time

LABELS: Final = ("project", "level")
UNRESOLVED: Final = gauge("sentry_unresolved_issues", "Unresolved issues.", labels=LABELS)
NEW: Final = gauge("sentry_new_issues", "Unresolved issues that were first seen in the last 24 hours.", labels=LABELS)
COMPLETE: Final = gauge(
    "sentry_issues_complete", "Whether all issues are counted (1), or the newest alone because there are too many (0)."
)

LEVELS: Final = ("fatal", "error", "warning", "info", "debug")
NEW_WITHIN: Final = timedelta(hours=24)

PAGE: Final = 100
"""Issues in one response, as many as Sentry allows."""

MAX_PAGES: Final = 10
"""Pages that are read of each project, or of all of them where none is named."""

_LINK: Final = re.compile(r'<([^<>\s]{1,2000})>((?:\s{0,3};\s{0,3}\w{1,20}="[^"]{0,200}"){0,10})')

Slug = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,100}$")]


class Issue(NamedTuple):
    """What is counted of an issue."""

    project: str
    level: str
    first_seen: datetime | None


class Sentry(Collector):
    """
    Count the unresolved issues at Sentry, by project and level; those that are new, too.

    Sentry's webhook may post alerts to `/hooks/sentry`, which is faster (docs/sentry.md).
    """

    kind: Literal["sentry"] = "sentry"

    interval: Duration = timedelta(minutes=5)

    token: Secret
    """An auth token with the scopes `event:read` and `org:read`."""

    organization: Slug
    """The slug of the organization, as in its address."""

    projects: Annotated[tuple[Slug, ...], Field(max_length=20)] = ()
    """Slugs of the projects, at most 20; by default all, with the issues of the last 90 days."""

    api: Address = "https://sentry.io/api/0"
    """Base address of the API: `https://de.sentry.io/api/0` for data in Europe."""

    @property
    def default_instance(self) -> str:
        """The API's host."""
        return urlsplit(self.api).netloc

    def open(self, tools: HasHttp) -> Scraper:
        """Keep the API client."""
        return SentryScraper(self, tools)


class SentryScraper(Scraper):
    """Reads the API."""

    def __init__(self, collector: Sentry, tools: HasHttp) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._api = RestClient(tools, "Sentry", "use a token with the scopes event:read and org:read")

    async def collect(self) -> ScrapeResult:
        """Count the issues, of each project the newest ones up to `MAX_PAGES` pages."""
        organization, projects = self._collector.organization, self._collector.projects
        if not projects:
            # The period selects issues here, and only their statistics for a project.
            read = [await self._issues(f"organizations/{organization}/issues/", "90d")]
        else:
            read = [await self._issues(f"projects/{organization}/{it}/issues/", "14d") for it in projects]
        issues = [issue for found, _ in read for issue in found]
        samples = issue_samples(issues, projects, self._clock.now() - NEW_WITHIN)
        return ScrapeResult([*samples, COMPLETE.sample(all(is_complete for _, is_complete in read))])

    async def _issues(self, path: str, period: str) -> tuple[list[Issue], bool]:
        """Return issues, and whether these are all."""
        name, api, found = self._collector.name, self._collector.api, list[Issue]()
        query = {"query": "is:unresolved", "sort": "new", "limit": PAGE, "statsPeriod": period}
        url, context = f"{api}/{path}?{urlencode(query)}", f"{name}: GET {api}/{path}"
        headers = {"authorization": f"Bearer {self._collector.token.get_secret_value()}"}
        for _ in range(MAX_PAGES):
            response = await self._api.fetch(context, "GET", url, headers)
            page = self._api.content(context, response)
            if not isinstance(page, list):
                raise CollectError(f"{context}: the response is no list of issues")
            found += map(parse_issue, page)
            following = next_page(response.headers.get("link", ""))
            if not following:
                return found, True
            url = urljoin(url, following)
            if urlsplit(url)[:2] != urlsplit(api)[:2]:
                raise CollectError(
                    f"{context}: the next page is on another host, {urlsplit(url).netloc}: not requested"
                )
        return found, False


def next_page(link: str) -> str:
    """Return the URL of the next page in a `Link` header; empty on the last page, whose next one has no results."""
    for found in _LINK.finditer(link):
        if 'rel="next"' in found[2] and 'results="true"' in found[2]:
            return found[1]
    return ""


def parse_issue(issue: object) -> Issue:
    """Return what is counted of an issue."""
    fields = as_mapping(issue)
    level = fields.get("level")
    return Issue(
        str(as_mapping(fields.get("project")).get("slug", ""))[:100],
        str(level) if level in LEVELS else "other",
        as_time(fields.get("firstSeen")),
    )


def issue_samples(issues: Sequence[Issue], projects: Sequence[str], since: datetime) -> Iterator[Sample]:
    """Yield the counts of each project by level, also those that are zero."""
    unresolved = Counter((it.project, it.level) for it in issues)
    new = Counter((it.project, it.level) for it in issues if it.first_seen and it.first_seen >= since)
    named = {*projects, *(it.project for it in issues)}
    for project, level in sorted({(project, level) for project in named for level in LEVELS} | unresolved.keys()):
        yield UNRESOLVED.sample(unresolved[project, level], project=project, level=level)
        yield NEW.sample(new[project, level], project=project, level=level)
