"""The review of alerts in the console."""

import json
from typing import Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.errors import InvalidCommandError, StateError
from toban.core.samples import milliseconds
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.review import ApplyRequest, ReviewApi, ReviewRequest
from toban.web.api.review_models import ProposalModel, ProposalsResponse
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.charts import LimitChart
from toban.web.pages.forms import Fields, FormEndpoint, FormState
from toban.web.pages.rendering import language_of, page, script_texts

SCRIPT_TEXTS: Final = (
    "chart-label",
    "more-series",
    "nothing-in-range",
    "review-saved-firing",
    "review-value",
    "total",
)
"""The keys of the texts that the script shows."""


class ReviewPage:
    """Shows how good each rule was in a month, and which limits would be better; forwards what somebody applies."""

    def __init__(self, api: ReviewApi) -> None:
        self._api = api

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        api = self._api
        return [
            Endpoint("/review", self.index, Permission.READ),
            Endpoint("/review/proposals/{rule}", self.show, Permission.READ),
            FormEndpoint(
                "/review/act/propose", api.propose, NoParameters, lambda _: {}, lambda *_: "/review", self.index
            ),
            FormEndpoint(
                "/review/act/apply",
                api.apply,
                ApplyRequest,
                lambda fields: {"rule": fields.get("rule", "")},
                lambda done, _: f"/review?applied={done.applied.id}#applied",
                self._refused,
                Permission.ADMIN,
            ),
        ]

    async def index(self, request: Request, form: FormState | None = None) -> Response:
        """Show the review of a month, and what the last review of thresholds proposes."""
        shown = form or FormState()
        month = request.query_params.get("month", "")
        try:
            proposals = await self._api.proposals(NoParameters(), actor(request))
            found = await self._api.review(ReviewRequest(month=month), actor(request))
        except (InvalidCommandError, ValidationError):
            return page(request, "not_found.html", 404)
        except StateError as error:
            return page(request, "review.html", 503, review=None, proposals=None, charts={}, error=str(error))
        return page(
            request,
            "review.html",
            shown.status,
            review=found,
            proposals=proposals,
            charts={it.rule: _chart(it) for it in proposals.proposals},
            error=shown.error,
        )

    async def show(self, request: Request, form: FormState | None = None) -> Response:
        """Show one proposal with all of its evidence: a chart that a script draws, and tables."""
        shown, status, error = None, form.status if form else 200, form.error if form else ""
        try:
            found = await self._api.proposals(NoParameters(), actor(request))
        except StateError as unavailable:
            return page(request, "proposal.html", 503, it=None, error=str(unavailable))
        shown = next((it for it in found.proposals if it.rule == request.path_params["rule"]), None)
        if shown is None:
            return page(request, "not_found.html", 404)
        return page(
            request,
            "proposal.html",
            status,
            it=shown,
            applied=_applied(found, shown),
            chart=_chart(shown),
            data=_script_data(shown),
            texts=script_texts(language_of(request), SCRIPT_TEXTS),
            error=error,
        )

    async def _refused(self, request: Request, form: FormState) -> Response:
        """Show the proposal that was not applied, and why."""
        request.path_params["rule"] = _rule(form.fields)
        return await self.show(request, form)


def _rule(fields: Fields) -> str:
    return fields.get("rule", "")


def _applied(found: ProposalsResponse, proposal: ProposalModel) -> bool:
    """Return whether a void proposal is void because it was applied."""
    new = proposal.limit if proposal.new_limit is None else proposal.new_limit
    return any(it.rule == proposal.rule and it.limit == new for it in found.applied)


def _chart(it: ProposalModel) -> LimitChart | None:
    return LimitChart.of(it.curve, it.limit, it.new_limit, it.incidents) if it.curve else None


def _script_data(it: ProposalModel) -> str:
    """Return what the script draws, as JSON."""
    if it.curve is None:
        return "null"
    curve = it.curve
    return json.dumps(
        {
            "times": [round(curve.begins + (place + 0.5) * curve.step) for place in range(len(curve.values))],
            "values": curve.values,
            "limit": it.limit,
            "newLimit": it.new_limit,
            "incidents": [
                {"begin": milliseconds(one.begins), "end": milliseconds(one.ends), "title": one.name}
                for one in it.incidents
            ],
            "kept": [milliseconds(one) for one in curve.kept],
            "saved": [milliseconds(one) for one in curve.saved],
        },
        ensure_ascii=False,
    )
