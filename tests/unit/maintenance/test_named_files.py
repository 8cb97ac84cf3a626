"""Files that a configuration names are backed up and keep their place; secrets are named and never copied."""

from pathlib import Path
from typing import get_args

import pytest

from toban.core.config_types import FilePattern
from toban.core.errors import TobanError
from toban.maintenance import named_files as module
from toban.maintenance.data_backup import BackupManifest, back_up
from toban.maintenance.data_restore import files_elsewhere, restore
from toban.maintenance.named_files import named_files
from toban.settings import Settings

CONFIGURATION = """
alerting:
  rules: [rules/*.yaml, {outside}/more.yaml, gone.yaml]
runbooks:
  files: ../shared/runbooks.yaml
dashboards:
  boards: ["${{BOARDS}}/a.yaml"]
channels:
  mail: {{kind: email, ca: {outside}/ca.pem}}
shop:
  backups: {{path: /backups, identity_file: {outside}/backup.key}}
web: {{token: "${{NOT_SET}}"}}
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("more.yaml", "ca.pem"):
        (folder / name).write_text(name)
    (folder / "backup.key").write_text("AGE-SECRET-KEY-1")
    return folder


@pytest.fixture
def config(tmp_path: Path, outside: Path) -> Path:
    for name in ("etc/rules/a.yaml", "etc/rules/b.yaml", "etc/boards/a.yaml", "shared/runbooks.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    path = tmp_path / "etc" / "toban.yaml"
    path.write_text(CONFIGURATION.format(outside=outside))
    return path


def test_a_backup_has_what_the_configuration_names_and_no_secret(config: Path, outside: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    named = named_files(config, {"BOARDS": "boards"})
    manifest = back_up(tmp_path / "data", tmp_path / "backup", config, (), named)
    elsewhere = [
        f"elsewhere{it}" for it in (outside / "ca.pem", outside / "more.yaml", tmp_path / "shared/runbooks.yaml")
    ]
    kept = ["settings/boards/a.yaml", "settings/rules/a.yaml", "settings/rules/b.yaml", "settings/toban.yaml"]
    assert [it.path for it in manifest.files] == [*elsewhere, *kept]
    assert (tmp_path / "backup/settings/rules/a.yaml").read_text() == "etc/rules/a.yaml"
    assert named.problems == (f"alerting.rules: '{config.parent / 'gone.yaml'}': no such file",)
    assert manifest.configuration == "settings/toban.yaml"
    assert [(it.setting, it.path) for it in manifest.secrets] == [
        ("shop.backups.identity_file", str(outside / "backup.key"))
    ]
    found = [it.read_bytes() for it in (tmp_path / "backup").rglob("*") if it.is_file()]
    assert not any(b"AGE-SECRET-KEY" in it for it in found)
    assert BackupManifest.read(tmp_path / "backup") == manifest


def test_a_restore_writes_only_data_and_names_what_is_missing_or_differs(config: Path, outside: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "alerts.jsonl").write_text("{}\n")
    back_up(tmp_path / "data", tmp_path / "backup", config, (), named_files(config, {"BOARDS": "boards"}))
    (outside / "more.yaml").unlink()
    (tmp_path / "shared/runbooks.yaml").write_text("changed")
    manifest = restore(tmp_path / "backup", tmp_path / "new")
    assert [it.name for it in (tmp_path / "new").iterdir()] == ["alerts.jsonl"]
    found = {it.path: it.differs for it in files_elsewhere(tmp_path / "backup", manifest)}
    assert found == {outside / "more.yaml": False, tmp_path / "shared/runbooks.yaml": True}
    assert not (outside / "more.yaml").exists()
    assert (tmp_path / "shared/runbooks.yaml").read_text() == "changed"


def test_what_is_no_file_of_a_configuration_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_SIZE", 3)
    with pytest.raises(TobanError, match=r"alerting\.rules: .+a\.yaml has 16 B: it is no file of a configuration"):
        named_files(config, {"BOARDS": "boards"})
    monkeypatch.setattr(module, "MAX_FILES", 3)
    with pytest.raises(TobanError, match="the configuration names 6 files: at most 3 are backed up"):
        named_files(config, {"BOARDS": "boards"})


@pytest.mark.parametrize("text", ["", "[]", "alerting: 3", "alerting: {rules: {a: 1}}", "shop: {x_file: [1]}", "a: ["])
def test_a_configuration_with_mistakes_is_backed_up_all_the_same(tmp_path: Path, text: str):
    (tmp_path / "toban.yaml").write_text(text)
    assert named_files(tmp_path / "toban.yaml", {}).files == ()


def test_every_setting_that_takes_patterns_of_own_files_is_known():
    """A new setting of the kind is a line in `PATTERNS`; files of logs are what toban reads, not what it is told by."""
    found = {
        (name, inner)
        for name, field in Settings.model_fields.items()
        for inner, value in getattr(field.annotation, "model_fields", {}).items()
        if get_args(value.annotation)[:1] == (FilePattern,)
    }
    assert found == set(module.PATTERNS)
