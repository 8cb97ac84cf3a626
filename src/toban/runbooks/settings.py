"""Settings of runbooks, and the runbooks that they load."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from toban.core.config_types import FilePattern, Section, readable_error
from toban.core.errors import SettingsError
from toban.core.paths import matching_files, read_text
from toban.core.yaml_loader import load_yaml
from toban.oncall.schedule_settings import Restriction
from toban.runbooks.action import ACTIONS, Action
from toban.runbooks.runbook import Guard, Mode, Runbook, TextStep


class RunbookSettings(Section):
    """Runbooks: what is done about alerts, by people or by toban, and how much it may do by itself."""

    files: tuple[FilePattern, ...] = ()
    """Files with runbooks of your own, one each; one of the same name replaces a shipped one."""

    shipped: bool = True
    """Whether the runbooks that toban ships are loaded; all of them ask before they act."""

    without: tuple[str, ...] = ()
    """Shipped runbooks that are left out."""

    commands: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """The programs that `run_command` may run, as runbooks write them: no others, whatever a runbook says."""

    modes: Mapping[str, Mode] = Field(default_factory=dict)
    """The mode of runbooks by name, where it differs from their own: `auto`, `ask` or `dry`."""

    acts_per_hour: Annotated[int, Field(ge=0, le=100)] = 3
    """How many acts all runbooks together may do by themselves in an hour."""

    acts_per_day: Annotated[int, Field(ge=0, le=1000)] = 6
    """How many in a day."""


def load_runbooks(settings: RunbookSettings) -> list[Runbook]:
    """Return all runbooks by name. Raises ``SettingsError`` with every mistake."""
    mistakes: list[str] = []
    shipped = {it.name: it for it in shipped_runbooks()} if settings.shipped else {}
    if settings.shipped:
        mistakes += [f"runbooks.without: {_unknown(it, shipped)}" for it in settings.without if it not in shipped]
    found = {name: it for name, it in shipped.items() if name not in settings.without}
    own: dict[str, str] = {}
    for pattern in settings.files:
        try:
            for path in matching_files(pattern, "runbooks.files"):
                runbook = parse_runbook(read_text(path), str(path))
                if runbook.name in own:
                    raise SettingsError(f"{path}: the runbook {runbook.name!r} is in {own[runbook.name]} too")
                own[runbook.name] = str(path)
                found[runbook.name] = runbook
        except SettingsError as error:
            mistakes.append(str(error))
    mistakes += _unlisted_commands(settings, found.values())
    for name, mode in settings.modes.items():
        if name not in found:
            mistakes.append(f"runbooks.modes: {_unknown(name, found)}")
        else:
            guard = found[name].guard.model_copy(update={"mode": mode})
            found[name] = found[name].model_copy(update={"guard": guard})
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return [found[name] for name in sorted(found)]


def _unlisted_commands(settings: RunbookSettings, runbooks: Iterable[Runbook]) -> Iterator[str]:
    """Yield what is wrong with commands of runbooks that the configuration does not list."""
    for runbook in runbooks:
        commands = (it for it in runbook.steps if isinstance(it, Action) and it.kind == "run_command")
        programs = [str(step.command[0]) for step in commands]  # type: ignore[attr-defined]  # the fields of its kind
        for program in dict.fromkeys(programs):
            if program not in settings.commands:
                yield f"runbooks.commands: {runbook.name} runs {program}, which is not listed here: add it to let it"


@cache
def shipped_runbooks() -> tuple[Runbook, ...]:
    """Return the runbooks that toban ships."""
    folder = files("toban.runbooks").joinpath("shipped")
    names = sorted(it.name for it in folder.iterdir() if it.name.endswith(".yaml"))
    return tuple(parse_runbook(folder.joinpath(name).read_text(encoding="utf-8"), name) for name in names)


def parse_runbook(text: str, file: str) -> Runbook:
    """Parse the file of a runbook. Raises ``SettingsError`` that names every mistake and where it is."""
    raw = None
    try:
        raw = load_yaml(text)
        return Runbook.model_validate(raw)
    except ValidationError as error:
        found = [f"{file}: {'.'.join(map(str, it['loc']))}: {_readable(it, raw)}" for it in error.errors()]
        raise SettingsError("\n".join(found)) from error
    except ValueError as error:
        raise SettingsError(f"{file}: {error}") from error


def _readable(details: ErrorDetails, raw: Any) -> str:
    """Return an error and its remedy."""
    if details["type"] != "extra_forbidden":
        return readable_error(details)
    *parents, key = details["loc"]
    model: type[BaseModel] = Runbook
    if parents[:1] == ["steps"] and len(parents) == 2:
        step = raw["steps"][parents[1]]
        model = TextStep if "text" in step else ACTIONS.load(next(iter(step)))
    elif parents:
        model = Restriction if parents[:2] == ["guard", "hours"] else Guard
    known = [field.alias or name for name, field in model.model_fields.items() if name != "kind"]
    near = difflib.get_close_matches(str(key), known, 1)
    remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown setting {str(key)!r}: {remedy}"


def _unknown(name: str, known: Mapping[str, Runbook]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)) or 'none'}"
    return f"unknown runbook {name!r}: {remedy}"
