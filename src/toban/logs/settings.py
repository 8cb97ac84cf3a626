"""Where log lines come from, beside what the shop's telemetry sends."""

from typing import Annotated

from pydantic import AfterValidator

from toban.core.config_types import Section


def _nats(value: str) -> str:
    if value.partition("://")[0] not in {"nats", "tls"}:
        raise ValueError("the address must begin with nats:// or tls://")
    return value


class LogSettings(Section):
    """Where log lines come from; those of the shop's telemetry need no setting."""

    fly: bool | None = None
    """
    Whether to take Fly's stream of logs, of `shop.fly_apps` or all; it needs `shop.fly_token` and `shop.fly_org`.

    Unless set, where both are and toban itself stands on Fly: the stream is to be had on its private network alone.
    """

    fly_server: Annotated[str, AfterValidator(_nats)] = "nats://[fdaa::3]:4223"
    """Where the stream is."""
