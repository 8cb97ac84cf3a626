"""Secrets that come through every door of log lines are nowhere: not on disk, not on a page, not at a sink."""

import asyncio
import hashlib
import hmac
import json
import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cramjam
import pytest

from tests.fake_log_sinks import FakeLoki, body_of
from tests.fakes import FakeClock
from tests.planted_secrets import PlantedLine, plant
from tests.program import Program, eventually, toban
from tests.webhook_receiver import WebhookReceiver
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.demo.fly_log_server import ORGANIZATION, TOKEN, FlyLogServer, open_stream
from toban.logs.settings import LogSettings
from toban.logs.store.store import EmbeddedLineStore

CLIENT_SECRET = "0123456789abcdef"
ZSTD = b"\x28\xb5\x2f\xfd"
"""The beginning of each frame."""


def text_of(planted: PlantedLine) -> str:
    """Return a line as text, with what it says besides its message as JSON."""
    rest = {name: value for name, value in planted.fields.items() if name not in {"level", "message"}}
    return f"{planted.fields['message']} {json.dumps(rest)}"


def any_value(value: Any) -> dict[str, Any]:
    """Return a value as OpenTelemetry's JSON has it."""
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": any_value(it)} for key, it in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(it) for it in value]}}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {} if value is None else {"stringValue": value}


class Doors:
    """The ways into a running toban; each takes lines of its own."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.folder = folder

    def winston(self, lines: Sequence[PlantedLine]) -> None:
        self._write("app.json", [json.dumps({**it.fields, "timestamp": datetime.now(UTC).isoformat()}) for it in lines])

    def console(self, lines: Sequence[PlantedLine]) -> None:
        now = f"{datetime.now(UTC):%-m/%-d/%y, %-I:%M %p}"
        self._write("console.log", [f"{it.fields['level']} {now} - [Shop] {text_of(it)} " for it in lines])

    def plain(self, lines: Sequence[PlantedLine]) -> None:
        self._write("plain.txt", map(text_of, lines))

    def fly(self, lines: Sequence[PlantedLine]) -> None:
        self._write("fly.out", [json.dumps(it.fields) for it in lines])

    def otlp(self, lines: Sequence[PlantedLine]) -> None:
        records = [
            {
                "timeUnixNano": str(time.time_ns()),
                "severityNumber": 17,
                "body": any_value(it.fields["message"]),
                "attributes": any_value({name: it.fields[name] for name in it.fields if name != "message"})[
                    "kvlistValue"
                ]["values"],
            }
            for it in lines
        ]
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "otlp"}}]}
        body = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {}, "logRecords": records}]}]}
        self._post("/v1/logs", json.dumps(body))

    def api(self, lines: Sequence[PlantedLine]) -> None:
        self._post(
            "/api/logs", "\n".join(json.dumps({**it.fields, "service": "api"}) for it in lines), "application/x-ndjson"
        )

    def loki(self, lines: Sequence[PlantedLine]) -> None:
        values = []
        for number, it in enumerate(lines):
            metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in it.fields.items()}
            text = it.fields["message"] if number % 2 else json.dumps(it.fields)
            values.append([str(time.time_ns()), text, metadata])
        self._post("/loki/api/v1/push", json.dumps({"streams": [{"stream": {"app": "loki"}, "values": values}]}))

    def _write(self, name: str, lines: Iterable[str]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def _post(self, path: str, body: str, kind: str = "application/json") -> None:
        status, response = self.program.post(path, body.encode(), kind)
        assert status < 300, response


DOORS: tuple[Callable[[Doors, Sequence[PlantedLine]], None], ...] = (
    Doors.winston,
    Doors.console,
    Doors.plain,
    Doors.fly,
    Doors.otlp,
    Doors.api,
    Doors.loki,
)
"""Each is the service of its lines too."""


RULES = """
groups:
  - name: planted
    engine: logs
    interval: 1s
    rules:
      - alert: planted_context
        expr: sum by (service, context, url, note) (count_over_time({level=~".+"} [1h])) > 0
        labels: {severity: critical}
        annotations: {summary: "{{ $labels.context }} {{ $labels.url }} {{ $labels.note }}"}
