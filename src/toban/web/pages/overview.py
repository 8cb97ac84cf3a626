"""The first page: the status of the shop, its targets and toban."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.collect.service import TargetStatus
from toban.core.alerts import Alert, AlertStatus, priority
from toban.core.config_types import format_duration
from toban.core.item_isolation import ItemIsolation
from toban.core.ports import HealthState
from toban.health.checks import UnavailableCheck
from toban.health.service import CheckResult
from toban.web.api.status import Overview, StatusApi, remedy
from toban.web.endpoint import Endpoint, Permission
from toban.web.pages.i18n import negotiate_language, texts
from toban.web.static_files import address

POLICY: Final = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
LINKS: Final = {
    "/dashboards": "dashboards",
    "/health": "terminus",
    "/metrics": "metrics",
    "/api/v1/query?query=up": "query",
    "/-/healthy": "own",
}


class OverviewPage:
    """Shows the same as `toban status`; the page needs no script and reloads itself."""

    def __init__(self, status: StatusApi) -> None:
        self._status = status

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/", self.show, Permission.READ)]

    async def show(self, request: Request) -> Response:
        """Show the status of everything, in the reader's language."""
        language = negotiate_language(request.headers.get("accept-language", ""))
        parts = PageParts(texts(language)["unshown"])
        html = "".join(_html(await self._status.overview(), texts(language), language, parts))
        self._status.report("page", parts)
        headers = {"content-security-policy": POLICY, "cache-control": "no-store", "vary": "accept-language"}
        return Response(html, headers={**headers, "x-content-type-options": "nosniff"}, media_type="text/html")


class PageParts(ItemIsolation):
    """Parts of a page: in the place of one that fails stands a note."""

    def __init__(self, unshown: str) -> None:
        super().__init__()
        self._unshown = unshown

    def part(self, name: str, written: Iterable[str]) -> str:
        """Return the HTML of a part."""
        with self.item("page part", name):
            html = "".join(written)
            html.encode()
            return html
        return f'<span class="unhealthy">{self._unshown}</span>'


def _html(overview: Overview, say: Mapping[str, str], language: str, parts: PageParts) -> Iterable[str]:
    yield f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{say["title"]}</title>'
    yield '<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="15">'
    yield f'<link rel="stylesheet" href="{address("toban.css")}">'
    yield f"<header><h1>{say['title']}</h1>{_overall(overview, say)}</header>"
    yield parts.part("alerts", _alerts(overview, say, language, parts))
    yield parts.part("shop", _shop(overview, say))
    yield f"<h2>{say['targets']}</h2><table><thead><tr>"
    yield "".join(f"<th>{say[word]}" for word in ("target", "instance", "state", "last-scrape", "duration", "samples"))
    yield "</thead><tbody>"
    for target in overview.targets:
        yield parts.part(f"target {target.name}", _row(target, say))
    yield f"</tbody></table><h2>{say['health']}</h2><ul>"
    for check in overview.health:
        yield parts.part(f"health {check.name}", _check(check, say))
    yield f"</ul><h2>{say['not-monitored']}</h2><ul class=faint>"
    yield parts.part("not monitored", _not_monitored(overview, say))
    yield f"</ul><h2>{say['toban']}</h2><ul>"
    for name, status in overview.services:
        yield parts.part(f"service {name}", [f"<li>{escape(name)} {_marked(status.state, escape(status.message))}"])
    yield f"</ul><h2>{say['pages']}</h2><ul>"
    yield "".join(f'<li><a href="{escape(path)}">{escape(path)}</a> {say[word]}' for path, word in LINKS.items())
    about = overview.about
    since = say["since"].format(
        version=toban.__version__, since=about.started.strftime("%Y-%m-%d %H:%M UTC"), data=about.data
    )
    yield f"</ul><footer>{escape(since)}</footer></html>"


def _check(result: CheckResult, say: Mapping[str, str]) -> Iterable[str]:
    reason = f": {escape(result.message)}" if result.message else ""
    yield f"<li>{escape(result.name)} {_state(result.up, say['up'], say['down'] + reason)}"


