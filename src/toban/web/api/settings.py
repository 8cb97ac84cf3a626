"""The settings in the API."""

from collections.abc import Callable, Sequence

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.effective_settings import EffectiveSetting
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, ResponseModel
from toban.web.endpoint import Endpoint


class SettingModel(ResponseModel):
    """A setting that is in force."""

    path: str
    """Like `channels.ops.kind`."""
    value: str
    """Without secrets."""
    origin: str
    """A line of the file, a variable of the environment, an option, or `default`."""
    is_default: bool


class SettingsResponse(ResponseModel):
    """All settings."""

    settings: list[SettingModel]


class SettingsApi:
    """Shows the settings that are in force."""

    def __init__(self, settings: Callable[[], Sequence[EffectiveSetting]]) -> None:
        self._settings = settings

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/settings", self.settings, Permission.READ, NoParameters, SettingsResponse)]

    async def settings(self, _: NoParameters, actor: Actor) -> SettingsResponse:
        """Return the settings that are in force, without secrets."""
        return SettingsResponse(settings=[SettingModel.model_validate(it) for it in self._settings()])
