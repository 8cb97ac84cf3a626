"""Settings of the remote engine."""

from base64 import b64encode
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from toban.core.config_types import Address, Secret, Section, Size, Text
from toban.core.labels import is_label_name


def _label(name: str) -> str:
    if not is_label_name(name) or name.startswith("__"):
        raise ValueError(f"{name!r} is not a valid label name")
    return name


class RemoteAuth(Section):
    """How toban authenticates with the remote engine."""

    token: Secret | None = None
    """Sent as `Authorization: Bearer …`."""

    username: Text = ""
    """Sent with `password` as HTTP basic authentication."""

    password: Secret | None = None
    """The password of `username`."""

    headers: dict[str, Secret] = Field(default_factory=dict)
    """Sent unchanged: `Authorization: FlyV1 …`, `X-Scope-OrgID: shop`."""

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        if self.token and self.username:
            raise ValueError("a token and a username are set: choose one")
        if bool(self.username) != bool(self.password):
            raise ValueError("set both username and password, or neither")
        return self

    def headers_for_request(self) -> dict[str, str]:
        """Return the headers of the authentication."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.token:
            headers["authorization"] = f"Bearer {self.token.get_secret_value()}"
        if self.password:
            pair = f"{self.username}:{self.password.get_secret_value()}".encode()
            headers["authorization"] = f"Basic {b64encode(pair).decode()}"
        return headers


class RemoteSettings(Section):
    """A Prometheus, VictoriaMetrics, Mimir or Thanos that stores toban's samples for longer, or more of them."""

    write_url: Address | None = None
    """URL for remote write: `http://prometheus:9090/api/v1/write`."""

    query_url: Address | None = None
    """Base URL for queries that reach further back than toban's retention; `/api/v1/query` is appended to it."""

    auth: RemoteAuth = RemoteAuth()

    labels: dict[Annotated[str, AfterValidator(_label)], Text] = Field(default_factory=dict)
    """Labels that are added to every series, unless it has them: `shop: mine`."""

    backlog: Size = 500_000_000
    """Bytes of samples that wait in the data folder while remote write fails. The oldest are dropped first."""

    @model_validator(mode="after")
    def _has_url(self) -> Self:
        if not (self.write_url or self.query_url):
            raise ValueError("remote: set write_url, query_url or both")
        return self
