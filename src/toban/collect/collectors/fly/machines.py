"""Machines and volumes of Fly's Machines API, and their metrics: https://fly.io/docs/machines/api/."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from toban.core.errors import CollectError
from toban.core.samples import Sample, counter, gauge, moment
from toban.core.untyped_json import as_list, as_mapping, as_time

STATE: Final = gauge("fly_machine_state", "The state of a machine; always 1.", labels=("app", "region", "state"))
WANTED: Final = gauge(
    "fly_machine_as_wanted",
    "Whether a machine is in a wanted state (1) or not (0): stopped on purpose is one.",
    labels=("app", "region", "group"),
)
HOST: Final = gauge(
    "fly_machine_host_ok", "Whether the Fly host of a machine is healthy (1) or not (0).", labels=("app", "region")
)
CORDONED: Final = gauge(
    "fly_machine_cordoned",
    "Whether a machine gets no requests because it is cordoned (1) or not (0).",
    labels=("app", "region"),
)
CHECK: Final = gauge(
    "fly_machine_check_passing",
    "Whether one of Fly's own health checks passes (1) or not (0).",
    labels=("app", "region", "check"),
)
INFO: Final = gauge(
    "fly_machine_info",
    "The image and the release of a machine; always 1.",
    labels=("app", "region", "group", "image", "release"),
)
RELEASE: Final = gauge(
    "fly_app_release", "The newest release that a machine of an app runs; it changes with each deploy.", labels=("app",)
)
EXITED: Final = gauge(
    "fly_machine_last_exit_timestamp_seconds", "When a machine exited last.", "seconds", labels=("app", "region")
)
OOM_AT: Final = gauge(
    "fly_machine_last_oom_timestamp_seconds",
    "When a machine ran out of memory last.",
    "seconds",
    labels=("app", "region"),
)
RESTARTS: Final = gauge("fly_machine_restarts", "Consecutive restarts of a machine by Fly.", labels=("app", "region"))
EXITS: Final = counter(
    "fly_machine_exits_total",
    "Exits of a machine, by reason: requested, done, crash, oom.",
    labels=("app", "region", "reason"),
)
LEASED: Final = gauge(
    "fly_machine_lease_expiry_timestamp_seconds",
    "When the lease of a machine expires.",
    "seconds",
    labels=("app", "region"),
)
VOLUME: Final = gauge(
    "fly_volume_size_bytes", "Size of a volume.", "bytes", labels=("app", "region", "volume", "volume_name")
)
ATTACHED: Final = gauge(
    "fly_volume_attached",
    "Whether a volume is attached to a machine (1) or costs for nothing (0).",
    labels=("app", "region", "volume", "volume_name"),
)

TRANSITION_TIMEOUTS: Final[dict[str, timedelta]] = {
    **dict.fromkeys(
        ("creating", "starting", "stopping", "restarting", "suspending", "destroying"), timedelta(minutes=5)
    ),
    **dict.fromkeys(("updating", "replacing"), timedelta(minutes=10)),
}
"""How long a machine may be in a transitional state."""
GONE: Final = frozenset({"destroyed", "replaced", "migrated"})
"""States of machines that no longer exist."""
STOPPED: Final = frozenset({"stopped", "suspended"})
BROKEN: Final = frozenset({"failed", "launch_failed"})
ONE_OFF_GROUPS: Final = frozenset({"fly_app_release_command", "fly_app_console", "fly_app_test_machine_command"})
"""Process groups of machines that run a single command."""
DEPLOY_CHECKS: Final = "bg_deployments_compat"
"""Prefix of the checks that belong to a deploy."""

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit of a machine, and its reason."""

    at: datetime
    reason: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: where it runs, what it runs, its state, and its exits, the newest first."""

    id: str
    app: str
    region: str
    group: str
    state: str
    image: str
    release: str
    host: str
    cordoned: bool
    autostops: bool
    once: bool
    """Whether nothing restarts it: a one-off job, or a standby of another machine."""
    updated: datetime | None
    checks: Mapping[str, bool]
    exits: tuple[Exit, ...]

    @classmethod
    def parse(cls, app: str, item: Any) -> Self:
        """Parse a machine of the API. Raises ``CollectError`` when it is none."""
        if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not isinstance(item.get("state"), str):
            raise CollectError(f"{app}: the response has an item that is no machine")
        # Of an unhealthy host only part of the configuration is known.
        config = as_mapping(item.get("config") or item.get("incomplete_config"))
        metadata, image = as_mapping(config.get("metadata")), as_mapping(item.get("image_ref"))
        services = [as_mapping(service) for service in as_list(config.get("services"))]
        return cls(
            item["id"],
            app,
            str(item.get("region", "")),
            str(metadata.get("fly_process_group", "app")),
            item["state"],
            f"{image.get('repository', '')}:{image.get('tag', '')}".strip(":"),
            str(metadata.get("fly_release_version", "")),
            str(item.get("host_status") or "ok"),
            item.get("cordoned") is True,
            any(service.get("autostop") in {True, "stop", "suspend"} for service in services),
            bool(config.get("standbys")) or as_mapping(config.get("restart")).get("policy") == "no",
            as_time(item.get("updated_at")),
            {
                str(check.get("name")): check.get("status") == "passing"
                for check in map(as_mapping, as_list(item.get("checks")))
                if not str(check.get("name")).startswith(DEPLOY_CHECKS)
            },
            tuple(_exits(as_list(item.get("events")))),
        )

    @property
    def labels(self) -> Labels:
        """The labels of its series."""
        return {"instance": self.id, "app": self.app, "region": self.region}

    @property
    def is_monitored(self) -> bool:
        """Whether it exists and is one of the shop's machines."""
        return self.state not in GONE and self.group not in ONE_OFF_GROUPS

    def unwanted_state(self, now: datetime) -> str:
        """
        Return why its state is not wanted; empty where it is.

        A stopped machine is wanted when that was requested, or when its program is done and may be. States:
        https://fly.io/docs/machines/machine-states/.
        """
        if self.host != "ok":
            return f"its host is {self.host}"
        if self.state in BROKEN:
            return self.state
        if self.state in STOPPED:
            reason = self.exits[0].reason if self.exits else "done"
            may_stop = reason == "requested" or (reason == "done" and (self.autostops or self.once))
            return "" if may_stop else f"{self.state} after {reason}"
        timeout = TRANSITION_TIMEOUTS.get(self.state)
        if timeout and self.updated and now - self.updated > timeout:
            return f"{self.state} since {self.updated:%H:%M} UTC"
        return ""

    def samples(self, now: datetime) -> Iterator[Sample]:
        """Yield its samples."""
        labels = self.labels
        yield STATE.sample(1, **labels, state=self.state)
        yield WANTED.sample(not self.unwanted_state(now), **labels, group=self.group)
        yield HOST.sample(self.host == "ok", **labels)
        yield CORDONED.sample(self.cordoned, **labels)
        yield INFO.sample(1, **labels, group=self.group, image=self.image, release=self.release)
        for check, passing in self.checks.items():
            yield CHECK.sample(passing, **labels, check=check)
        yield RESTARTS.sample(self.exits[0].restarts if self.exits else 0, **labels)
        if self.exits:
            yield EXITED.sample(self.exits[0].at.timestamp(), **labels)
        for found in self.exits:
            if found.reason == "oom":
                yield OOM_AT.sample(found.at.timestamp(), **labels)
                break


