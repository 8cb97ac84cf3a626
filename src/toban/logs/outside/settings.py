"""Settings of the outside log engine."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from toban.core.config_types import Address, Duration, Section, Text
from toban.remote.settings import RemoteAuth


class OutsideLogSettings(Section):
    """A Loki or VictoriaLogs that keeps log lines for longer; `log_sinks` sends them there."""

    kind: Literal["loki", "victorialogs"]
    """`loki` also stands for Grafana Cloud, and for other services that answer Loki's API."""

    url: Address
    """The URL of the server, without a path: `http://loki:3100`."""

    auth: RemoteAuth = RemoteAuth()

    tenant: Text | None = None
    """The tenant, where the server has several: sent as `X-Scope-OrgID`, or as `AccountID` to VictoriaLogs."""

    labels: Mapping[str, Text] = {}
    """Labels of the streams to read, as the sink adds them: `shop: mine`. By default all streams are read."""

    retention: Duration = timedelta(days=365)
    """How long lines are kept there: older ones are not asked for."""

    timeout: Duration = timedelta(seconds=15)
    """How long a request may take."""

    only: bool = False
    """
    Whether all lines are searched there, also those that toban keeps itself.

    What is stored here is a buffer for `log_sinks` then: set `logs.retention` to some hours.
    """

    def headers_for_request(self) -> dict[str, str]:
        """Return the headers of all requests."""
        name = "x-scope-orgid" if self.kind == "loki" else "accountid"
        return {**({name: self.tenant} if self.tenant else {}), **self.auth.headers_for_request()}

    def secrets(self) -> list[str]:
        """Return what no error may show: secrets, and the last word of each header (`Basic …`)."""
        auth = self.auth
        values = [it.get_secret_value() for it in (auth.token, auth.password) if it]
        headers = auth.headers_for_request().values()
        return [*values, *headers, *(value.rpartition(" ")[2] for value in headers)]
