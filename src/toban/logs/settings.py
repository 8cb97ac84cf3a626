"""Settings of log lines: the store, and the sources."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator

from toban.core.config_types import Duration, Section, Size


def _nats(value: str) -> str:
    if value.partition("://")[0] not in {"nats", "tls"}:
        raise ValueError("the URL must begin with nats:// or tls://")
    return value


class LogSettings(Section):
    """Log lines: how long they are kept, and their sources; what the shop sends by OpenTelemetry needs no setting."""

    retention: Duration = timedelta(days=30)
    """How long lines are kept, by whole blocks: a day each, or about a million lines."""

    retention_size: Size = 2**30
    """Bytes that lines may take on disk. The oldest blocks are removed first."""

    synchronous: Literal["normal", "full"] = "normal"
    """`normal`: a crash of toban loses nothing, a power cut the last seconds at most. `full`: nor does a power cut."""

    fly: bool | None = None
    """
    Whether to read Fly's log stream, of `shop.fly_apps` or of all apps; needs `shop.fly_token` and `shop.fly_org`.

    By default, if both are set and toban itself runs on Fly: the stream is only in Fly's private network.
    """

    fly_server: Annotated[str, AfterValidator(_nats)] = "nats://[fdaa::3]:4223"
    """Address of the stream."""
