"""The shop's health in Terminus' JSON, and toban's own."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toban.core.item_isolation import health_by_service
from toban.core.ports import HealthStatus, Service
from toban.health.checks import Endpoints
from toban.health.service import CheckResult, HealthService
from toban.web.endpoint import Endpoint, Permission, is_trusted
from toban.web.json_response import JsonResponse

FRESH = {"cache-control": "no-cache, no-store, must-revalidate"}


def terminus(findings: Sequence[CheckResult], *, detailed: bool) -> tuple[int, dict[str, Any]]:
    """
    Return the status code and the body as @nestjs/terminus writes them.

    Who is not trusted learns names and states, nothing more.
    """

    def part(chosen: Iterable[CheckResult]) -> dict[str, Any]:
        return {
            finding.name: {"status": "up" if finding.up else "down"}
            | ({"message": finding.message} if finding.message and detailed else {})
            for finding in chosen
        }

    well = all(finding.up for finding in findings)
    return 200 if well else 503, {
        "status": "ok" if well else "error",
        "info": part(finding for finding in findings if finding.up),
        "error": part(finding for finding in findings if not finding.up),
        "details": part(findings),
    }


def routes(health: HealthService, services: Sequence[Service]) -> list[Endpoint]:
    """Return the routes for both."""

    def shop(part: Endpoints) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            code, body = terminus(await health.results(part), detailed=is_trusted(request))
            return JsonResponse(body, code, FRESH)

        return answer

    async def healthy(request: Request) -> Response:
        return own_health(dict(health_by_service(services)), detailed=is_trusted(request))

    async def ready(request: Request) -> Response:
        return PlainTextResponse("toban is ready.\n", headers=FRESH)

    return [
        Endpoint("/health", shop(Endpoints.HEALTH), Permission.PUBLIC),
        Endpoint("/health/readiness", shop(Endpoints.READINESS), Permission.PUBLIC),
        Endpoint("/health/liveness", shop(Endpoints.LIVENESS), Permission.PUBLIC),
        Endpoint("/-/healthy", healthy, Permission.PUBLIC),
        Endpoint("/-/ready", ready, Permission.PUBLIC),
    ]


def own_health(parts: dict[str, HealthStatus], *, detailed: bool) -> Response:
    """Return toban's own state, a line for each part of it."""
    well = all(condition.ok for condition in parts.values())
    lines = ["toban is well." if well else "toban is not well."]
    if detailed:
        lines += [f"[{'+' if it.ok else '-'}] {name}: {it.message}" for name, it in parts.items()]
    return PlainTextResponse("\n".join(lines) + "\n", 200 if well else 503, FRESH)
