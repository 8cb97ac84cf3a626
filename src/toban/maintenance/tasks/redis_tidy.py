"""Remove keys of a pattern from the shop's Redis, gently, and give unused memory back."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from toban.core.config_types import Duration, Text
from toban.core.errors import ActionError
from toban.core.number_format import format_bytes
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance.redis_keys import (
    SCAN_COUNT,
    UNLINK_COUNT,
    LatencyGuard,
    reason_to_purge,
    refusal,
    scan_commands,
    tidy_commands,
)
from toban.maintenance.task import (
    Finding,
    Mode,
    Severity,
    Step,
    StepContext,
    StepResult,
    StepSkippedError,
    Task,
    TaskPlan,
    TaskTools,
)
from toban.shop.settings import ShopSettings

if TYPE_CHECKING:
    from toban.shop.redis import ShopRedis

# The driver of Redis costs some 10 MB: it is imported where the shop has one.

KEYS: Final = gauge("toban_redis_tidy_keys", "Keys of the pattern when they were counted last.", labels=("task",))

NO_ADDRESS: Final = "shop.redis is not set: toban has no Redis to tidy"
PAUSE_SECONDS: Final = 0.02


class RedisTidy(Task):
    """
    Remove the keys of a pattern, by `SCAN` and `UNLINK` in small batches, and give unused memory back to the system.

    Redis removes keys with a time to live by itself: this is for programs that only rename what is over. What it costs
    is computed before, and a pattern that could match jobs or the shop's cache is refused.
    """

    kind: Literal["redis_tidy"] = "redis_tidy"
    target: ClassVar[str] = "redis"
    metrics: ClassVar[Sequence[MetricFamily]] = (KEYS,)

    cron: Schedule = "20 3 * * *"

    mode: Mode = Mode.DRY

    pattern: Annotated[Text, Field(min_length=1, max_length=200)] = "expired:*"
    """The pattern of the keys, as `SCAN` has it. It must begin with a text of its own."""

    protected: tuple[Text, ...] = ()
    """Beginnings of keys that the pattern must not match, besides `bull:` and `vendure-cache:`."""

    max_commands: Annotated[int, Field(ge=10)] = 20_000
    """Commands of a run at most: where there would be more, it does not begin. Upstash counts and bills each."""

    timeout: Duration = timedelta(minutes=30)

    @model_validator(mode="after")
    def _check_pattern(self) -> Self:
        if reason := refusal(self.pattern, self.protected):
            raise ValueError(reason)
        return self

    def not_configured(self, settings: ShopSettings) -> str:
        """It needs the shop's Redis."""
        return "" if settings.redis else NO_ADDRESS

    async def missing(self, tools: TaskTools) -> str:
        """Return the permissions that are missing. Raises ``ActionError``."""
        from toban.shop.redis import RedisError, RedisFailure

        redis, found = _redis(tools), []
        # Tried on a key that nobody has: it does nothing.
        nobody = f"{self.pattern.rstrip('*')}toban-permission-check"
        for command in (("DBSIZE",), ("INFO",), ("SCAN", "0", "MATCH", nobody, "COUNT", "1"), ("UNLINK", nobody)):
            try:
                await redis.execute(*command)
            except RedisError as error:
                if error.reason is not RedisFailure.NO_PRIVILEGE:
                    raise
                found.append(str(error))
        return "; ".join(found)

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Compute the cost, and count the keys. Raises ``ActionError``."""
        redis = _redis(tools)
        keys = int(await redis.execute("DBSIZE"))
        # They are counted once now, and once more while they are removed.
        scans = 2 * scan_commands(keys)
        if scans > self.max_commands:
            return TaskPlan((), [self._over_budget(scans, keys)], "it would take more commands than max_commands")
        hits = 0
        cursor, calls = "0", 0
        while calls <= self.max_commands:
            cursor, found = await self._scan(redis, cursor)
            hits, calls = hits + len(found), calls + 1
            if cursor == "0":
                break
            await tools.clock.sleep(PAUSE_SECONDS)
        commands = calls + tidy_commands(keys, hits)
        figures = {KEYS.name: float(hits)}
        text = f"{hits:,} of {keys:,} keys match {self.pattern}"
        if commands > self.max_commands:
            return TaskPlan((), [self._over_budget(commands, keys)], text, figures)
        steps = []
        if hits:
            description = f"remove {hits:,} keys that match {self.pattern}, by about {commands - calls:,} commands"
            steps.append(Step(self.pattern, description, {"hits": hits}))
        memory = await _memory(redis)
        if reason := reason_to_purge(memory):
            steps.append(Step("memory", f"give unused memory back to the system: {reason}"))
        return TaskPlan(steps, figures=figures, text=text)

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Remove the keys, or give memory back. Raises ``ActionError``, ``StepSkippedError``."""
        redis = _redis(tools)
        if step.name == "memory":
            return await _purge(redis)
        guard, removed, commands, cursor = LatencyGuard(), 0, 0, "0"
        while True:
            started = tools.clock.monotonic()
            cursor, found = await self._scan(redis, cursor)
            commands += 1
            is_slow = guard.is_doubled(tools.clock.monotonic() - started)
            for at in range(0, len(found), UNLINK_COUNT):
                removed += int(await redis.execute("UNLINK", *found[at : at + UNLINK_COUNT]))
                commands += 1
                await tools.clock.sleep(PAUSE_SECONDS)
            context.tell(f"{removed:,} of {step.facts['hits']:,} keys removed")
            done = f"removed {removed:,} keys by {commands:,} commands"
            if cursor == "0":
                return StepResult(done, figures={KEYS.name: 0.0})
            left = {KEYS.name: float(max(0, step.facts["hits"] - removed))}
            if is_slow:
                remedy = "the next run does the others"
                finding = Finding("latency", f"stopped: Redis takes twice as long as before; {done}", remedy=remedy)
                return StepResult(f"{done}; then Redis became slow", [finding], left)
            if commands >= self.max_commands:
                return StepResult(f"{done}; the next run does the others", figures=left)
            await tools.clock.sleep(PAUSE_SECONDS)

    async def _scan(self, redis: "ShopRedis", cursor: str) -> tuple[str, list[bytes]]:
        """Return the next cursor, and the keys of one SCAN that may be removed."""
        reply = await redis.execute("SCAN", cursor, "MATCH", self.pattern, "COUNT", str(SCAN_COUNT), "TYPE", "string")
        following, found = reply
        return following.decode(), list(found)

    def _over_budget(self, commands: int, keys: int) -> Finding:
        text = f"{keys:,} keys would take {commands:,} commands, and max_commands is {self.max_commands:,}"
        return Finding("max_commands", text, Severity.WARNING, "raise max_commands of this task, or narrow its pattern")


def _redis(tools: TaskTools) -> "ShopRedis":
    """Return the shop's Redis. Raises ``ActionError``."""
    if tools.shop.redis is None:
        raise ActionError(NO_ADDRESS)
    return tools.shop.redis


async def _memory(redis: "ShopRedis") -> Mapping[str, str]:
    """Return the fields of INFO; Upstash has others than Redis."""
    lines = (await redis.execute("INFO")).decode("utf-8", "replace").splitlines()
    return dict(it.partition(":")[::2] for it in lines if ":" in it)


async def _purge(redis: "ShopRedis") -> StepResult:
    from toban.shop.redis import RedisError, RedisFailure

    before = int((await _memory(redis)).get("used_memory_rss", 0))
    try:
        await redis.execute("MEMORY", "PURGE")
    except RedisError as error:
        if error.reason is RedisFailure.NO_PRIVILEGE:
            raise StepSkippedError(str(error)) from error
        raise
    after = int((await _memory(redis)).get("used_memory_rss", 0))
    return StepResult(f"{format_bytes(before)} before, {format_bytes(after)} after")
