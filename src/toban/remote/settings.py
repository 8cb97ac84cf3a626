"""Where the outside engine is."""

from base64 import b64encode
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from toban.core.config_types import Address, Secret, Section, Size, Text
from toban.core.labels import is_label_name


def _label(name: str) -> str:
    if not is_label_name(name) or name.startswith("__"):
        raise ValueError(f"{name!r} is no label name")
    return name


class RemoteAuth(Section):
    """How toban shows the outside engine who it is."""

    token: Secret | None = None
    """Sent as `Authorization: Bearer …`."""

    username: Text = ""
    """Sent with `password`, as HTTP's basic authentication."""

    password: Secret | None = None

    headers: dict[str, Secret] = Field(default_factory=dict)
    """Sent as they are: `Authorization: FlyV1 …`, `X-Scope-OrgID: shop`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.token and self.username:
            raise ValueError("a token and a username: choose one")
        if bool(self.username) != bool(self.password):
            raise ValueError("username and password go together")
        return self

    def headers_for_request(self) -> dict[str, str]:
        """Return the headers that stand for it."""
        found = {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.token:
            found["authorization"] = f"Bearer {self.token.get_secret_value()}"
        if self.password:
            pair = f"{self.username}:{self.password.get_secret_value()}".encode()
            found["authorization"] = f"Basic {b64encode(pair).decode()}"
        return found


class RemoteSettings(Section):
    """A Prometheus, VictoriaMetrics, Mimir or Thanos that keeps toban's numbers for longer, or more of them."""

    write_url: Address | None = None
    """Where numbers are sent by remote write: `http://prometheus:9090/api/v1/write`."""

    query_url: Address | None = None
    """Where questions go that reach further back than toban's own numbers: what `/api/v1/query` is put behind."""

    auth: RemoteAuth = RemoteAuth()

    labels: dict[Annotated[str, AfterValidator(_label)], Text] = Field(default_factory=dict)
    """Labels that every series is sent with, unless it has them: `shop: mine`."""

    backlog: Size = 500_000_000
    """How many bytes may wait in the data folder while the outside does not take them. The oldest go first."""

    @model_validator(mode="after")
    def _some_use(self) -> Self:
        if not (self.write_url or self.query_url):
            raise ValueError("remote: set write_url, query_url or both")
        return self
