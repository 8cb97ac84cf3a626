"""`toban backup` beside a running toban, and `toban restore`: the new toban answers the same questions."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

from tests.program import Program, eventually, toban

CONFIGURATION = """
alerting: {rules: ["rules/*.yaml"]}
collect:
  - {kind: toban, interval: 1s}
  - {kind: host, interval: 1s}
"""
RULES = """
groups:
  - name: own
    rules: [{alert: kept_rule, expr: "vector(0) > 1"}]
"""


def samples(program: Program, at: float) -> dict[str, Any]:
    """Return all samples of two minutes before a time."""
    found = program.json("/api/v1/query", query='{__name__=~".+", job="host"}[2m]', time=f"{at:.3f}")["data"]["result"]
    return {json.dumps(it["metric"], sort_keys=True): it["values"] for it in found}


def lines(program: Program) -> list[str]:
    return sorted(it["message"] for it in program.json("/api/logs", query="order")["lines"])


def test_a_restored_toban_answers_the_same_queries(tmp_path: Path):
    settings = tmp_path / "etc"
    (settings / "rules").mkdir(parents=True)
    (settings / "rules" / "a.yaml").write_text(RULES)
    (settings / "toban.yaml").write_text(CONFIGURATION)
    configured = ["--config", str(settings / "toban.yaml")]
    with toban(tmp_path / "data", *configured) as program:
        eventually(lambda: program.value('count_over_time(up{job="host"}[1m])'), lambda count: count >= 3)
        entries = "\n".join(json.dumps({"message": f"order A{n} paid", "level": "info"}) for n in range(20))
        status, body = program.post("/api/logs", entries.encode(), "application/x-ndjson")
        assert status < 300, body
        eventually(lambda: lines(program), lambda found: len(found) == 20)
        assert program.run("silence", "add", "alertname=x", "--for", "1h", "--comment", "kept").returncode == 0
        at = time.time()
        before, written = samples(program, at), lines(program)
        assert before
        done = program.run("backup", str(tmp_path / "backup"), *configured, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] is True
        refused = program.run("restore", str(tmp_path / "backup"))
        assert refused.returncode == 2
        assert "toban runs there: stop it, or restore into another folder: --data" in refused.stderr
        silences = program.json("/api/silences")
        assert program.health()[0] in {200, 503}
        restored = program.run("restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new"))
        assert restored.returncode == 0, restored.stderr
        kept = ["--config", f"{tmp_path}/backup/settings/toban.yaml"]
        assert f"toban up --data {tmp_path}/new {' '.join(kept)}` starts toban with it." in restored.stdout
    shutil.rmtree(settings)
    with toban(tmp_path / "new", *kept) as program:
        assert "kept_rule" in program.get("/api/v1/rules")[1]
        assert samples(program, at) == before
        assert lines(program) == written
        assert program.json("/api/silences") == silences
        assert not any("corruption" in it or "quarantine" in it for it in program.logged)
