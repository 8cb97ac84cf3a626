"""Backups that others make: pgBackRest's, and Fly's snapshots."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx2
import pytest
from pydantic import SecretStr, ValidationError

from tests.fake_http import FakeService, ReceivedRequest, Reply, broken
from tests.fakes import FakeClock
from toban.maintenance.backups import pgbackrest
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.task import TaskTools
from toban.maintenance.tasks.backup_check import NEWEST, PROBLEMS, BackupCheck
from toban.shop.backup_settings import BackupSettings
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings

NOW = datetime(2026, 11, 20, 6, tzinfo=UTC)


def tools(folder: Path, http: httpx2.AsyncClient, **shop: object) -> TaskTools:
    settings = ShopSettings.model_validate(shop)
    return TaskTools(http, FakeClock(NOW), ShopConnections(settings=settings), None, ZoneInfo("UTC"), folder)  # type: ignore[arg-type]  # nothing is queried


def info(code: int = 0, message: str = "ok", *labels: tuple[str, int, bool]) -> bytes:
    backups = [
        {"label": label, "timestamp": {"start": at - 60, "stop": at}, "info": {"size": 10**9}, "error": error}
        for label, at, error in labels
    ]
    return json.dumps([{"name": "shop", "status": {"code": code, "message": message}, "backup": backups}]).encode()


def test_backups_of_pgbackrest_are_read_and_those_with_errors_left_out():
    found = pgbackrest.parse(info(0, "ok", ("F", 2000, False), ("I", 1000, False), ("B", 3000, True)), "shop")
    assert [(it.name, it.time.timestamp(), it.size) for it in found] == [("I", 1000, 10**9), ("F", 2000, 10**9)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"x", "does not print JSON"),
        (b"[]", "pgBackRest has no stanza shop"),
        (info(2, "no valid backups"), "pgBackRest says of shop: no valid backups"),
    ],
)
def test_what_pgbackrest_finds_wrong_is_said(body: bytes, said: str):
    with pytest.raises(BackupError, match=said):
        pgbackrest.parse(body, "shop")


async def test_pgbackrest_is_run_without_toban_s_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "pgbackrest"
    stop = int((NOW - timedelta(hours=30)).timestamp())
    program.write_text(
        f'#!/bin/sh\n[ "$*" = \'--stanza=shop --output=json info\' ] || exit 1\n[ -z "$SECRET" ] || exit 2\n'
        f"cat <<'E'\n{info(0, 'ok', ('F', stop, False)).decode()}\nE\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SECRET", "x")
    async with httpx2.AsyncClient() as http:
        task = BackupCheck(pgbackrest_stanza="shop")
        plan = await task.plan(tools(tmp_path, http))
        assert [it.text for it in plan.findings] == [
            "pgBackRest shop: the newest backup, F, is 1 d 6 h old, at most 1 d 2 h are allowed"
        ]
        monkeypatch.setenv("PATH", "/nonexistent")
        plan = await task.plan(tools(tmp_path, http))
        assert [(it.name, it.remedy) for it in plan.findings] == [
            (Problem.NO_PROGRAM, "toban must run where pgBackRest is")
        ]
        assert plan.figures[PROBLEMS.name] == 1


class Volumes(FakeService):
    """Fly's API, as far as volumes and their snapshots go."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshots: list[dict[str, object]] = []
        self.tokens: set[str] = set()

    def respond(self, received: ReceivedRequest) -> Reply:
        self.tokens.add(received.headers["authorization"])
        if received.path.endswith("/volumes"):
            found: object = [{"id": "vol_1", "name": "pg_data"}] if "/shop-db/" in received.path else []
        elif received.path == "/v1/apps/shop-db/volumes/vol_1/snapshots":
            found = self.snapshots
        else:
            return Reply(404, b"{}", "application/json")
        return Reply(200, json.dumps(found).encode(), "application/json")


def snapshot(id: str, hours: float, status: str = "created") -> dict[str, object]:
    at = (NOW - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
    return {"id": id, "size": 12345, "created_at": at, "status": status}


async def test_snapshots_at_fly_count_when_they_are_complete(tmp_path: Path):
    async with Volumes() as fly, httpx2.AsyncClient() as http:
        fly.snapshots = [snapshot("", 0.1, "running"), snapshot("vs_2", 5), snapshot("vs_1", 29)]
        own = tools(tmp_path, http, fly_token=SecretStr("fm2_x"), fly_api=fly.url)
        plan = await BackupCheck(fly_apps=("shop-db",)).plan(own)
        assert (list(plan.findings), list(plan.steps)) == ([], [])
        assert plan.figures[NEWEST.name] == (NOW - timedelta(hours=5)).timestamp()
        assert fly.tokens == {"FlyV1 fm2_x"}
        fly.snapshots = [snapshot("", 0.1, "running"), snapshot("vs_1", 29)]
        plan = await BackupCheck(fly_apps=("shop-db",)).plan(own)
        assert [it.text for it in plan.findings] == [
            "volume vol_1 of shop-db: the newest backup, vs_1, is 1 d 5 h old, at most 1 d 2 h are allowed"
        ]


async def test_an_app_without_volumes_and_a_fly_that_fails_are_findings(tmp_path: Path):
    async with Volumes() as fly, httpx2.AsyncClient() as http:
        own = tools(tmp_path, http, fly_token=SecretStr("fm2_x"), fly_api=fly.url)
        plan = await BackupCheck(fly_apps=("shop-web",)).plan(own)
        assert [it.text for it in plan.findings] == ["the app shop-web has no volume at Fly.io"]
        fly.next(broken)
        plan = await BackupCheck(fly_apps=("shop-db",)).plan(own)
        assert plan.figures[PROBLEMS.name] == 1
        assert plan.findings[0].text.startswith("Fly.io: GET /v1/apps/shop-db/volumes: ")


def test_fly_apps_need_a_token():
    said = BackupCheck(fly_apps=("a",)).not_configured(ShopSettings())
    assert said.startswith("shop.fly_token is not set")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "set either `path` or `bucket`"),
        ({"path": "/b", "recipients": ["AGE-SECRET-KEY-1QQ"]}, "it is a private key: set the public one"),
        ({"path": "/b", "recipients": ["age1xyz"]}, "invalid public key of age: it is cut off"),
        ({"path": "/b", "prefix": "../x"}, "String should match pattern"),
    ],
)
def test_settings_of_backups_that_can_not_work_are_refused(fields: dict[str, object], said: str):
    with pytest.raises(ValidationError, match=said):
        BackupSettings.model_validate(fields)
