"""What is installed to run toban: the locks, and what the code imports."""

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SOURCES = sorted((ROOT / "src/toban").rglob("*.py"))


def lock(name: str) -> dict[str, frozenset[str]]:
    """Return the hashes of each pin (name, version and marker)."""
    entries = re.split(r"(?m)^(?=\w)", (ROOT / name).read_text(encoding="utf-8"))[1:]
    return {it.partition(" \\")[0]: frozenset(re.findall(r"--hash=(sha256:\w{64})\b", it)) for it in entries}


def names(requirements) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements if isinstance(line, str)}


RUN_TIME, DEVELOPMENT = lock("requirements.lock"), lock("requirements-dev.lock")
EXTRAS = PROJECT["project"]["optional-dependencies"]


def test_run_time_is_pinned_as_in_development():
    assert RUN_TIME.items() <= DEVELOPMENT.items()
    assert all(RUN_TIME.values())


def test_run_time_has_the_dependencies_and_nothing_that_only_development_needs():
    development = names(line for group in PROJECT["dependency-groups"].values() for line in group)
    extras = names(line for extra in EXTRAS.values() for line in extra)

    assert names(PROJECT["project"]["dependencies"]) <= names(RUN_TIME)
    assert not names(RUN_TIME) & (development | extras)
    assert development | extras <= names(DEVELOPMENT)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_no_index(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [
        line for line in lines if not re.fullmatch(r"[\w.-]+==\S+( ; .+)? \\|    --hash=sha256:\w+( \\)?", line)
    ] == []


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Return each imported module, and whether its absence is handled: by ``except ImportError``, or ``find_spec``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    sought = {
        str(argument.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("find_spec")
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    guarded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any("ImportError" in ast.unparse(it.type) for it in node.handlers if it.type)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module, node in guarded or node.module.partition(".")[0] in sought


def files(requirements: set[str]) -> set[str]:
    """Return what these distributions have installed here; those that another platform needs have nothing."""
    found = set()
    for name in requirements:
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        root, record = installed.locate_file(""), installed.read_text("RECORD") or ""
        found |= {f"{root}/{line.partition(',')[0]}" for line in record.splitlines()}
    return found


def test_nothing_is_imported_that_run_time_does_not_bring():
    """
    What an extra brings is imported where its absence is handled.
    """
    run_time = files(names(RUN_TIME))
    extras = files(names(line for extra in EXTRAS.values() for line in extra))
    wrong, guards = [], set()
    for path in SOURCES:
        for module, guarded in imports(path):
            if module.partition(".")[0] in {"toban", *sys.stdlib_module_names}:
                continue
            spec = importlib.util.find_spec(module)
            place = spec.origin if spec else None
            if guarded and place in extras:
                guards.add(module)
            elif place not in run_time:
                wrong.append(f"{path.relative_to(ROOT)}: {module}")
    assert wrong == []
    assert guards
