"""Applying a proposal to toban.yaml."""

import pytest
from click.testing import CliRunner

from toban.cli.commands import review
from toban.core.errors import SettingsError
from toban.settings import load_settings

PROPOSAL = {
    "rule": "disk_usage_high",
    "override": {"limit": "0.92", "for": "10m"},
    "fired": 50,
    "saved": 40,
    "found": 3,
    "days": 89.9,
}


def shipped(tmp_path):
    """Return the rule as it is shipped."""
    rules = review.load_rules(load_settings(tmp_path / "toban.yaml", {}))
    return next(it for group in rules for it in group.alerts if it.name == PROPOSAL["rule"])


def apply(tmp_path, monkeypatch, **changes):
    """Apply the proposal to a file; return the output and what was posted."""
    (tmp_path / "toban.yaml").write_text("# mine\nalerting:\n  without: [disk_full]\n")
    rule, posted = shipped(tmp_path), []
    proposal = {**PROPOSAL, "expression": rule.query.text, "for_seconds": rule.for_.total_seconds(), **changes}
    monkeypatch.setattr(review, "get", lambda path, data: {"proposals": [proposal]})
    monkeypatch.setattr(review, "post", lambda path, data: posted.append(path))
    arguments = ["--apply", PROPOSAL["rule"], "--config", str(tmp_path / "toban.yaml")]
    result = CliRunner().invoke(review.command, arguments)
    return result, posted


def test_a_proposal_is_written_shown_and_in_force(tmp_path, monkeypatch):
    result, posted = apply(tmp_path, monkeypatch)
    assert result.exception is None, result.output
    assert "+      limit: 0.92" in result.output and posted == ["/-/reload"]
    override = load_settings(tmp_path / "toban.yaml", {}).alerting.overrides["disk_usage_high"]
    assert (override.limit, override.for_.total_seconds()) == (0.92, 600)
    text = (tmp_path / "toban.yaml").read_text()
    assert "# mine" in text and "saves 40 of 50 firings in 90 days, keeps 3 of 3 incidents" in text
    assert [it.name for it in tmp_path.iterdir()] == ["toban.yaml"]


@pytest.mark.parametrize("changes", [{"expression": "something else > 3"}, {"for_seconds": 17.0}])
def test_a_proposal_for_a_rule_that_has_changed_since_is_refused(tmp_path, monkeypatch, changes):
    result, posted = apply(tmp_path, monkeypatch, **changes)
    assert isinstance(result.exception, SettingsError) and "has changed since" in str(result.exception)
    assert posted == [] and "overrides" not in (tmp_path / "toban.yaml").read_text()


def test_a_file_that_would_be_invalid_is_left_as_it_was(tmp_path, monkeypatch):
    result, posted = apply(tmp_path, monkeypatch, override={"limit": "much"})
    assert isinstance(result.exception, SettingsError)
    assert posted == [] and "overrides" not in (tmp_path / "toban.yaml").read_text()


def test_a_file_that_only_its_owner_may_read_stays_so(tmp_path, monkeypatch):
    (tmp_path / "toban.yaml").touch(mode=0o600)
    result, _ = apply(tmp_path, monkeypatch)
    assert result.exception is None, result.output
    assert (tmp_path / "toban.yaml").stat().st_mode & 0o777 == 0o600