def _not_monitored(overview: Overview, say: Mapping[str, str]) -> Iterable[str]:
    """Show checks and metrics that are missing, and what enables them."""
    for check in overview.unavailable:
        yield f"<li>{escape(check.name)}: {escape(_enable_with(check, say))}"
    for missing in overview.missing if overview.figures else ():
        yield f"<li>{say[f'known-{missing.key}']}: {escape(say['enable-with'].format(ways=remedy(missing, say)))}"


def _alerts(overview: Overview, say: Mapping[str, str], language: str, parts: PageParts) -> Iterable[str]:
    """Show what fires and what is pending."""
    if not overview.alerts:
        return
    is_firing = any(alert.status is AlertStatus.FIRING for alert in overview.alerts)
    yield f"<h2>{say['alerts' if is_firing else 'pending']}</h2><ul{' class=alerts' if is_firing else ''}>"
    for alert in sorted(overview.alerts, key=lambda it: it.status is not AlertStatus.FIRING):
        suppressed = overview.suppressed.get(alert.fingerprint, ())
        yield parts.part(f"alert {alert.name}", _alert(alert, suppressed, say, language))
    yield "</ul>"


def _alert(alert: Alert, suppressed: Sequence[str], say: Mapping[str, str], language: str) -> Iterable[str]:
    summary = escape(alert.annotation("summary", language) or alert.name)
    is_firing = alert.status is AlertStatus.FIRING
    yield f"<li>{_state(False, '', f'<b>{summary}</b>') if is_firing else f'<span class=faint>◌ {summary}</span>'}"
    since = say["fires-since" if is_firing else "pends-since"].format(since=f"{alert.starts:%m-%d %H:%M} UTC")
    parts = [f"{priority(alert.labels)} {alert.name}", since]
    if value := alert.annotation("value", language):
        limit = alert.annotation("limit", language)
        parts.append(say["of-limit"].format(value=value, limit=limit) if limit else value)
    if alert.acknowledged:
        parts.append(say["acknowledged"].format(by=alert.acknowledged.by))
    parts += suppressed
    yield f"<div class=faint>{escape(' · '.join(parts))}</div>"
    if is_firing and (action := alert.annotation("action", language)):
        yield f"<div>{escape(action)}</div>"


def _shop(overview: Overview, say: Mapping[str, str]) -> Iterable[str]:
    """Show the key figures of the shop, as far as they are known."""
    if not overview.figures:
        return
    yield f"<h2>{say['shop']}</h2><dl>"
    for figure in overview.figures:
        of = f" <span class=faint>{escape(figure.of)}</span>" if figure.of else ""
        yield f"<div><dt>{say[f'figure-{figure.key}']}{of}<dd>{figure.text}</div>"
    yield "</dl>"


def _enable_with(check: UnavailableCheck, say: Mapping[str, str]) -> str:
    return say["enable-with"].format(ways=say["source-plain"] if check.source else check.setting)


def _overall(overview: Overview, say: Mapping[str, str]) -> str:
    state = _marked(overview.state, say[f"state-{overview.state.replace(' ', '-')}"])
    return state if overview.notified else f"{state} {_marked(HealthState.NOT_CONFIGURED, say['nobody-notified'])}"


def _marked(state: HealthState, text: str) -> str:
    """Return text with the mark of a state."""
    return f'<span class="{state.replace(" ", "-")}">{text}</span>'


def _state(up: bool, text_up: str, text_down: str) -> str:
    return _marked(HealthState.HEALTHY, text_up) if up else _marked(HealthState.UNHEALTHY, text_down)


def _row(target: TargetStatus, say: Mapping[str, str]) -> Iterable[str]:
    yield f"<tr><td>{escape(target.name)}<td>{escape(target.labels['instance'])}<td>"
    if target.state is HealthState.NO_DATA:
        yield f"{_marked(HealthState.NO_DATA, say['waiting'])}<td><td><td></tr>"
        return
    error = f": {escape(target.error)}" if target.error else ""
    yield _state(target.up, say["up"], say["down"] + error)
    interval = say["every"].format(every=format_duration(timedelta(seconds=target.interval)))
    yield f"<td class=number>{f'{target.at:%H:%M:%S}' if target.at else ''} <span class=faint>{interval}</span>"
    yield f"<td class=number>{target.seconds * 1000:.0f} ms<td class=number>{target.samples}</tr>"