"""
"""An alert for each text that a line has as a label or a fact: it becomes an incident, and messages."""


def settings_of(stream: FlyLogServer, sink: str, logs: Path, archive: Path, channel: str) -> Mapping[str, Any]:
    """Return the toban.yaml."""
    files = {"app.json": Doors.winston, "console.log": Doors.console, "plain.txt": Doors.plain}
    return {
        "shop": {"fly_org": ORGANIZATION, "fly_token": TOKEN},
        "collect": [{"kind": "fly", "token": TOKEN, "enabled": False}, {"kind": "toban", "interval": "1s"}],
        "errors": {"sentry_client_secret": CLIENT_SECRET},
        "logs": {
            "fly": True,
            "fly_server": stream.url,
            "files": [{"path": str(logs / name), "service": door.__name__} for name, door in files.items()],
            "metrics": [
                {"name": "planted_total", "query": '{level=~".+"}', "labels": ["context", "note", "url", "shown"]},
                {"name": "planted", "kind": "histogram", "query": "mark", "value": "shown", "labels": ["stack"]},
            ],
        },
        "alerting": {"rules": ["rules.yaml"]},
        "channels": {"hook": {"kind": "webhook", "url": channel}},
        "notify": {"group_wait": "1s", "group_interval": "1s"},
        "incidents": {"delay": "1s"},
        "log_sinks": {"loki": {"kind": "loki", "url": sink}, "archive": {"kind": "file", "folder": str(archive)}},
    }


def drill(
    folder: Path, logs: Path, sink: FakeLoki, channel: WebhookReceiver, chance: random.Random, count: int
) -> tuple[list[PlantedLine], list[tuple[str, str]]]:
    """Plant lines through each door, and return them, and all that toban has shown until its end."""
    planted: list[PlantedLine] = []
    with toban(folder / "data", "--config", str(folder / "toban.yaml")) as program:
        program.until("log stream connected")
        doors = Doors(program, logs)
        for door in DOORS:
            lines = plant(chance, count)
            door(doors, lines)
            planted += lines
            marks = {line.mark for line in lines}
            request = {"query": f"service:{door.__name__}", "limit": "5000"}
            eventually(lambda: found(program.json("/api/logs", **request), marks), lambda it: it == marks)  # noqa: B023  # at once
        lines = plant(chance, min(count, 60))
        report_to_sentrys_webhook(program, lines)
        planted += lines
        eventually(lambda: program.get("/api/v1/alerts")[1].count('"sentry_issue"'), lambda it: it >= len(lines))
        marks = {line.mark for line in planted[: -len(lines)]}
        eventually(lambda: found(sink.messages, marks), lambda it: it == marks)
        eventually(lambda: {"sentry_issue", "planted_context"} <= notified(channel))
        eventually(lambda: program.json("/api/incidents")["incidents"])
        places = list(shown(program, [door.__name__ for door in DOORS]))
        assert program.stop() == 0
        return planted, places


def notified(channel: WebhookReceiver) -> set[str]:
    """Return the names of the alerts of which the channel has a message."""
    return {alert["labels"]["alertname"] for it in channel.received for alert in it["alerts"]}


def found(output: object, marks: set[str]) -> set[str]:
    """Return which marks are in an output."""
    return marks & set(re.findall(r"mark\d+x[a-z]{6}", str(output)))


def report_to_sentrys_webhook(program: Program, lines: Sequence[PlantedLine]) -> None:
    """Send each line as an event of Sentry, of which toban makes an alert."""
    for number, it in enumerate(lines):
        text = text_of(it)
        event = {
            "event_id": f"{number}",
            "issue_id": f"{it.mark}",
            "level": "error",
            "datetime": datetime.now(UTC).isoformat(),
            **dict.fromkeys(("title", "message", "culprit", "release"), text),
            "web_url": f"https://sentry.example/{text}",
            "metadata": {"type": text, "value": text},
            "tags": [["server_name", text], ["url", text]],
            "user": {"email": text},
        }
        hook = {"action": "triggered", "data": {"event": event, "triggered_rule": text}}
        body = json.dumps(hook).encode()
        signature = hmac.new(CLIENT_SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {"sentry-hook-resource": "event_alert", "sentry-hook-signature": signature}
        status, response = program.post("/hooks/sentry", body, **headers)
        assert status == 200, response


def shown(program: Program, services: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield everything that toban shows, and where."""
    for service in services:
        search = json.dumps(program.json("/api/logs", query=f"service:{service}", limit="1000"))
        yield f"/api/logs {service}", search
        yield f"/logs {service}", program.get(f"/logs?query=service:{service}")[1]
        found = program.json("/loki/api/v1/query_range", query=f'{{service="{service}"}}', limit="1000")
        yield f"/loki {service}", json.dumps(found, ensure_ascii=False)
    for flags in ((), ("--json",)):
        yield "toban logs", program.run("logs", "--since", "1h", "--level", "debug", "--limit", "5000", *flags).stdout
    for incident in program.json("/api/incidents")["incidents"][:5]:
        number = str(incident["id"])
        yield "incident's details", json.dumps(program.json("/api/incidents/details", id=number))
        yield "incident's page", program.get(f"/incidents/{number}")[1]
        for flags in ((), ("--html",), ("--language", "ja")):
            yield "incident's report", program.run("incidents", "report", number, *flags).stdout
    for path in (
        "/metrics",
        "/federate?match[]={__name__=~%22.%2B%22}",
        "/api/v1/export?match[]={__name__=~%22planted.*%22}",
        "/api/v1/series?match[]={__name__=~%22.%2B%22}",
        "/api/v1/alerts",
        "/api/v2/alerts",
        "/alerts",
        "/incidents",
        "/api/audit",
        "/logs?query=mark&lang=ja",
        "/",
    ):
        yield path, program.get(path)[1]
    for service in services:
        yield (
            "instant query",
            json.dumps(
                program.json(
                    "/loki/api/v1/query",
                    query=f'sum by (context, note, url) (count_over_time({{service="{service}"}}[1h]))',
                )
            ),
        )
    yield "detected fields", json.dumps(program.json("/loki/api/v1/detected_fields", query='{level=~".+"}'))
    yield "labels", json.dumps(program.json("/loki/api/v1/series"))
    yield "toban's own log", "\n".join([*program.output, *program.logged])


