"""Wait until the shop's Redis answers."""

from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration, format_duration
from toban.core.errors import ActionError, CollectError
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

CHECK_SECONDS: Final = 5


class RedisWait(Action):
    """Wait until the shop's Redis answers; then give the shop a while to connect again by itself."""

    kind: Literal["redis_wait"] = "redis_wait"

    acts: ClassVar[bool] = False

    lasts: Annotated[Duration, Field(le=timedelta(minutes=30))] = timedelta(minutes=5)
    """How long it waits for an answer."""

    grace: Annotated[Duration, Field(le=timedelta(minutes=10))] = timedelta(minutes=1)
    """How long it waits after the first answer."""

    timeout: Duration = timedelta(minutes=45)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return what it waits for. Raises ``ActionError`` where no Redis is configured."""
        if tools.shop.redis is None:
            raise ActionError("shop.redis is not set")
        return Plan(f"wait up to {format_duration(self.lasts)} until Redis answers")

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Ask until it answers. Raises ``ActionError`` when the time is over."""
        redis, clock = tools.shop.redis, tools.clock
        if redis is None:
            raise ActionError("shop.redis is not set")
        started = clock.monotonic()
        while True:
            try:
                await redis.execute("PING")
            except CollectError as error:
                if clock.monotonic() - started >= self.lasts.total_seconds():
                    raise ActionError(
                        f"Redis has not answered within {format_duration(self.lasts)}: {error}"
                    ) from error
            else:
                break
            await clock.sleep(CHECK_SECONDS)
        waited = timedelta(seconds=round(clock.monotonic() - started))
        await clock.sleep(self.grace.total_seconds())
        return f"Redis answers after {format_duration(waited)}"

    async def missing(self, tools: ActionTools) -> str:
        """Return what it needs."""
        return "" if tools.shop.redis else "shop.redis is not set"
