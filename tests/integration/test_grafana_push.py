"""Dashboards that are pushed to a Grafana."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests import program
from tests.fake_grafana import FakeGrafana
from tests.fake_http import Fault, broken, busy, half, late, reset, unchanged
from tests.fork_server import base_environment
from tests.program import TOBAN
from toban.dashboards import grafana_client
from toban.dashboards.board_loader import shipped_boards
from toban.dashboards.grafana_client import GrafanaClient, GrafanaError
from toban.dashboards.grafana_export import dashboard

DASHBOARDS = [dashboard(board) for board in shipped_boards()]


@pytest.fixture
async def grafana() -> AsyncIterator[FakeGrafana]:
    async with FakeGrafana() as running:
        yield running


async def push(grafana: FakeGrafana, token: str = FakeGrafana.token) -> list[str]:
    async with httpx2.AsyncClient() as http:
        return await GrafanaClient(grafana.url + "/", token, http).push(DASHBOARDS)


async def test_dashboards_are_created_and_then_updated(grafana):
    """
    Into toban's folder, under stable uids: pushing again makes no second copy.
    """
    addresses = await push(grafana)
    assert addresses == [f"{grafana.url}/d/{it['uid']}/x" for it in DASHBOARDS]
    assert grafana.folders == {"toban": "toban"}
    await push(grafana)
    assert sorted(grafana.dashboards) == sorted(it["uid"] for it in DASHBOARDS)
    assert {it["version"] for it in grafana.dashboards.values()} == {2}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (busy(7), "answered 429: slow down: try again in 7 s"),
        (broken, "refused the folder: answered 500"),
        (reset, "can't be reached"),
        (half, "can't be reached"),
        (late, "did not respond within 0.2 s"),
    ],
    ids=lambda it: it.name if isinstance(it, Fault) else "",
)
async def test_a_grafana_in_trouble_is_named_with_what_it_did(grafana, fault, message, monkeypatch):
    """
    And with its address.
    """
    monkeypatch.setattr(grafana_client, "TIMEOUT", 0.2 if fault is late else 15.0)
    grafana.next(fault)
    with pytest.raises(GrafanaError) as caught:
        await push(grafana)
    assert grafana.url in str(caught.value)
    assert message.replace("slow down: ", "") in str(caught.value)


async def test_a_success_that_stored_nothing_is_an_error(grafana):
    """
    The dashboard is looked up afterwards.
    """
    grafana.folders["toban"] = "toban"
    grafana.next(unchanged, unchanged)
    with pytest.raises(GrafanaError, match="accepted the dashboard 'APIs', but does not have it"):
        await push(grafana)


async def test_a_refused_token_and_a_provisioned_dashboard_have_a_remedy(grafana):
    """
    The token itself is not in the message.
    """
    with pytest.raises(GrafanaError, match=r"answered 401: Invalid API key: .*service account") as caught:
        await push(grafana, "glsa_wrong")
    assert "glsa_wrong" not in str(caught.value)
    with pytest.raises(GrafanaError, match=r"answered 403: .*role Editor"):
        await push(grafana, FakeGrafana.viewer)
    grafana.provisioned.add(DASHBOARDS[0]["uid"])
    with pytest.raises(GrafanaError, match="Cannot save provisioned dashboard: it is provisioned from a file"):
        await push(grafana)


async def test_the_command_pushes_and_writes_files(grafana, tmp_path: Path):
    """
    With the token of the environment; without one it says which is missing.
    """

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = [*TOBAN, "export", "grafana", *arguments]
        return program.run(command, {**base_environment(), **environment}, tmp_path)

    written = await asyncio.to_thread(run, "out", "--language", "ja", "--schema", "42")
    assert written.returncode == 0, written.stderr
    assert "Wrote out/dashboards/toban-production.json." in written.stdout
    assert '"title": "販売"' in (tmp_path / "out" / "dashboards" / "toban-commerce.json").read_text(encoding="utf-8")
    assert (await asyncio.to_thread(run, "out")).returncode == 2
    missing = await asyncio.to_thread(run, "--push", grafana.url)
    assert missing.returncode == 2
    assert "GRAFANA_TOKEN is not set" in missing.stderr
    pushed = await asyncio.to_thread(lambda: run("--push", grafana.url, GRAFANA_TOKEN=grafana.token))
    assert pushed.returncode == 0, pushed.stderr
    assert f"Pushed {grafana.url}/d/toban-production/x" in pushed.stdout
    assert len(grafana.dashboards) == len(DASHBOARDS)
    nothing = await asyncio.to_thread(run)
    assert nothing.returncode == 2
    assert "Give a FOLDER to write to, or --push URL." in nothing.stderr
