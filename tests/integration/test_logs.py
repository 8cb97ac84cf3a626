"""Log lines in the whole program: pushed, searched, followed."""

import json
import time
import urllib.parse
import urllib.request

from tests.program import eventually, toban


def loki(program, path: str, **parameters: str):
    status, body = program.get(f"/loki/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
    assert status == 200, body
    return json.loads(body)


def test_pushed_lines_are_found_and_followed(tmp_path):
    """
    By Loki's API, by toban's own, and by the command.
    """
    at = time.time_ns()
    values = [
        [str(at + number), json.dumps({"level": "error", "message": f"payment {number} failed"})] for number in range(3)
    ]
    push = {"streams": [{"stream": {"app": "shop", "env": "prod"}, "values": values}]}
    with toban(tmp_path / "data", "--listen", "127.0.0.1:0") as program:
        with urllib.request.urlopen(f"{program.url}/logs/tail?query=later", timeout=30) as stream:
            assert stream.readline() == b"retry: 2000\n"
            assert program.post("/loki/api/v1/push", json.dumps(push).encode()) == (204, "")
            assert program.post("/api/logs", b'{"message": "later, by JSON"}') == (200, '{"accepted":1}')
            stream.readline()
            assert json.loads(stream.readline().removeprefix(b"data: "))["message"] == "later, by JSON"

        found = loki(program, "query_range", query='{service="shop", level="error"} |= "payment 1"')
        (stream,) = found["data"]["result"]
        assert (stream["stream"]["environment"], stream["values"][0][1]) == ("prod", "payment 1 failed")
        counted = eventually(
            lambda: loki(program, "query", query='sum(count_over_time({level="error"}[1m]))')["data"]["result"]
        )
        assert counted[0]["value"][1] == "3"
        assert loki(program, "query", query="vector(1)+vector(1)")["data"]["result"][0]["value"][1] == "2"
        assert "shop" in loki(program, "label/service/values")["data"]

        page = program.json("/api/logs", query="payment", limit="2")
        assert [it["message"] for it in page["lines"]] == ["payment 2 failed", "payment 1 failed"]
        rest = program.json("/api/logs", query="payment", limit="2", cursor=page["cursor"])
        assert [it["message"] for it in rest["lines"]] == ["payment 0 failed"]
        shown = program.run("logs", "payment -2", "--since", "1h").stdout.splitlines()
        assert [line.split(": ")[1] for line in shown] == ["payment 0 failed", "payment 1 failed"]
