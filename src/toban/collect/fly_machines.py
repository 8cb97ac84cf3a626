"""Fly's machines, as its Machines API tells of them: https://fly.io/docs/machines/api/."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from toban.core.errors import CollectError
from toban.core.samples import Sample, counter, gauge, moment
from toban.core.untyped_json import as_list, as_mapping, as_time

STATE: Final = gauge("fly_machine_state", "Always 1, for the state that a machine is in.")
WANTED: Final = gauge(
    "fly_machine_as_wanted", "Whether a machine is as it should be (1) or not (0): one that was stopped on purpose is."
)
HOST: Final = gauge("fly_machine_host_ok", "Whether Fly's host below a machine is well (1) or not (0).")
CORDONED: Final = gauge("fly_machine_cordoned", "Whether a machine is kept away from visitors (1) or not (0).")
CHECK: Final = gauge("fly_machine_check_passing", "Whether one of Fly's own health checks passes (1) or not (0).")
INFO: Final = gauge("fly_machine_info", "Always 1: what a machine runs, by image and release.")
RELEASE: Final = gauge("fly_app_release", "The newest release that a machine of an app runs; it changes with a deploy.")
EXITED: Final = gauge("fly_machine_last_exit_timestamp_seconds", "When a machine's program ended last.", "seconds")
OOM_AT: Final = gauge("fly_machine_last_oom_timestamp_seconds", "When memory ran out in a machine last.", "seconds")
RESTARTS: Final = gauge("fly_machine_restarts", "How often Fly has restarted a machine in a row.")
EXITS: Final = counter("fly_machine_exits_total", "Ends of a machine's program, by why: requested, done, crash, oom.")
LEASED: Final = gauge("fly_machine_lease_expiry_timestamp_seconds", "Until when somebody holds a machine.", "seconds")
VOLUME: Final = gauge("fly_volume_size_bytes", "How large a volume is.", "bytes")
ATTACHED: Final = gauge("fly_volume_attached", "Whether a volume belongs to a machine (1) or costs for nothing (0).")

STUCK: Final[dict[str, timedelta]] = {
    **dict.fromkeys(
        ("creating", "starting", "stopping", "restarting", "suspending", "destroying"), timedelta(minutes=5)
    ),
    **dict.fromkeys(("updating", "replacing"), timedelta(minutes=10)),
}
"""How long a machine may be on its way."""
GONE: Final = frozenset({"destroyed", "replaced", "migrated"})
"""Machines that there are no more."""
RESTING: Final = frozenset({"stopped", "suspended"})
BROKEN: Final = frozenset({"failed", "launch_failed"})
PASSING_BY: Final = frozenset({"fly_app_release_command", "fly_app_console", "fly_app_test_machine_command"})
"""Process groups of machines that are there for one command."""
OF_DEPLOYS: Final = "bg_deployments_compat"
"""How checks are called that belong to a deploy."""

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Exit:
    """An end of a machine's program: when, and why."""

    at: datetime
    reason: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine: where it runs, what it runs, how it is, and how its program ended so far, the newest first."""

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
    """Whether nothing starts it again: a job of its own, or one that stands by for another."""
    updated: datetime | None
    checks: Mapping[str, bool]
    exits: tuple[Exit, ...]

    @classmethod
    def read(cls, app: str, told: Any) -> Self:
        """Read a machine of the API. Raises ``CollectError`` when it is none."""
        if not isinstance(told, dict) or not isinstance(told.get("id"), str) or not isinstance(told.get("state"), str):
            raise CollectError(f"{app}: something that is no machine")
        # Of a host that is not well only part of the configuration is known.
        config = as_mapping(told.get("config") or told.get("incomplete_config"))
        metadata, image = as_mapping(config.get("metadata")), as_mapping(told.get("image_ref"))
        services = [as_mapping(service) for service in as_list(config.get("services"))]
        return cls(
            told["id"],
            app,
            str(told.get("region", "")),
            str(metadata.get("fly_process_group", "app")),
            told["state"],
            f"{image.get('repository', '')}:{image.get('tag', '')}".strip(":"),
            str(metadata.get("fly_release_version", "")),
            str(told.get("host_status") or "ok"),
            told.get("cordoned") is True,
            any(service.get("autostop") in {True, "stop", "suspend"} for service in services),
            bool(config.get("standbys")) or as_mapping(config.get("restart")).get("policy") == "no",
            as_time(told.get("updated_at")),
            {
                str(check.get("name")): check.get("status") == "passing"
                for check in map(as_mapping, as_list(told.get("checks")))
                if not str(check.get("name")).startswith(OF_DEPLOYS)
            },
            tuple(_exits(as_list(told.get("events")))),
        )

    @property
    def labels(self) -> Labels:
        """The labels of its numbers."""
        return {"instance": self.id, "app": self.app, "region": self.region}

    @property
    def there(self) -> bool:
        """Whether it is one of the shop's machines, and still there."""
        return self.state not in GONE and self.group not in PASSING_BY

    def unwell(self, now: datetime) -> str:
        """
        Return why it is not as it should be; nothing where it is.

        A machine that rests is well when it was asked to, or when its program is done and it may rest. States:
        https://fly.io/docs/machines/machine-states/.
        """
        if self.host != "ok":
            return f"its host is {self.host}"
        if self.state in BROKEN:
            return self.state
        if self.state in RESTING:
            reason = self.exits[0].reason if self.exits else "done"
            may_rest = reason == "requested" or (reason == "done" and (self.autostops or self.once))
            return "" if may_rest else f"{self.state} after {reason}"
        patience = STUCK.get(self.state)
        if patience and self.updated and now - self.updated > patience:
            return f"{self.state} since {self.updated:%H:%M} UTC"
        return ""

    def samples(self, now: datetime) -> Iterator[Sample]:
        """Return its numbers."""
        labels = self.labels
        yield STATE.sample(1, **labels, state=self.state)
        yield WANTED.sample(not self.unwell(now), **labels, group=self.group)
        yield HOST.sample(self.host == "ok", **labels)
        yield CORDONED.sample(self.cordoned, **labels)
        yield INFO.sample(1, **labels, group=self.group, image=self.image, release=self.release)
        for check, passes in self.checks.items():
            yield CHECK.sample(passes, **labels, check=check)
        yield RESTARTS.sample(self.exits[0].restarts if self.exits else 0, **labels)
        if self.exits:
            yield EXITED.sample(self.exits[0].at.timestamp(), **labels)
        for one in self.exits:
            if one.reason == "oom":
                yield OOM_AT.sample(one.at.timestamp(), **labels)
                break


