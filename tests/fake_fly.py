"""
A fake of Fly.io: the Machines API, and its managed Prometheus in front of a real VictoriaMetrics.

    async with FakeFly(clock) as fly:
        fly.api, fly.metrics, fly.token, fly.org   # what a collector is given
        machine = fly.add("shop", "148e001")       # a machine, as the API returns it
        fly.exit(machine, oom_killed=True)         # an event of it
        fly.next(busy(30))                         # the fault of the next request

Requests are counted by action and app in virtual time: more than Fly allows is answered 429, and is a mistake of the
client. So is every request that writes. Made from Fly's documentation and client libraries, not recorded.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

from tests.fake_http import FakeService, ReceivedRequest, Reply
from toban.core.ports import Clock

Machine = dict[str, Any]

BURST = 3
"""Requests a second of one action on one app or machine: one is allowed, and three for a moment."""


class FakeFly(FakeService):
    """An organisation with apps, machines and volumes."""

    org, token = "shop-gmbh", "FlyV1 fm2_lJPECAAAAAAAA"

    def __init__(self, clock: Clock, victoria: str = "") -> None:
        super().__init__()
        self.clock = clock
        self.machines: dict[str, list[Machine]] = {}
        self.volumes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.leases: dict[str, dict[str, Any]] = {}
        self.per_minute = Counter[datetime]()
        self.is_writable = False
        """Whether the token may act on machines."""
        self.takes_effect = True
        """Whether acts have an effect; otherwise they are answered alike."""
        self.restarted: list[str] = []
        self._victoria = victoria
        self._lately: dict[str, list[datetime]] = defaultdict(list)

    @property
    def api(self) -> str:
        """Where the Machines API is."""
        return self.url

    @property
    def metrics(self) -> str:
        """Where the Prometheus is."""
        return f"{self.url}/prometheus"

    def add(self, app: str, id: str, group: str = "app", region: str = "fra", **more: Any) -> Machine:
        """Start a machine; ``more`` goes into its configuration."""
        now = self.clock.now()
        config = {
            "env": {"SECRET": "in plain text"},
            "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 1024},
            "metadata": {"fly_process_group": group, "fly_platform_version": "v2", "fly_release_version": "63"},
            "restart": {"policy": "on-failure", "max_retries": 10},
            "services": [],
            **more,
        }
        machine = {
            "id": id,
            "name": f"aged-wind-{id[-4:]}",
            "state": "started",
            "region": region,
            "image_ref": {"registry": "registry.fly.io", "repository": app, "tag": "deployment-63"},
            "instance_id": f"01{id.upper()}",
            "private_ip": "fdaa:0:18:a7b:196:e274:9ce1:2",
            "created_at": _text(now),
            "updated_at": _text(now),
            "config": config,
            "events": [],
            "host_status": "ok",
            "cordoned": False,
        }
        self.machines.setdefault(app, []).append(machine)
        self.happen(machine, "start", "started")
        return machine

    def happen(self, machine: Machine, kind: str, state: str, **request: Any) -> None:
        """Let a machine go to a state, with an event; the newest five are kept."""
        now = self.clock.now()
        machine["state"], machine["updated_at"] = state, _text(now)
        event = {"type": kind, "status": state, "source": "flyd", "timestamp": int(now.timestamp() * 1000)}
        machine["events"] = [{**event, **({"request": request} if request else {})}, *machine["events"]][:5]

    def exit(
        self, machine: Machine, state: str = "stopped", restarts: int = 0, *, old: bool = False, **ended: Any
    ) -> None:
        """End its program. ``old`` puts what is told of it where some of Fly's hosts do."""
        fields = {"exit_code": 0, "guest_exit_code": 0, "oom_killed": False, "requested_stop": False, **ended}
        where = {"MonitorEvent": {"exit_event": fields}} if old else {"exit_event": fields}
        self.happen(machine, "exit", state, **where, restart_count=restarts)

    def deploy(self, app: str, release: int) -> None:
        """Let all machines of an app run a new release."""
        for machine in self.machines[app]:
            machine["config"]["metadata"]["fly_release_version"] = str(release)
            machine["image_ref"]["tag"] = f"deployment-{release}"
            self.happen(machine, "launch", "started")

    def respond(self, received: ReceivedRequest) -> Reply:
        """Answer a question."""
        self.per_minute[self.clock.now().replace(second=0, microsecond=0)] += 1
        if received.headers.get("authorization") != self.token:
            return Reply.json({"error": "unauthorized"}, 401)
        parts = urllib.parse.urlsplit(received.path)
        if received.method != "GET" and not self.is_writable:
            self.mistakes.append(f"{received.method} {received.path}")
        if parts.path.startswith("/prometheus/"):
            return self._asked_of_prometheus(parts)
        if self._too_often(parts.path):
            self.mistakes.append(f"too often: {parts.path} at {self.clock.now()}")
            return Reply.json({"error": "rate limit exceeded"}, 429)
        path = parts.path.removeprefix("/v1/").split("/")
        return self._machines_api(path, parts.query) if received.method == "GET" else self._act(received, path)

    def pretended(self, received: ReceivedRequest) -> Reply:
        """Answer with nothing in it."""
        return Reply.json([])

    def _machines_api(self, path: list[str], query: str) -> Reply:
        match path:
            case ["apps"]:
                org = urllib.parse.parse_qs(query).get("org_slug")
                apps = [{"name": app, "machine_count": len(of)} for app, of in self.machines.items()]
                return Reply.json({"total_apps": len(apps), "apps": apps if org == [self.org] else []})
            case ["apps", app] if app in self.machines:
                of = {"name": "Shop", "slug": self.org}
                return Reply.json({"name": app, "status": "deployed", "organization": of})
            case ["apps", app, "machines"] if app in self.machines:
                return Reply.json(self.machines[app])
            case ["apps", app, "machines", id] if any(it["id"] == id for it in self.machines.get(app, ())):
                return Reply.json(next(it for it in self.machines[app] if it["id"] == id))
            case ["apps", app, "volumes"] if app in self.machines:
                return Reply.json(self.volumes[app])
            case ["apps", app, "machines", id, "lease"] if any(it["id"] == id for it in self.machines.get(app, ())):
                lease = self._lease(id)
                fields = {"status": "success", "data": lease} if lease else {"error": "no lease"}
                return Reply.json(fields, 200 if lease else 404)
        return Reply.json({"error": "not found"}, 404)

    def _lease(self, machine: str) -> dict[str, Any] | None:
        """Return the lease of a machine; one that has expired is gone."""
        lease = self.leases.get(machine)
        if lease and lease["expires_at"] <= self.clock.now().timestamp():
            del self.leases[machine]
            return None
        return lease

    def _act(self, received: ReceivedRequest, path: list[str]) -> Reply:
        """Do something with a machine, as whoever holds its lease."""
        found = next((it for of in self.machines.values() for it in of if it["id"] in path), None)
        if found is None or len(path) < 5:
            return Reply.json({"error": "not found"}, 404)
        name, held, nonce = found["id"], self._lease(found["id"]), received.headers.get("fly-machine-lease-nonce")
        if held and held["nonce"] != nonce:
            return Reply.json({"error": f"lease currently held by {held['owner']}"}, 409)
        match received.method, path[4]:
            case "POST", "lease":
                expires = int(self.clock.now().timestamp()) + received.json["ttl"]
                # A lease that is renewed keeps its nonce, and what it says.
                known = held or {"nonce": f"n{len(self.requests)}", "owner": "toban@shop"}
                said = received.json.get("description", known.get("description", ""))
                self.leases[name] = {**known, "description": said, "expires_at": expires}
                return Reply.json({"status": "success", "data": self.leases[name]}, 201)
            case "DELETE", "lease":
                if not held:
                    return Reply.json({"error": "no lease"}, 404)
                del self.leases[name]
                return Reply.json({"ok": True})
            case "POST", "restart":
                self.restarted.append(name)
                if self.takes_effect:
                    self.happen(found, "restart", "restarting")
                    self.happen(found, "start", "started")
                return Reply.json({"ok": True})
            case "POST", "start":
                if self.takes_effect:
                    self.happen(found, "start", "started")
                return Reply.json({"previous_state": "stopped", "migrated": False, "new_host": ""})
        return Reply.json({"error": "not found"}, 404)

    def _asked_of_prometheus(self, parts: urllib.parse.SplitResult) -> Reply:
        _, _, org, *rest = parts.path.split("/")
        if org != self.org or not self._victoria:
            return Reply.json({"status": "error", "errorType": "422", "error": "no such organization"}, 422)
        url = f"{self._victoria}/{'/'.join(rest)}?{parts.query}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answered:  # on loopback
                return Reply(200, answered.read(), "application/json")
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.read(), "application/json")

    def _too_often(self, path: str) -> bool:
        now = self.clock.now()
        lately = self._lately[path] = [at for at in self._lately[path] if now - at < timedelta(seconds=1)]
        lately.append(now)
        return len(lately) > BURST


def incomplete(machine: Machine, host: str) -> None:
    """Let the host below a machine be lost: then only part of its configuration is told."""
    machine["host_status"] = host
    machine["incomplete_config"] = {"metadata": machine["config"]["metadata"]}
    machine["kept"] = machine.pop("config")


def complete(machine: Machine) -> None:
    """Let it be found again."""
    machine["host_status"] = "ok"
    machine["config"] = machine.pop("kept")
    del machine["incomplete_config"]


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def line(name: str, labels: dict[str, str], value: float, at: datetime) -> str:
    """Write a sample as VictoriaMetrics imports it."""
    fields = ",".join(f"{label}={json.dumps(text)}" for label, text in labels.items())
    return f"{name}{{{fields}}} {value} {int(at.timestamp() * 1000)}"
