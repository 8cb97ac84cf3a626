"""The review of alerts in the console."""

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import InvalidCommandError, StateError
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.review import ReviewApi, ReviewRequest
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.forms import FormEndpoint, FormState
from toban.web.pages.rendering import page


class ReviewPage:
    """Shows how good each rule was in a month."""

    def __init__(self, api: ReviewApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        api = self._api
        return [
            Endpoint("/review", self.index, Permission.READ),
            FormEndpoint(
                "/review/act/propose", api.propose, NoParameters, lambda _: {}, lambda *_: "/review", self.index
            ),
        ]

    async def index(self, request: Request, form: FormState | None = None) -> Response:
        """Show the review of a month, and what the last review of thresholds proposes."""
        proposals = await self._api.proposals(NoParameters(), actor(request))
        month = request.query_params.get("month", "")
        try:
            found = await self._api.review(ReviewRequest(month=month), actor(request))
        except (InvalidCommandError, ValidationError):
            return page(request, "not_found.html", 404)
        except StateError as error:
            return page(request, "review.html", 503, review=None, proposals=proposals, error=str(error))
        shown = form or FormState()
        return page(request, "review.html", shown.status, review=found, proposals=proposals, error=shown.error)