def releases(machines: list[Machine]) -> Iterator[Sample]:
    """Return the newest release of each app; one that is no number is none."""
    newest: dict[str, int] = {}
    for machine in machines:
        if machine.release.isdecimal():
            newest[machine.app] = max(newest.get(machine.app, 0), int(machine.release))
    for app, release in newest.items():
        yield RELEASE.sample(release, app=app)


def volume_samples(app: str, told: Any) -> Iterator[Sample]:
    """Return the numbers of a volume of the API; one that is going away has none."""
    volume = as_mapping(told)
    size = volume.get("size_gb")
    if not isinstance(volume.get("id"), str) or volume.get("state") in {"destroyed", "pending_destroy"}:
        return
    labels = {"app": app, "region": str(volume.get("region", "")), "volume": volume["id"]}
    labels["volume_name"] = str(volume.get("name", ""))
    if isinstance(size, int | float):
        yield VOLUME.sample(size * 1024**3, **labels)
    yield ATTACHED.sample(bool(volume.get("attached_machine_id")), **labels)


def lease_of(told: Any) -> float | None:
    """Return until when a machine is held, since the epoch; nothing where nobody holds it."""
    until = as_mapping(as_mapping(told).get("data")).get("expires_at")
    return float(until) if isinstance(until, int | float) else None


def _exits(events: list[Any]) -> Iterator[Exit]:
    """Return what events tell of ends, as they come: the newest first."""
    for event in map(as_mapping, events):
        request = as_mapping(event.get("request"))
        told = request.get("exit_event") or as_mapping(request.get("MonitorEvent")).get("exit_event")
        at = event.get("timestamp")
        if event.get("type") != "exit" or not isinstance(at, int) or not 0 < at < 2**43:
            continue
        ended = as_mapping(told)
        if ended.get("oom_killed") is True:
            reason = "oom"
        elif ended.get("requested_stop") is True:
            reason = "requested"
        else:
            reason = "crash" if ended.get("exit_code") or ended.get("guest_exit_code") else "done"
        restarts = request.get("restart_count")
        yield Exit(moment(at), reason, restarts if isinstance(restarts, int) else 0)
