"""
A day of a shop on Fly, on a virtual clock: three apps, seven machines, and what happens to them.

`DAY` is the script: at which minute what is done. What machines tell of themselves and what visitors meet at the edge
follows from it, every 15 seconds, as Fly's Prometheus would keep it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.fake_fly import FakeFly, Machine, complete, incomplete, line

SCRAPE = timedelta(seconds=15)
GIB = 1024**3
AUTOSTOP = [{"autostop": "stop", "autostart": True, "internal_port": 3000}]


@dataclass
class MachineUsage:
    """What a machine would tell of itself now."""

    memory: float = 0.5
    """Shares of 1 GiB, of two processors, and of a volume of 10 GB (its size is in `volume`)."""
    busy: float = 0.1
    volume: float = 0
    used: float = 0
    cpu: dict[tuple[str, str], float] = field(default_factory=dict)
    received: float = 0


@dataclass
class EdgeProxy:
    """One proxy's counters for one app: responses by status, and how many took no longer than each bound."""

    proxy: int = 0
    responses: dict[str, float] = field(default_factory=dict)
    below: dict[str, float] = field(default_factory=dict)
    seconds: float = 0


BOUNDS = ("0.1", "0.5", "1", "+Inf")


class Day:
    """The world, moved on 15 seconds at a time."""

    def __init__(self, fly: FakeFly) -> None:
        self.fly = fly
        self.began: datetime = fly.clock.now()
        self.usage: dict[str, MachineUsage] = {}
        self.edges: dict[tuple[str, str], EdgeProxy] = {}
        self.failing: dict[str, float] = {}
        self.visits: dict[datetime, dict[str, dict[str, float]]] = {}
        """What all visitors had met until a time, by app and status."""
        self._met: dict[str, dict[str, float]] = {"shop": {}, "storefront": {}}
        for app, name, more in (
            ("shop", "s1", {"services": AUTOSTOP}),
            ("shop", "s2", {"services": AUTOSTOP}),
            ("shop", "s3", {"services": AUTOSTOP}),
            ("shop", "w1", {"group": "worker"}),
            ("storefront", "f1", {"services": AUTOSTOP}),
            ("storefront", "f2", {"services": AUTOSTOP}),
            ("shop-db", "d1", {}),
        ):
            self.usage[name] = MachineUsage()
            fly.add(app, name, **more)
        self.usage["d1"].volume, self.usage["d1"].used = 10e9, 0.6
        fly.volumes["shop-db"].append(
            {
                "id": "vol_1",
                "name": "pg_data",
                "state": "created",
                "size_gb": 10,
                "region": "fra",
                "attached_machine_id": "d1",
            }
        )

    def machine(self, id: str) -> Machine:
        """Return a machine as the API tells of it."""
        return next(it for of in self.fly.machines.values() for it in of if it["id"] == id)

    def move(self, now: datetime) -> Iterator[str]:
        """Let 15 seconds pass, and return what Fly's Prometheus scrapes then."""
        for app in ("shop", "storefront"):
            for host in ("edge-1", "edge-2"):
                yield from self._edge(app, host, now)
        self.visits[now] = {app: dict(of) for app, of in self._met.items()}
        for app, of in self.fly.machines.items():
            for machine in of:
                if machine["state"] == "started":
                    yield from self._machine(app, machine, now)

    def _machine(self, app: str, machine: Machine, now: datetime) -> Iterator[str]:
        usage = self.usage[machine["id"]]
        at = {"app": app, "region": machine["region"], "host": "9f2a", "instance": machine["id"]}

        def one(name: str, value: float, **labels: str) -> str:
            return line(f"fly_instance_{name}", {**at, **labels}, value, now)

        for core in ("0", "1"):
            for mode, share in (("user", usage.busy), ("idle", 0.9 - usage.busy), ("iowait", 0.1)):
                key = core, mode
                usage.cpu[key] = usage.cpu.get(key, 0) + share * 1500
                yield one("cpu", usage.cpu[key], cpu_id=core, mode=mode)
        usage.received += 15_000
        yield one("up", 1)
        yield one("memory_mem_total", GIB)
        yield one("memory_mem_available", GIB * (1 - usage.memory))
        yield one("load_average", usage.busy * 2, minutes="5")
        yield one("net_recv_bytes", usage.received, device="eth0")
        yield one("net_recv_bytes", 5, device="lo")
        mounts = {"/": (8e9, 0.3), **({"/data": (usage.volume, usage.used)} if usage.volume else {})}
        for mount, (size, used) in mounts.items():
            yield one("filesystem_block_size", 4096, mount=mount)
            yield one("filesystem_blocks", size / 4096, mount=mount)
            yield one("filesystem_blocks_free", size * (1 - used) / 4096, mount=mount)
            yield one("filesystem_blocks_avail", size * (1 - used) / 4096, mount=mount)
        if usage.volume:
            volume = {"app": app, "region": "fra", "host": "9f2a", "id": "vol_1"}
            yield line("fly_volume_used_pct", volume, usage.used * 100, now)

    def _edge(self, app: str, host: str, now: datetime) -> Iterator[str]:
        edge = self.edges.setdefault((app, host), EdgeProxy())
        failing = self.failing.get(app, 0)
        for status, many in (("200", 60 * (1 - failing)), ("502", 60 * failing)):
            if many or status in edge.responses:
                edge.responses[status] = edge.responses.get(status, 0) + many
                self._met[app][status] = self._met[app].get(status, 0) + many
        for bound, many in zip(BOUNDS, (30, 54, 60, 60), strict=True):
            edge.below[bound] = edge.below.get(bound, 0) + many
        edge.seconds += 12
        at = {"app": app, "region": "fra", "host": host, "proxy_id": f"{host}-{edge.proxy}"}
        for status, value in edge.responses.items():
            yield line("fly_edge_http_responses_count", {**at, "status": status}, value, now)
        for bound, value in edge.below.items():
            yield line("fly_edge_http_response_time_seconds_bucket", {**at, "status": "200", "le": bound}, value, now)
        yield line("fly_edge_http_response_time_seconds_sum", {**at, "status": "200"}, edge.seconds, now)

    def restart_proxies(self) -> None:
        """Let each proxy be replaced by one that counts from nought."""
        self.edges = {place: EdgeProxy(edge.proxy + 1) for place, edge in self.edges.items()}

    def play(self, minute: int) -> None:
        """Do what the script says for this minute."""
        for what in DAY.get(minute, ()):
            what(self)
        db = self.usage["d1"]
        if clock("14:00") <= minute < clock("20:00"):
            db.used = 0.6 + 0.3 * (minute - clock("14:00")) / 360  # 60 to 90 %
        if clock("09:30") <= minute < clock("10:00"):
            self.usage["w1"].memory = 0.5 + 0.47 * min((minute - clock("09:30")) / 20, 1)
        self.usage["s1"].busy = 0.3 + 0.2 * math.sin(minute / 1440 * 2 * math.pi)

    # What happens.

    def rest(self, id: str) -> None:
        self.fly.exit(self.machine(id), requested_stop=True)

    def wake(self, id: str) -> None:
        self.fly.happen(self.machine(id), "start", "started")

    def begin_deploy(self, release: int) -> None:
        for machine in self.fly.machines["shop"]:
            until = int((self.fly.clock.now() + timedelta(minutes=7)).timestamp())
            self.fly.leases[machine["id"]] = {"nonce": "5c35f65c9f95", "expires_at": until, "owner": "ann@shop.example"}
            self.fly.happen(machine, "update", "replacing")

    def end_deploy(self, release: int) -> None:
        self.fly.deploy("shop", release)
        for machine in self.fly.machines["shop"]:
            self.usage[machine["id"]].cpu.clear()
        self.fly.leases.clear()

    def out_of_memory(self, id: str) -> None:
        machine = self.machine(id)
        self.fly.exit(machine, restarts=1, exit_code=137, guest_signal=9, oom_killed=True)
        self.fly.happen(machine, "start", "started")
        self.usage[id].memory = 0.4

    def crash(self, id: str, times: int, old: bool = False) -> None:
        machine = self.machine(id)
        self.fly.exit(machine, restarts=times, old=old, exit_code=1)
        if times < 6:
            self.fly.happen(machine, "start", "started")

    def fail(self, app: str, share: float) -> None:
        self.failing[app] = share

    def lose_host(self, id: str) -> None:
        incomplete(self.machine(id), "unreachable")

    def find_host(self, id: str) -> None:
        complete(self.machine(id))

    def enlarge(self) -> None:
        self.usage["d1"].volume, self.usage["d1"].used = 20e9, 0.45
        self.fly.volumes["shop-db"][0]["size_gb"] = 20


def clock(text: str) -> int:
    """Return the minute of the day."""
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


Act = Callable[[Day], None]
DAY: dict[int, list[Act]] = {
    clock("02:00"): [lambda day: day.rest("s3"), lambda day: day.rest("f2")],
    clock("06:00"): [lambda day: day.wake("s3"), lambda day: day.wake("f2")],
    clock("08:00"): [lambda day: day.begin_deploy(64)],
    clock("08:06"): [lambda day: day.end_deploy(64)],
    clock("09:00"): [lambda day: day.restart_proxies()],
    clock("10:00"): [lambda day: day.out_of_memory("w1")],
    **{clock("12:00") + 2 * n: [lambda day, n=n: day.crash("s2", n + 1, old=n % 2 == 1)] for n in range(6)},  # type: ignore[misc]  # a loop's own n
    clock("12:01"): [lambda day: day.fail("shop", 0.1)],
    clock("12:40"): [lambda day: day.fail("shop", 0), lambda day: day.begin_deploy(65)],
    clock("12:42"): [lambda day: day.end_deploy(65)],
    clock("18:00"): [lambda day: day.lose_host("f1")],
    clock("18:10"): [lambda day: day.find_host("f1")],
    clock("21:00"): [lambda day: day.enlarge()],
}
