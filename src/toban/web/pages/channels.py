"""Notification channels in the console."""

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.web.api.alerts import AlertsApi
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.models import ChannelTestRequest
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.forms import FormEndpoint, FormState
from toban.web.pages.rendering import page


class ChannelsPage:
    """Shows the notification channels, and sends tests."""

    def __init__(self, api: AlertsApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/channels", self.show, Permission.READ),
            FormEndpoint(
                "/channels/test",
                self._api.send_test,
                ChannelTestRequest,
                lambda fields: {"channel": fields.get("channel", "")},
                lambda sent, _: f"/channels?done=test&channel={sent.channel}",
                self.show,
            ),
            FormEndpoint(
                "/channels/drill",
                self._api.drill,
                NoParameters,
                lambda _: {},
                lambda *_: "/channels?done=drill",
                self.show,
            ),
        ]

    async def show(self, request: Request, form: FormState | None = None) -> Response:
        """Show all channels."""
        found = await self._api.alerts(NoParameters(), actor(request))
        return page(
            request,
            "channels.html",
            form.status if form else 200,
            channels=found.channels,
            done=request.query_params.get("done", ""),
            form=form or FormState(),
        )
