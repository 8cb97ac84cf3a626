"""Which channels an alert goes to."""

import pytest

from toban.core.labels import Labels
from toban.notify.routing import Routing
from toban.notify.settings import NotifySettings
from toban.settings import Settings

CHANNELS = {"team": False, "mail": False, "pager": True}


@pytest.mark.parametrize(
    ("personal", "critical", "warning"),
    [
        ((), ("team", "mail", "pager"), ("team", "mail")),
        (("mail", "pager"), ("team",), ("team",)),
        # Escalations page the only person: a page of the alert itself would be a second one.
        (("team", "mail", "pager"), ("team", "mail"), ("team", "mail")),
    ],
)
def test_channels_of_people_are_left_to_escalations(personal, critical, warning):
    routing = Routing(NotifySettings(), CHANNELS, personal)

    def channels(severity: str, priority: str) -> tuple[str, ...]:
        (found,) = routing.route(Labels({"alertname": "down", "severity": severity, "priority": priority}))
        return found.channels

    assert channels("critical", "P1") == critical
    assert channels("warning", "P3") == warning


def test_a_person_who_has_nothing_but_a_pager_is_notified_by_it():
    (found,) = Routing(NotifySettings(), {"pager": True}, ("pager",)).route(Labels({"alertname": "down"}))
    assert found.channels == ("pager",)


@pytest.mark.parametrize(("enabled", "expected"), [(True, {"mail"}), (False, set())])
def test_without_incidents_no_channel_belongs_to_a_person(enabled: bool, expected: set[str]):
    settings = Settings.model_validate(
        {"incidents": {"enabled": enabled}, "on_call": {"people": {"ann": {"channels": ["mail"]}}}}
    )
    assert settings.personal_channels == expected
