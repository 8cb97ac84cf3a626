"""An action does one thing about an alert: it says what it would do, does it, and looks whether it helped."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

import httpx2
from pydantic import AfterValidator

from toban.core.alerts import Alert
from toban.core.config_types import Duration
from toban.core.errors import BadQueryError
from toban.core.plugins import Plugin, PluginRegistry
from toban.core.ports import Clock, InstantQueryEngine
from toban.core.samples import milliseconds
from toban.promql.parser import parse
from toban.shop.admin_api import AdminApi
from toban.shop.connections import ShopConnections

if TYPE_CHECKING:
    from toban.shop.admin_database import AdminDatabase


def _parsed(text: str) -> str:
    """Return an expression that PromQL accepts. Raises ``ValueError``."""
    if text:
        try:
            parse(text)
        except BadQueryError as error:
            raise ValueError(str(error)) from error
    return text


Expression = Annotated[str, AfterValidator(_parsed)]
"""A PromQL expression; empty for none."""


CAN_SELL: Final = 'min(up{job="vendure"}) == 1'
"""The PromQL expression that has a result while the Shop API works."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What an action would do now.

    ``description`` is one sentence for the person who approves it. ``state`` is what it was decided on, like the
    versions of machines or the start of a session: an act is void when that has changed. ``targets`` are the things
    that it acts on, each by a name: cooldowns and budgets count them. ``facts`` are the action's own, as plain data.
    A step that ``goes_on`` is planned again after this act, for the next thing; what is not ``needed`` is passed over.
    """

    description: str
    state: str = ""
    targets: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    needs_approval: bool = False
    """Whether a person must approve it even where its runbook acts by itself."""
    goes_on: bool = False
    needed: bool = True

    @property
    def text_ja(self) -> str:
        """What its runbook's author has written in Japanese; empty otherwise."""
        return str(self.facts.get("text_ja", ""))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "description": self.description,
            "state": self.state,
            "targets": list(self.targets),
            "facts": dict(self.facts),
            "needs_approval": self.needs_approval,
            "goes_on": self.goes_on,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "Plan":
        """Return the plan that ``as_dict`` returned."""
        return cls(
            body["description"],
            body["state"],
            tuple(body["targets"]),
            dict(body["facts"]),
            body["needs_approval"],
            body.get("goes_on", False),  # runs of older versions are read too
        )


@dataclass(frozen=True, slots=True)
class ActionContext:
    """
    What an action acts in: the alert, the run and its key, and since when the run is going on.

    ``key`` is the same for all attempts of one act: whoever accepts an idempotency key gets it.
    """

    alert: Alert
    run: int
    key: str
    started: datetime


@dataclass(frozen=True, slots=True)
class ActionTools:
    """What actions may use."""

    http: httpx2.AsyncClient
    clock: Clock
    shop: ShopConnections
    queries: InstantQueryEngine
    """Runs queries over toban's own samples."""
    is_firing: Callable[[str], bool]
    """Tells whether an alert fires, by its fingerprint."""
    notify: Callable[[str, str], Awaitable[None]]
    """Sends a text to a channel, by its name."""
    silence: Callable[[Alert, timedelta, str], Awaitable[str]]
    """Silences an alert for a while, with a comment; returns the id of the silence."""
    address: str = ""
    """The URL of toban's pages; empty where people can't reach them."""

    async def has_result(self, expression: str) -> bool:
        """Tell whether a PromQL expression has a result now. Raises ``QueryError``, ``StoreError``."""
        result = await self.queries.instant(expression, milliseconds(self.clock.now()))
        return bool(result.series)

    @property
    def database(self) -> "AdminDatabase":
        """The connection for acting on the shop's database. Raises ``ActionError`` where there is none."""
        return self.shop.admin_database

    @property
    def admin_api(self) -> AdminApi:
        """Vendure's Admin API."""
        return AdminApi(self.http, self.shop.settings)


class Action(Plugin, ABC):
    """
    Does one thing in a runbook. Cooldown, attempts, approval and dry run belong to the guard around it.

    1. `plan` looks and changes nothing. It raises ``ActionError`` where the action can't or must not be done.
    2. `run` does what was planned, looks again whether it had an effect, and returns one sentence for the timeline.
    3. `look` is asked after a crash between the two: whether it was done. What is not known is never repeated.
    """

    acts: ClassVar[bool] = True
    """Whether it changes something in the shop: then the brakes count it, and it needs approval."""

    asks: ClassVar[bool] = False
    """Whether a person must say yes before it goes on, in every mode."""

    timeout: Duration = timedelta(minutes=5)
    """How long it may take in all."""

    unless: Expression = ""
    """A PromQL expression: the step is passed over when it has a result by then."""

    @property
    def expressions(self) -> Sequence[str]:
        """The PromQL expressions that it evaluates; empty ones don't count."""
        return (self.unless,)

    @abstractmethod
    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return what it would do now. Raises ``ActionError``."""

    @abstractmethod
    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Do it, see that it had an effect, and return a sentence about that. Raises ``ActionError``."""

    async def look(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str | None:
        """Return a sentence about what was done, None where that can't be known. Raises ``ActionError``."""
        return None

    async def missing(self, tools: ActionTools) -> str:
        """Return what keeps it from working here, with the remedy: a setting, a right; empty where nothing does."""
        return ""


ACTIONS: Final = PluginRegistry("toban.runbooks.actions", Action, "action")  # type: ignore[type-abstract]  # the root of the family is never made itself
