"""All routes of the whole program, by their declarations."""

import asyncio
from functools import cache
from tempfile import TemporaryDirectory

import pytest
from starlette.routing import Match

from toban.access.permissions import Permission
from toban.core.clock import SystemClock
from toban.daemon import open_daemon
from toban.settings import build_settings
from toban.web.endpoint import FORM, JSON, SAFE, Endpoint

PUBLIC = {"/health", "/health/readiness", "/health/liveness", "/-/healthy", "/-/ready"}
CHANGING = {
    "/api/alerts/acknowledge",
    "/api/alerts/test",
    "/api/alerts/drill",
    "/api/silences",
    "/api/silences/expire",
    "/api/v2/silences",
    "/api/v2/silence/{id}",
}
CONFIGURING = {"/-/reload", "/api/quarantine/forget"}
PUSHED = {
    "/v1/traces",
    "/v1/metrics",
    "/v1/logs",
    "/api/events",
    "/api/v1/write",
    "/api/v2/alerts",
    "/hooks/alertmanager",
    "/hooks/uptimerobot",
}


@pytest.fixture(scope="module")
def routes():
    return all_routes()


@cache
def all_routes():
    """Return the routes as the daemon puts them together."""

    async def found(folder):
        settings = build_settings({"web": {"listen": "127.0.0.1:0"}}, {"TOBAN_DATA": f"{folder}/data"}, "a test")
        async with open_daemon(settings, SystemClock()) as assembly:
            web = next(service for service in assembly.services if service.name == "web")
            return web._sockets[0].app.app.routes

    with TemporaryDirectory() as folder:
        return asyncio.run(found(folder))


def test_every_endpoint_declares_permission_and_body_limit(routes):
    """
    What is public and what changes something stands here in full: adding to it is a decision.
    """
    assert all(isinstance(route, Endpoint) for route in routes)
    assert {route.path for route in routes if route.permission is Permission.PUBLIC} == PUBLIC
    assert {route.path for route in routes if route.permission is Permission.ACT} == CHANGING
    assert {route.path for route in routes if route.permission is Permission.CONFIGURE} == CONFIGURING
    assert {route.path for route in routes if route.permission is Permission.PUSH} == PUSHED
    for route in routes:
        unsafe = route.methods - SAFE
        if route.permission in {Permission.PUBLIC, Permission.READ}:
            # What is asked by POST only asks: by a form, as Prometheus has it.
            assert not unsafe or (unsafe, route.takes) == ({"POST"}, FORM), route
        else:
            assert not route.methods & SAFE, route
        if route.permission in {Permission.ACT, Permission.CONFIGURE}:
            assert route.takes == (JSON if "POST" in unsafe else frozenset()), route


def test_no_endpoint_shadows_another(routes):
    """
    Each is the first that fits its own address and method.
    """
    for route in routes:
        for method in route.methods:
            path = route.path.replace("{", "").replace("}", "")
            scope = {"type": "http", "method": method, "path": path, "headers": []}
            first = next(it for it in routes if it.matches(scope)[0] is Match.FULL)
            assert first is route, (route.path, method)
