"""Commands on silences, with a state in a file."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.notify.silence_commands import SilenceCommands, SilenceSpec
from toban.state import audit_log
from toban.state.backends import SqliteBackend
from toban.state.database import State

ANN = Actor("ann", "local socket")
INFO = Matcher("severity", MatchOperator.EQUAL, "info")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def state(tmp_path, clock):
    async with State(SqliteBackend(tmp_path / "toban.db"), clock, MetricRegistry()) as state:
        yield state


async def decided():
    pass


@pytest.fixture
def commands(state, clock):
    return SilenceCommands(state, clock, decided)


def spec(clock, matchers=(INFO,), starts=None, hours=1, **fields):
    start = None if starts is None else clock.now() + timedelta(hours=starts)
    return SilenceSpec(matchers, clock.now() + timedelta(hours=hours), **{"comment": "tea", "starts": start} | fields)


async def audit(state):
    return [(it.actor, it.action, it.facts["silence"]) for it in await state.transaction(audit_log.recent)][::-1]


async def test_silences_that_have_not_expired_are_bounded(commands, clock, monkeypatch):
    """
    Each costs every decision; one that is changed or expired makes no further one.
    """
    monkeypatch.setattr(input_limits, "SILENCES", 3)
    made = [await commands.create(spec(clock), ANN) for _ in range(3)]
    with pytest.raises(InvalidCommandError, match="there are 3 silences already: expire some of them first"):
        await commands.create(spec(clock), ANN)
    assert (await commands.replace(made[0].id, spec(clock, hours=2, starts=0), ANN)).id == made[0].id
    await commands.expire(made[1].id, ANN)
    await commands.create(spec(clock), ANN)
    clock.advance(timedelta(hours=3).total_seconds())
    await commands.create(spec(clock), ANN)
    assert len(await commands.all()) == 5


async def test_the_actor_is_audited_whatever_name_a_silence_shows(commands, state, clock):
    named = await commands.create(spec(clock, created_by="bob"), ANN)
    unnamed = await commands.create(spec(clock), ANN)
    await commands.expire(named.id, ANN)
    assert (named.by, unnamed.by) == ("bob", "ann")
    assert await audit(state) == [
        (ANN, "created a silence", named.id),
        (ANN, "created a silence", unnamed.id),
        (ANN, "expired a silence", named.id),
    ]


async def test_a_change_that_keeps_matchers_and_start_keeps_the_id(commands, state, clock):
    """
    As in Alertmanager, whose clients send the start back as they read it.
    """
    silence = await commands.create(spec(clock), ANN)
    clock.advance(60)
    later = spec(clock, hours=5, comment="more tea")
    changed = await commands.replace(silence.id, SilenceSpec(**{**_fields(later), "starts": silence.starts}), ANN)
    assert (changed.id, changed.starts, changed.comment) == (silence.id, silence.starts, "more tea")
    assert await commands.all() == [changed]
    assert [action for _, action, _ in await audit(state)] == ["created a silence", "updated a silence"]


async def test_a_change_of_matchers_expires_the_silence_and_creates_another(commands, state, clock):
    silence = await commands.create(spec(clock), ANN)
    other = await commands.replace(silence.id, spec(clock, (Matcher("a", MatchOperator.EQUAL, "b"),)), ANN)
    expired, created = sorted(await commands.all(), key=lambda it: it.id == other.id)
    assert (expired.ends, created) == (clock.now(), other)
    assert await audit(state) == [
        (ANN, "created a silence", silence.id),
        (ANN, "expired a silence", silence.id),
        (ANN, "created a silence", other.id),
    ]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"starts": 2}, "starts: start time must be before end time"),
        ({"hours": -1}, "ends: end time can't be in the past"),
        ({"matchers": ()}, "matchers: at least one matcher must not match the empty string"),
        ({"matchers": (Matcher("a", MatchOperator.EQUAL, ""),)}, "matchers: at least one matcher"),
        ({"matchers": (INFO,) * 101}, "matchers: 101 matchers: at most 100 are accepted"),
        ({"comment": "x" * 2001}, "comment: has 2001 characters"),
        ({"comment": "\0"}, "comment: contains an invalid character"),
        ({"created_by": "\ud800"}, "created_by: contains an invalid character"),
    ],
)
async def test_an_invalid_silence_changes_nothing(commands, state, clock, fields, error):
    silence = await commands.create(spec(clock), ANN)
    with pytest.raises(InvalidCommandError, match=error):
        await commands.create(spec(clock, **fields), ANN)
    with pytest.raises(InvalidCommandError, match=error):
        await commands.replace(silence.id, spec(clock, **fields), ANN)
    assert await commands.all() == [silence]
    assert len(await audit(state)) == 1


async def test_who_is_limited_silences_for_a_day_at_most(commands, clock):
    """
    Neither longer at once, nor by extending what exists.
    """
    limited = replace(ANN, is_limited=True)
    long = await commands.create(spec(clock, hours=25), ANN)
    with pytest.raises(InvalidCommandError, match="duration: more than 24 hours takes the permission to configure"):
        await commands.create(spec(clock, hours=25), limited)
    with pytest.raises(InvalidCommandError, match="duration: more than 24 hours"):
        await commands.replace(long.id, replace(spec(clock, hours=25), starts=long.starts), limited)
    day = await commands.create(spec(clock, hours=24), limited)
    assert {it.id for it in await commands.all()} == {day.id, long.id}
    await commands.expire(long.id, limited)


async def test_unknown_silences_are_not_found(commands, state, clock):
    """
    Neither is what has expired, which can't expire again.
    """
    silence = await commands.create(spec(clock), ANN)
    await commands.expire(silence.id, ANN)
    for attempt in (
        commands.expire(silence.id, ANN),
        commands.expire("nope", ANN),
        commands.replace("nope", spec(clock), ANN),
        commands.get("nope"),
    ):
        with pytest.raises(NotFoundError, match="not found"):
            await attempt
    assert len(await audit(state)) == 2


def _fields(of):
    return {name: getattr(of, name) for name in of.__dataclass_fields__}
