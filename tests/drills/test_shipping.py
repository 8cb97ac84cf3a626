"""Lines on their way to Datadog and Loki, while toban is killed: none is lost, those sent twice are counted."""

import asyncio
import json
import random
from collections import Counter

import pytest
import yaml

from tests.fake_http import broken, busy, half, reset
from tests.fake_log_sinks import FakeDatadogLogs, FakeLoki
from tests.program import eventually, toban

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))]
LINES, ROUNDS = 60, 4


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_line_is_lost_when_toban_is_killed_while_it_ships(tmp_path, seed):
    dice = random.Random(seed)
    async with FakeDatadogLogs() as datadog, FakeLoki() as loki:
        sinks = {
            "dd": {"kind": "datadog", "url": datadog.url, "api_key": datadog.key},
            "grafana": {"kind": "loki", "url": loki.url},
        }
        settings = {"log_sinks": sinks, "collect": [], "alerting": {"rules": []}}
        (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
        accepted = []
        for turn in range(ROUNDS):
            with toban(tmp_path / "data") as program:
                await asyncio.to_thread(program.until, "is on duty")
                for receiver in (datadog, loki):
                    receiver.next(*dice.choices([broken, busy(1), half, reset], k=3))
                for number in range(LINES):
                    message = f"turn {turn} line {number}"
                    body = json.dumps({"message": message, "service": "api"}).encode()
                    status, _ = await asyncio.to_thread(program.post, "/api/logs", body)
                    assert status == 200
                    accepted.append(message)
                await asyncio.sleep(dice.uniform(0, 1.5))
                await asyncio.to_thread(program.kill)
        with toban(tmp_path / "data") as program:
            await asyncio.to_thread(program.until, "is on duty")
            for receiver, name in ((datadog, "dd"), (loki, "grafana")):

                def waiting(name=name):
                    return program.value(f'toban_log_sink_lines_waiting{{sink="{name}"}}')

                await asyncio.to_thread(eventually, waiting, lambda left: left == 0)
                received = Counter(receiver.messages)
                assert set(accepted) <= set(received)
                shipped = await asyncio.to_thread(
                    program.value, f'toban_log_sink_lines_total{{sink="{name}", outcome="shipped"}}'
                )
                own = [it for it in received if it not in accepted]  # toban's own lines go the same way
                assert shipped == len(accepted) + len(own)
