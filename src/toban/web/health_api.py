"""The health of the shop in Terminus format, and the health of toban itself."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toban.access.permissions import Permission
from toban.core.item_isolation import health_by_service
from toban.core.ports import HealthStatus, Service
from toban.health.checks import Endpoints
from toban.health.service import CheckResult, HealthService
from toban.web.endpoint import Endpoint, is_trusted
from toban.web.json_response import JsonResponse

NO_CACHE = {"cache-control": "no-cache, no-store, must-revalidate"}


def terminus(results: Sequence[CheckResult], *, detailed: bool) -> tuple[int, dict[str, Any]]:
    """
    Return the status code and the body in the format of @nestjs/terminus.

    Without ``detailed`` it has names and states only.
    """

    def part(chosen: Iterable[CheckResult]) -> dict[str, Any]:
        return {
            result.name: {"status": "up" if result.up else "down"}
            | ({"message": result.message} if result.message and detailed else {})
            for result in chosen
        }

    is_healthy = all(result.up for result in results)
    return 200 if is_healthy else 503, {
        "status": "ok" if is_healthy else "error",
        "info": part(result for result in results if result.up),
        "error": part(result for result in results if not result.up),
        "details": part(results),
    }


def routes(health: HealthService, services: Sequence[Service]) -> list[Endpoint]:
    """Return the routes of both."""

    def shop(part: Endpoints) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            code, body = terminus(await health.results(part), detailed=is_trusted(request))
            return JsonResponse(body, code, NO_CACHE)

        return respond

    async def healthy(request: Request) -> Response:
        return toban_health(dict(health_by_service(services)), detailed=is_trusted(request))

    async def ready(request: Request) -> Response:
        return PlainTextResponse("toban is ready.\n", headers=NO_CACHE)

    return [
        Endpoint("/health", shop(Endpoints.HEALTH), Permission.PUBLIC),
        Endpoint("/health/readiness", shop(Endpoints.READINESS), Permission.PUBLIC),
        Endpoint("/health/liveness", shop(Endpoints.LIVENESS), Permission.PUBLIC),
        Endpoint("/-/healthy", healthy, Permission.PUBLIC),
        Endpoint("/-/ready", ready, Permission.PUBLIC),
    ]


def toban_health(parts: dict[str, HealthStatus], *, detailed: bool) -> Response:
    """Return the health of toban, a line for each of its parts."""
    is_healthy = all(status.ok for status in parts.values())
    lines = ["toban is healthy." if is_healthy else "toban is unhealthy."]
    if detailed:
        lines += [f"[{'+' if it.ok else '-'}] {name}: {it.message}" for name, it in parts.items()]
    return PlainTextResponse("\n".join(lines) + "\n", 200 if is_healthy else 503, NO_CACHE)
