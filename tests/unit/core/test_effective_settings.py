"""The settings that are in force, with their places and without secrets."""

from datetime import timedelta

from pydantic import Field, SecretStr

from toban.core.config_types import Duration, Section
from toban.core.effective_settings import HIDDEN, effective_settings


class Inner(Section):
    url: str = ""
    lasts: Duration = Field(default=timedelta(minutes=5), alias="for")


class Outer(Section):
    token: SecretStr | None = None
    hosts: tuple[str, ...] = ()
    channels: dict[str, Inner] = Field(default_factory=dict)
    windows: tuple[Inner, ...] = ()
    inner: Inner = Inner()
    enabled: bool = False


def shown(settings, origins):
    return {it.path: (it.value, it.origin) for it in effective_settings(settings, origins)}


def test_each_setting_has_its_path_its_value_and_its_place():
    settings = Outer.model_validate(
        {"token": "hush", "hosts": ["a", "b"], "windows": [{"url": "x", "for": "90s"}], "enabled": True}
    )
    origins = {
        ("token",): "TOKEN in the environment",
        ("hosts",): "toban.yaml:2",
        ("hosts", 0): "toban.yaml:2",
        ("windows",): "toban.yaml:3",
        ("windows", 0): "toban.yaml:4",
        ("windows", 0, "url"): "toban.yaml:4",
        ("windows", 0, "for"): "toban.yaml:5",
    }
    found = shown(settings, origins)
    assert found["token"] == (HIDDEN, "TOKEN in the environment")
    assert found["hosts"] == ("a, b", "toban.yaml:2")
    assert found["windows.0.url"] == ("x", "toban.yaml:4")
    assert found["windows.0.for"] == ("1m30s", "toban.yaml:5")
    assert found["inner.for"] == ("5m", "default")
    assert found["enabled"] == ("true", "default")
    assert found["channels"] == ("", "default")


def test_what_a_variable_sets_as_a_whole_is_of_that_variable_in_all_its_parts():
    settings = Outer.model_validate({"channels": {"slack": {"url": "y"}}})
    found = shown(settings, {("channels", "slack"): "SLACK_WEBHOOK_URL in the environment"})
    assert found["channels.slack.url"] == ("y", "SLACK_WEBHOOK_URL in the environment")


def test_a_password_in_an_address_is_not_shown():
    settings = Outer.model_validate({"inner": {"url": "postgresql://ann:hunter2@db/shop"}})
    assert "hunter2" not in str(shown(settings, {}))