def stored(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the bytes of all files below a folder, as they are and decompressed."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        yield f"{path.name} as it is", data
        cells = [data]
        if data.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(path)) as database:
                tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                rows = [row for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
            cells = [cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row]
            yield f"{path.name} rows", b"\n".join(cells)
        frames = [frame for cell in cells for frame in decompressed(cell)]
        yield f"{path.name} decompressed", b"\n".join(frames)


def decompressed(data: bytes) -> Iterator[bytes]:
    """Yield what is in the frames of zstd in some bytes."""
    starts = [found.start() for found in re.finditer(re.escape(ZSTD), data)]
    for place, start in enumerate(starts):
        for end in (*starts[place + 1 : place + 4], len(data)):
            try:
                yield bytes(cramjam.zstd.decompress(data[start:end]))
            except cramjam.DecompressionError:
                continue
            break


def seal(folder: Path) -> None:
    """Do what toban does at midnight: the lines of the day become a block."""
    clock = FakeClock(datetime.now(UTC) + timedelta(days=1))
    with EmbeddedLineStore(folder, LogSettings(), clock, MetricRegistry()) as store:
        store.maintain(milliseconds(clock.now()))
    assert list(folder.glob("*.lines"))


def leaks(outputs: Sequence[tuple[str, str | bytes]], secrets: Mapping[str, str]) -> list[str]:
    """Return which secrets are where: the shapes of the lines, and what is around them."""
    found = []
    for place, output in outputs:
        text = output if isinstance(output, str) else output.decode("utf-8", "replace")
        for secret, shape in secrets.items():
            if (at := text.find(secret)) >= 0:
                found.append(f"{place}: {shape}: …{text[max(0, at - 80) : at + len(secret) + 10]!r}")
    return found


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 60), *(pytest.param(seed, 300, marks=pytest.mark.soak) for seed in range(2, 12))]
)
async def test_no_secret_is_stored_shown_or_shipped(tmp_path, seed, count):
    """
    Through files, Fly's stream, OTLP, `POST /api/logs`, Loki's push API and Sentry's webhook; in many shapes.
    """
    chance = random.Random(seed)
    logs, archive = tmp_path / "shop", tmp_path / "archive"
    logs.mkdir()
    for name in ("app.json", "console.log", "plain.txt", "fly.out"):
        (logs / name).touch()
    channel = WebhookReceiver()
    async with FakeLoki() as sink:
        with open_stream() as stream, closing(channel):
            settings = settings_of(stream, sink.url, logs, archive, channel.url)
            (tmp_path / "toban.yaml").write_text(json.dumps(settings))
            (tmp_path / "rules.yaml").write_text(RULES)
            async with stream.served({"fly": logs / "fly.out"}):
                planted, shown_places = await asyncio.to_thread(drill, tmp_path, logs, sink, channel, chance, count)
        places: list[tuple[str, str | bytes]] = [*shown_places]
        places += [(f"sink {number}", body_of(request)) for number, request in enumerate(sink.requests)]
    places += [("message", json.dumps(it, ensure_ascii=False)) for it in channel.received]
    secrets = {secret: f"{line.shape}" for line in planted for secret in line.secrets}
    await asyncio.to_thread(seal, tmp_path / "data" / "logs")
    places += [*stored(archive), *stored(tmp_path / "data")]
    assert leaks(places, secrets) == []
    marks = {line.mark for line in planted}
    wanted = (
        *("/api/logs", "/loki", "/logs", "toban logs", "sink", "combined.log", ".lines decompressed"),
        *("/api/v2/alerts", "message", "incident's report", "incident's page", "incident's details"),
    )
    for name in wanted:
        text = "".join(
            output if isinstance(output, str) else output.decode("utf-8", "replace")
            for place, output in places
            if name in place
        )
        assert any(mark in text for mark in marks), f"nothing was found in {name}: the search is wrong"
