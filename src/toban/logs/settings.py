"""Settings of log sources."""

from typing import Annotated

from pydantic import AfterValidator

from toban.core.config_types import Section


def _nats(value: str) -> str:
    if value.partition("://")[0] not in {"nats", "tls"}:
        raise ValueError("the URL must begin with nats:// or tls://")
    return value


class LogSettings(Section):
    """Sources of log lines; those that the shop sends by OpenTelemetry need no setting."""

    fly: bool | None = None
    """
    Whether to read Fly's log stream, of `shop.fly_apps` or of all apps; needs `shop.fly_token` and `shop.fly_org`.

    By default, if both are set and toban itself runs on Fly: the stream is only in Fly's private network.
    """

    fly_server: Annotated[str, AfterValidator(_nats)] = "nats://[fdaa::3]:4223"
    """Address of the stream."""
