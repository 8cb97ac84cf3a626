"""All routes of the whole program, by their declarations."""

import asyncio
import itertools
import re
from functools import cache
from tempfile import TemporaryDirectory

import httpx2
import pytest
from starlette.routing import Match

from toban.access import repository
from toban.access.accounts import CONFIRMED_FOR, Session, digest, new_secret
from toban.access.passwords import Passwords
from toban.access.permissions import Permission, Role
from toban.access.sessions import Client
from toban.access.sign_in_commands import SignInCommands
from toban.access.token_commands import TokenCommands
from toban.access.user_commands import UserCommands
from toban.core.actor import TOBAN
from toban.core.clock import SystemClock
from toban.core.metric_registry import MetricRegistry
from toban.daemon import open_daemon
from toban.settings import build_settings
from toban.web.credentials import COOKIE
from toban.web.endpoint import FORM, JSON, SAFE, Endpoint

PUBLIC = {
    "/health",
    "/health/readiness",
    "/health/liveness",
    "/-/healthy",
    "/-/ready",
    "/ready",
    "/static/{path:path}",
    "/preferences",
    "/status",
    "/api/oncall.ics",
    "/status.atom",
}
SIGNED = {
    "/hooks/github": JSON,
    "/hooks/slack": FORM,
    "/hooks/pagerduty": JSON,
    "/hooks/sentry": JSON,
    "/hooks/line": JSON,
    "/hooks/twilio": FORM,
}
"""What is public because its sender has no token of toban's: a signature of the body is checked instead."""
SIGN_IN = {"/sign-in", "/sign-in/oidc", "/sign-in/oidc/callback", "/sign-in/passkey", "/sign-out", "/welcome/{secret}"}
OWN_ACCOUNT = {
    "/account/password",
    "/account/passkeys/add",
    "/account/passkeys/remove",
    "/account/sessions/end",
    "/account/sessions/end-all",
}
"""What changes only the session and the account of whoever sends it."""
INCIDENT_COMMANDS = (
    *("acknowledge", "unacknowledge", "snooze", "note", "assign", "escalate", "priority", "resolve", "reopen"),
    *("merge", "split", "summary", "action-item", "edit-action-item", "delete-action-item", "tick", "untick"),
)
ON_CALL_COMMANDS = ("cover", "override", "swap", "take", "cancel", "feed")
MAINTENANCE_COMMANDS = ("start", "cancel")
RUNBOOK_COMMANDS = ("start", "approve", "refuse", "tick", "stop", "resume")
CHANGING = {
    *(f"/api/oncall/{command}" for command in ON_CALL_COMMANDS),
    *(f"/api/runbooks/{command}" for command in RUNBOOK_COMMANDS),
    *(f"/api/maintenance/{command}" for command in MAINTENANCE_COMMANDS),
    "/api/review/propose",
    "/api/backtests/start",
    "/api/backtests/cancel",
    "/api/incidents/declare",
    *(f"/api/incidents/{command}" for command in INCIDENT_COMMANDS),
    "/api/alerts/acknowledge",
    "/api/alerts/test",
    "/api/alerts/drill",
    "/api/silences",
    "/api/silences/expire",
    "/api/silences/extend",
    "/api/status-page/publish",
    "/api/status-page/update",
    "/api/v2/silences",
    "/api/v2/silence/{id}",
}
CHANGING_FORMS = {
    *(f"/oncall/act/{command}" for command in ON_CALL_COMMANDS),
    *(f"/runbooks/act/{command}" for command in RUNBOOK_COMMANDS),
    *(f"/maintenance/act/{command}" for command in MAINTENANCE_COMMANDS),
    "/review/act/propose",
    "/backtests/act/start",
    "/backtests/act/cancel",
    "/incidents/declare",
    *(f"/incidents/act/{command}" for command in INCIDENT_COMMANDS),
    "/alerts/acknowledge",
    "/channels/test",
    "/channels/drill",
    "/silences/create",
    "/status-page/publish",
    "/status-page/update",
    "/silences/extend",
    "/silences/expire",
}
LOG_LINES = {
    "/logs",
    "/api/logs",
    "/api/logs/histogram",
    "/logs/tail",
    "/loki/api/v1/query_range",
    "/loki/api/v1/query",
    "/loki/api/v1/labels",
    "/loki/api/v1/label",
    "/loki/api/v1/label/{name}/values",
    "/loki/api/v1/series",
    "/loki/api/v1/index/stats",
    "/loki/api/v1/index/volume",
    "/loki/api/v1/index/volume_range",
    "/loki/api/v1/detected_fields",
    "/loki/api/v1/tail",
}
CONFIGURING = {"/-/reload", "/api/quarantine/forget"}
ADMIN = {
    "/api/review/apply",
    "/review/act/apply",
    "/users",
    "/users/add",
    "/users/disable",
    "/users/enable",
    "/users/end-sessions",
    "/users/link",
    "/users/role",
    "/users/tokens/create",
    "/users/tokens/revoke",
    "/api/users",
    "/api/users/disable",
    "/api/users/enable",
    "/api/users/role",
    "/api/users/password",
    "/api/users/link",
    "/api/tokens",
    "/api/tokens/revoke",
    "/api/sessions",
    "/api/sessions/end",
    "/api/sessions/end-all",
    "/api/passkeys",
    "/api/passkeys/remove",
}
PUSHED = {
    "/api/deploys",
    "/v1/traces",
    "/v1/metrics",
    "/v1/logs",
    "/api/events",
    "/api/v1/write",
    "/api/logs",
    "/loki/api/v1/push",
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
    assert {route.path for route in routes if route.permission is Permission.PUBLIC} == PUBLIC | SIGN_IN | set(SIGNED)
    assert {route.path for route in routes if route.permission is Permission.ACT} == CHANGING | CHANGING_FORMS
    assert {route.path for route in routes if route.permission is Permission.CONFIGURE} == CONFIGURING
    assert {route.path for route in routes if route.permission is Permission.PUSH} == PUSHED
    assert {route.path for route in routes if route.permission is Permission.LOGS} == LOG_LINES
    assert {route.path for route in routes if route.permission is Permission.ADMIN} == ADMIN
    for route in routes:
        unsafe = route.methods - SAFE
        if route.path in SIGN_IN | OWN_ACCOUNT:
            assert not unsafe or (unsafe, route.takes) == ({"POST"}, FORM), route
        elif route.path in SIGNED:
            assert (unsafe, route.methods & SAFE, route.takes) == ({"POST"}, set(), SIGNED[route.path]), route
        elif route.permission in {Permission.PUBLIC, Permission.READ, Permission.LOGS}:
            # What is asked by POST only asks: by a form, as Prometheus has it.
            assert not unsafe or (unsafe, route.takes) == ({"POST"}, FORM), route
        elif route.permission is not Permission.ADMIN:
            assert not route.methods & SAFE, route
        if route.path in CHANGING_FORMS:
            assert (unsafe, route.takes) == ({"POST"}, FORM), route
        elif route.permission in {Permission.ACT, Permission.CONFIGURE}:
            assert route.takes == (JSON if "POST" in unsafe else frozenset()), route


GRANTED = {
    "nobody": {"public"},
    "viewer": {"public", "read"},
    "operator": {"public", "read", "logs", "act"},
    "admin": {"public", "read", "logs", "act", "push", "configure", "admin"},
    "admin whose password is old": {"public", "read", "logs", "act", "push", "configure"},
    "web.token": {"public", "read", "logs", "act", "push", "configure"},
    "API token to read": {"public", "read"},
    "API token to push": {"public", "push"},
}
"""Written by hand, so that a change of it is a decision."""

PASSWORD = "correct horse battery"


async def credentials(web, clock):
    """Return the headers of each client, after having made the users and tokens of the running toban."""
    service = web._sockets[0].app._credentials._access
    passwords = Passwords()
    users, tokens = UserCommands(service, passwords, clock), TokenCommands(service, clock)
    sign_in = SignInCommands(service, passwords, clock, MetricRegistry())
    shown = {"nobody": {}, "web.token": {"authorization": "Bearer hush"}}
    for role in Role:
        await users.add_user(f"the-{role}", role, PASSWORD, TOBAN)
        shown[role] = {"cookie": f"{COOKIE}={await sign_in.sign_in(f'the-{role}', PASSWORD, Client('::1'))}"}
    old = new_secret()
    now = clock.now()
    admin = service.accounts.user("the-admin").id
    session = Session(digest(old), admin, now, now, now - CONFIRMED_FOR)
    await service.change(lambda connection: repository.save_session(connection, session))
    shown["admin whose password is old"] = {"cookie": f"{COOKIE}={old}"}
    for scope in ("read", "push"):
        _, text = await tokens.create(scope, [Permission(scope)], None, TOBAN)
        shown[f"API token to {scope}"] = {"authorization": f"Bearer {text}"}
    passwords.close()
    return shown


async def test_each_role_and_token_reaches_the_routes_of_its_permissions_and_no_others(tmp_path):
    """
    Every route of the program. A request that is let through is one that the route refuses for another reason: a body
    of a wrong type, or a method that it does not have.
    """
    settings = build_settings(
        {"web": {"listen": "127.0.0.1:0", "token": "hush"}}, {"TOBAN_DATA": str(tmp_path / "data")}, "a test"
    )
    clock, wrong = SystemClock(), []
    async with open_daemon(settings, clock) as daemon:
        web = next(service for service in daemon.services if service.name == "web")
        network, routes = web._sockets[0].app, web._sockets[0].app.app.routes
        shown = await credentials(web, clock)
        assert set(shown) == set(GRANTED)
        paths = [route.path for route in routes]
        headers = {"origin": "http://localhost", "sec-fetch-site": "same-origin", "content-type": "text/plain"}
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(network), base_url="http://localhost", headers=headers
        ) as client:
            for (who, credential), route in itertools.product(shown.items(), routes):
                may = route.permission in GRANTED[who]
                path = re.sub(r"\{[^}]*\}", "x", route.path)
                for method in route.methods - {"HEAD"}:
                    sent = method
                    if method in SAFE and may:
                        if paths.count(route.path) > 1:
                            continue  # another route of the path would answer for the method that none has
                        sent = "PATCH"
                    status = (await client.request(sent, path, content="x", headers=credential)).status_code
                    expected = {405, 415} if may else {401} if who == "nobody" else {403}
                    if status not in expected:
                        wrong.append((who, method, route.path, status))
    assert wrong == []


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
