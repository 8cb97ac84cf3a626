"""Silences in the console: the list, and a form that shows which alerts a silence would match."""

from collections.abc import Callable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.core.alerts import Alert, AlertStatus
from toban.core.matcher_syntax import parse_matchers
from toban.core.matchers import Matcher, matches_all
from toban.notify.report import NotificationReport
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.models import AlertModel, CreateSilenceRequest, ExpireSilenceRequest, ExtendSilenceRequest
from toban.web.api.silences import SilencesApi
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.forms import Fields, FormEndpoint, FormState
from toban.web.pages.rendering import page

DURATIONS: Final = ("15m", "1h", "2h", "4h", "8h", "1d", "3d", "7d")
"""The durations to choose from; a day is the longest for those who may not configure."""
LIMITED_DURATIONS: Final = DURATIONS[: DURATIONS.index("1d") + 1]


class SilencesPages:
    """Shows silences and maintenance windows, and forwards commands on silences."""

    def __init__(
        self, api: SilencesApi, alerts: Callable[[], Sequence[Alert]], notifications: Callable[[], NotificationReport]
    ) -> None:
        self._api = api
        self._alerts = alerts
        self._notifications = notifications

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/silences", self.index, Permission.READ),
            Endpoint("/silences/new", self.form, Permission.READ),
            FormEndpoint(
                "/silences/create",
                self._api.create,
                CreateSilenceRequest,
                _creation,
                lambda silence, _: f"/silences?created={silence.id}",
                self.form,
            ),
            FormEndpoint(
                "/silences/extend",
                self._api.extend,
                ExtendSilenceRequest,
                lambda fields: {"id": fields.get("id", ""), "duration": fields.get("duration", "")},
                lambda *_: "/silences",
                self.index,
            ),
            FormEndpoint(
                "/silences/expire",
                self._api.expire,
                ExpireSilenceRequest,
                lambda fields: {"id": fields.get("id", "")},
                lambda *_: "/silences",
                self.index,
            ),
        ]

    async def index(self, request: Request, form: FormState | None = None) -> Response:
        """Show all silences, and the maintenance windows."""
        found = await self._api.list_silences(NoParameters(), actor(request))
        alerts = self._firing()
        shown = [
            (it, _matching(alerts, parse_matchers(it.matchers)) if it.state == "active" else [])
            for it in sorted(found.silences, key=lambda it: (it.state == "expired", it.ends))
        ]
        report = self._notifications()
        policy = report.policy
        return page(
            request,
            "silences.html",
            form.status if form else 200,
            silences=shown,
            created=request.query_params.get("created", ""),
            durations=_durations(request),
            windows=policy.settings.maintenance_windows,
            open_windows={it.name: it for it in policy.windows.open(report.at)},
            zone=policy.settings.timezone,
            form=form or FormState(),
        )

    async def form(self, request: Request, form: FormState | None = None) -> Response:
        """Show the form of a new silence, and which alerts it would match."""
        state = form or FormState(dict(request.query_params))
        text, error = state.fields.get("matchers", ""), state.error
        matching: Sequence[AlertModel] = ()
        try:
            if text.strip():
                matching = _matching(self._firing(), parse_matchers([text]))
        except ValueError as invalid:
            error = error or str(invalid)
        return page(
            request,
            "silence_new.html",
            state.status,
            fields=state.fields,
            matching=matching,
            has_matchers=bool(text.strip()),
            durations=_durations(request),
            error=error,
        )

    def _firing(self) -> list[Alert]:
        return [it for it in self._alerts() if it.status is not AlertStatus.RESOLVED]


def _durations(request: Request) -> Sequence[str]:
    return LIMITED_DURATIONS if actor(request).is_limited else DURATIONS


def _creation(fields: Fields) -> dict[str, object]:
    return {
        "matchers": [fields.get("matchers", "")],
        "duration": fields.get("duration", ""),
        "comment": fields.get("comment", ""),
    }


def _matching(alerts: Sequence[Alert], matchers: Sequence[Matcher]) -> list[AlertModel]:
    return [AlertModel.of(it) for it in alerts if matches_all(matchers, it.labels)]
