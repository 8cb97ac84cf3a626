"""Runbooks as they are written: when they apply, what is done, and the guard around it."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from toban.core.alerts import Alert
from toban.core.config_types import Duration, Section
from toban.core.matcher_syntax import MatcherText, parse_matchers
from toban.core.matchers import Matcher, matches_all
from toban.oncall.schedule_settings import Restriction
from toban.runbooks.action import ACTIONS, Action, Expression

MAX_STEPS: Final = 30

NAME: Final = r"^[a-z][a-z0-9_]{0,60}$"


class Mode(StrEnum):
    """Whether a runbook acts by itself."""

    AUTO = "auto"
    """It acts, within its brakes."""
    ASK = "ask"
    """Somebody must approve what it would do."""
    DRY = "dry"
    """It only says what it would do."""


class TextStep(Section):
    """A step for people: a sentence with a check box."""

    text: Annotated[str, Field(min_length=1, max_length=2_000)]
    """What to do."""

    text_ja: Annotated[str, Field(max_length=2_000)] = ""
    """The same in Japanese."""

    def localized(self, language: str) -> str:
        """Return it in a language."""
        return self.text_ja if language == "ja" and self.text_ja else self.text


def _read_step(value: object, info: ValidationInfo) -> Action | TextStep:
    """Read a step: `text: …`, or the kind of an action with its parameters, like `wait: {seconds: 30s}`."""
    if isinstance(value, Action | TextStep):
        return value
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, Mapping):
        raise ValueError("a step is `text: …`, or an action with its parameters, like `wait_healthy: {lasts: 1m}`")  # noqa: TRY004  # pydantic reads ValueError
    if "text" in value:
        return TextStep.model_validate(dict(value))
    if len(value) != 1:
        raise ValueError(f"a step names one action: this one names {', '.join(map(str, value)) or 'none'}")
    [(kind, parameters)] = value.items()
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ValueError(f"{kind}: its parameters must be names with values")
    return ACTIONS.read({"kind": kind, **(parameters or {})}, info)


Step = Annotated[Any, BeforeValidator(_read_step)]
"""An action, or a sentence for people."""


class Guard(Section):
    """The brakes of a runbook; those of all runbooks together are in `runbooks`."""

    mode: Mode = Mode.ASK
    """`auto`: it acts by itself; `ask`: somebody approves it; `dry`: it only says what it would do."""

    cooldown: Duration = timedelta(minutes=30)
    """How long after it acted on something it leaves that alone."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 2
    """How often it runs for one alert, from firing to resolved."""

    dwell: Duration = timedelta(minutes=1)
    """How long the alert fires before it runs."""

    unless: Expression = ""
    """A PromQL expression: while it has a result, the runbook does not run."""

    hours: tuple[Restriction, ...] = Field(default=(), max_length=20)
    """When it acts by itself, on the team's clock (`on_call.timezone`); at other times it asks. Default: always."""

    second_signal: Expression = ""
    """A PromQL expression that must have a result too before it acts by itself."""

    expires: Duration = timedelta(minutes=15)
    """How long a question waits for its answer."""


class Runbook(Section):
    """What is done about some alerts."""

    name: Annotated[str, Field(pattern=NAME)]
    """Its name, like `restart_machine`."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    """What it does, in one line."""

    title_ja: Annotated[str, Field(max_length=200)] = ""
    """The same in Japanese."""

    when: tuple[MatcherText, ...] = ()
    """Matchers of the alerts that it is for; without any, people start it by hand."""

    guard: Guard = Guard()

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MAX_STEPS)]
    """What is done, in order."""

    _matchers: Sequence[Matcher] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _parse_matchers(self) -> "Runbook":
        self._matchers = parse_matchers(self.when)
        return self

    def applies_to(self, alert: Alert) -> bool:
        """Tell whether it is for an alert."""
        return bool(self._matchers) and matches_all(self._matchers, alert.labels)

    def localized_title(self, language: str) -> str:
        """Return its title in a language."""
        return self.title_ja if language == "ja" and self.title_ja else self.title

    @property
    def acts(self) -> bool:
        """Whether it changes something in the shop."""
        return any(isinstance(step, Action) and step.acts for step in self.steps)

    @property
    def version(self) -> str:
        """Identifies what it does: an approval is for one version."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