def release_samples(machines: list[Machine]) -> Iterator[Sample]:
    """Yield the newest release of each app; one that is not a number does not count."""
    newest: dict[str, int] = {}
    for machine in machines:
        if machine.release.isdecimal():
            newest[machine.app] = max(newest.get(machine.app, 0), int(machine.release))
    for app, release in newest.items():
        yield RELEASE.sample(release, app=app)


def volume_samples(app: str, item: Any) -> Iterator[Sample]:
    """Yield the samples of a volume of the API; one that is being destroyed has none."""
    volume = as_mapping(item)
    size = volume.get("size_gb")
    if not isinstance(volume.get("id"), str) or volume.get("state") in {"destroyed", "pending_destroy"}:
        return
    labels = {"app": app, "region": str(volume.get("region", "")), "volume": volume["id"]}
    labels["volume_name"] = str(volume.get("name", ""))
    if isinstance(size, int | float):
        yield VOLUME.sample(size * 1024**3, **labels)
    yield ATTACHED.sample(bool(volume.get("attached_machine_id")), **labels)


def lease_expiry(response: Any) -> float | None:
    """Return when a machine's lease expires, in seconds since the epoch; None without a lease."""
    until = as_mapping(as_mapping(response).get("data")).get("expires_at")
    return float(until) if isinstance(until, int | float) else None


def _exits(events: list[Any]) -> Iterator[Exit]:
    """Yield the exits among events, in their order: the newest first."""
    for event in map(as_mapping, events):
        request = as_mapping(event.get("request"))
        details = request.get("exit_event") or as_mapping(request.get("MonitorEvent")).get("exit_event")
        at = event.get("timestamp")
        if event.get("type") != "exit" or not isinstance(at, int) or not 0 < at < 2**43:
            continue
        details = as_mapping(details)
        if details.get("oom_killed") is True:
            reason = "oom"
        elif details.get("requested_stop") is True:
            reason = "requested"
        else:
            reason = "crash" if details.get("exit_code") or details.get("guest_exit_code") else "done"
        restarts = request.get("restart_count")
        yield Exit(moment(at), reason, restarts if isinstance(restarts, int) else 0)
