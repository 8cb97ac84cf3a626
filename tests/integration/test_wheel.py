"""The wheel, installed into an empty environment with what `requirements.lock` has and nothing else."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

import toban
from tests.needs import need
from tests.program import PATIENCE, Program, eventually

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
CLEAN = {name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in os.environ}
"""An environment in which the installed program may write its bytecode, and nothing names another toban."""

EVERY_COMMAND = """
import click, importlib, pkgutil
import toban, toban.cli.program

def paths(command, path):
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from paths(command.get_command(context, name), [*path, name])

for path in paths(toban.cli.program.program, []):
    assert toban.cli.program.run([*path, "--help"]) == 0, path
for module in pkgutil.walk_packages(toban.__path__, "toban."):
    if not module.name.endswith("__main__") and ".migrations." not in module.name:
        importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from what the Dockerfile copies."""
    folder = tmp_path_factory.mktemp("wheel")
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    names = {name for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", dockerfile) for name in line.split()}
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    build = ["build", "--wheel", "--quiet", "--no-build-isolation", "--offline", "--out-dir", folder]
    uv(*build, "--python", sys.executable, folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel; return the program `toban`."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    uv("venv", "--quiet", "--no-project", "--offline", "--python", sys.executable, place)
    lock = ["--require-hashes", "-r", ROOT / "requirements.lock"]
    uv("pip", "install", "--quiet", "--no-deps", "-p", place, *lock)
    # The bytecode of the same files is here already: compiling it once more takes longer than all these tests.
    here = Path(sysconfig.get_path("purelib"))
    for cache in here.rglob("__pycache__"):
        installed = place / cache.relative_to(sys.prefix)
        if installed.parent.is_dir():
            shutil.copytree(cache, installed)
    uv("pip", "install", "--quiet", "--no-deps", "--offline", "-p", place, wheel)
    return place / "bin" / "toban"


def uv(*arguments: object) -> None:
    found = need("uv", shutil.which("uv", path=str(Path(sys.executable).parent)))
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run(*command: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**CLEAN, "TOBAN_DATA": str(folder / "data")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_wheel_has_every_file_of_the_package(wheel):
    """
    Rules, messages, SQL, migrations, pages and the demo's shop too.
    """
    there = {
        str(path.relative_to(SOURCES))
        for path in (SOURCES / "toban").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("toban/")}
    assert packed == there


def test_every_command_and_module_is_imported_without_what_only_development_needs(program, tmp_path):
    done = run(program.parent / "python", "-c", EVERY_COMMAND, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Usage: toban silence add" in done.stdout


def test_commands_work_in_an_empty_folder(program, tmp_path):
    assert run(program, "--version", folder=tmp_path).stdout == f"toban, version {toban.__version__}\n"
    made = run(program, "init", "--yes", folder=tmp_path)
    assert (made.returncode, (tmp_path / "toban.yaml").exists()) == (0, True), made.stderr
    checked = run(program, "check", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "The configuration is valid." in checked.stdout


def test_the_demo_says_how_to_install_what_it_needs(program, tmp_path):
    done = run(program, "demo", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "the demo needs PostgreSQL, Valkey, aiosmtpd: pip install 'toban[demo]', or `make demo` in a checkout\n"
    )


def test_it_runs_until_it_is_stopped_and_the_container_is_healthy_as_long(program, tmp_path):
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    _, python, *check = compose["services"]["toban"]["healthcheck"]["test"]
    running = Program(tmp_path / "data", command=[str(program)])
    try:
        address = running.url
        command = [program.parent / python, *(it.replace("http://127.0.0.1:9119", address) for it in check)]
        eventually(lambda: run(*command, folder=tmp_path).returncode, lambda code: code == 0)
        assert [running.get(page)[0] for page in ("/", "/dashboards", "/health")] == [200, 200, 200]
        assert running.stop() == 0
        assert run(*command, folder=tmp_path).returncode != 0
    finally:
        running.close()
