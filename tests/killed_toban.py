"""
`TOBAN_KILLED_AT=POINT python -m tests.killed_toban …` runs toban, and ends it with SIGKILL at a point of its work.

A point is a phase and what happens there: `before opened` is when everything of a transaction is written that puts
`opened` into a timeline, and it is not committed; `after opened` when it is. `before` and `after` also stand for what
goes over the network: the message to a channel, the restart of a machine. `after paged 2` is the second time.

The program itself knows of none of this: here its functions are wrapped before it starts.
"""

import functools
import os
import runpy
import signal
from collections.abc import Callable
from typing import Any

from toban.alerting import alert_store
from toban.answers import repository as answers
from toban.incidents import repository as incidents
from toban.notify.channels.email import Email
from toban.notify.channels.pagerduty import Pagerduty
from toban.notify.channels.slack import Slack
from toban.runbooks import repository as runbooks
from toban.runbooks.fly_machines import FlyMachines
from toban.state import audit_log
from toban.state.database import State
from toban.web.api import incidents as incident_pages

POINT = "TOBAN_KILLED_AT"
"""The variable with the point; without one toban runs as always."""

COMMITTED = (
    *("alert firing", "opened", "paged", "paged 3", "delivered", "delivered 3", "answer received", "acknowledged"),
    *("answer executed", "run started", "run asked", "approved", "intent", "result", "run succeeded"),
    *("alert resolved", "resolved"),
)
"""What is committed, with a point before and one after each."""
SENT = ("send slack", "send pager", "send mail", "restart", "report")
"""What goes over the network, with a point before and one after each."""
POINTS = tuple(f"{phase} {name}" for name in (*COMMITTED, *SENT) for phase in ("before", "after"))


class Killer:
    """Counts what happens, and kills this process at the point."""

    def __init__(self, point: str) -> None:
        self._phase, _, name = point.partition(" ")
        event, _, count = name.rpartition(" ")
        self._event, self._left = (event, int(count)) if count.isdecimal() else (name, 1)
        self._marks: list[str] = []

    def mark(self, name: str) -> None:
        """Say what the transaction that goes on writes."""
        self._marks.append(name)

    def reach(self, phase: str, name: str) -> None:
        """End this process, if it is the point."""
        if (phase, name) == (self._phase, self._event):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def transact(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function that makes a transaction."""

        def transact(state: State, work: Callable[..., Any]) -> Any:
            def marked(connection: Any) -> Any:
                self._marks.clear()
                result = work(connection)
                for name in self._marks:
                    self.reach("before", name)
                return result

            result = original(state, marked)
            for name in self._marks:
                self.reach("after", name)
            self._marks.clear()
            return result

        return transact

    def writes(self, module: Any, function: str, name: Callable[..., list[str]]) -> None:
        """Wrap a function that writes; ``name`` says what, from its arguments."""
        original = getattr(module, function)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **more: Any) -> Any:
            for each in name(*arguments, **more):
                self.mark(each)
            return original(*arguments, **more)

        setattr(module, function, wrapped)

    def sends(self, owner: Any, function: str, name: str) -> None:
        """Wrap a coroutine function that sends something."""
        original = getattr(owner, function)

        @functools.wraps(original)
        async def wrapped(*arguments: Any, **more: Any) -> Any:
            self.reach("before", name)
            result = await original(*arguments, **more)
            self.reach("after", name)
            return result

        setattr(owner, function, wrapped)


def _run(_: Any, run: Any) -> list[str]:
    acts = run.acts[-1:]
    marks = ["intent" if act.ended is None else "result" for act in acts if act.index in (run.step, run.step - 1)]
    return [f"run {run.state.value}", *marks]


def _alerts(_: Any, entries: Any) -> list[str]:
    return [f"alert {it.change.alert.status.value}" for it in entries if it.change]


def install(point: str) -> None:
    """Wrap what the points name."""
    killer = Killer(point)
    State._transact = killer.transact(State._transact)  # type: ignore[method-assign]  # it is wrapped here alone
    killer.writes(alert_store.repository, "save", _alerts)
    killer.writes(incidents, "add_entries", lambda _, entries: [it.kind.value for it in entries])
    killer.writes(runbooks, "add_run", lambda *_: ["run started"])
    killer.writes(runbooks, "save_run", _run)
    killer.writes(audit_log, "record", lambda _, entry: ["approved"] * (entry.action == "approved a runbook"))
    killer.writes(answers, "add", lambda *_: ["answer received"])
    killer.writes(answers, "finish", lambda *_: ["answer executed"])
    killer.sends(Slack, "send", "send slack")
    killer.sends(Pagerduty, "send", "send pager")
    killer.sends(Email, "send", "send mail")
    killer.sends(FlyMachines, "restart", "restart")
    killer.sends(incident_pages.IncidentsApi, "report_content", "report")


if __name__ == "__main__":
    if os.environ.get(POINT):
        install(os.environ[POINT])
    runpy.run_module("toban", run_name="__main__", alter_sys=True)
