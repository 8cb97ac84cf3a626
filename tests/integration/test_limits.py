"""A limit from its proposal to its effect, in the whole program."""

import json

from tests.noisy_shop import RULE, NoisyShop
from tests.program import toban


def test_a_limit_is_proposed_applied_and_remembered(tmp_path):
    """
    With the evidence by name; the file has it with a comment, and the next start still knows it.
    """
    shop = NoisyShop()
    shop.prepare(tmp_path)
    config = tmp_path / "toban.yaml"
    channel = '{kind: webhook, url: "http://127.0.0.1:9/secret-canary"}'
    config.write_text(f"# mine\nalerting:\n  rules: [rules.yaml]\nchannels:\n  ops: {channel}\n")
    given = ("--config", str(config))
    with toban(tmp_path / "data", *given) as program:
        program.until("is on duty")
        assert program.run("import", str(tmp_path / "history.om")).returncode == 0
        assert "not reviewed yet" in program.run("review", "--last").stdout
        proposed = program.run("review", "--propose")
        assert proposed.returncode == 0, proposed.stderr
        run = json.loads(program.run("review", "--last", "--json").stdout)
        (found,) = run["proposals"]
        assert (found["rule"], found["found"], found["obstacle"]) == (RULE, 3, "")
        assert found["saved"] > 30 and found["judged"]["saved_pages"] == found["saved"]
        assert [it["incident"]["id"] for it in found["judged"]["found"]] == [1, 2, 3]
        assert [it["name"] for it in run["unnoticed"]] == ["#4 Customers can't pay", "#5 Jobs are not worked off"]
        assert {one["id"] for it in found["others"] for one in it["missed"]} == {3}
        (applied,) = run["applied"]
        assert applied["follow_up"]["verdict"] == "misses"
        reasons = {it["rule"]: it["reason"] for it in run["refusals"]}
        assert reasons["jobs_pile_up"] == "it fired less than 5 times with its present limit"
        assert [it["id"] for it in applied["follow_up"]["missed"]] == [5]
        assert f"{RULE}: of " in proposed.stdout and "MISSED incidents" in proposed.stdout

        monthly = program.run("maintenance", "run", "threshold_review", "--json").stdout
        assert json.loads(monthly)["text"] == "1 limits could be better"
        assert "#4 Customers can't pay" in monthly and "the limit that was applied missed" in monthly

        before, rules = config.read_text(), (tmp_path / "rules.yaml").read_text()
        (tmp_path / "rules.yaml").write_text("groups: [")
        refused = program.run("review", "--apply", RULE)
        assert refused.returncode == 1 and "was not reloaded, and is as it was" in refused.stderr
        assert "      limit:" in refused.stderr and config.read_text() == before
        (tmp_path / "rules.yaml").write_text(rules)

        written = program.run("review", "--apply", RULE)
        assert written.returncode == 0, written.stderr
        assert "The configuration is reloaded." in written.stdout and "secret-canary" not in written.stdout
        text = config.read_text()
        assert text.startswith("# mine\n") and "keeps 3 of 3 incidents" in text
        groups = program.json("/api/v1/rules")["data"]["groups"]
        (rule,) = [it for group in groups for it in group["rules"] if it["name"] == RULE]
        assert rule["query"] == f"queue_length > {found['override']['limit']}"
        again = program.run("review", "--apply", RULE)
        assert again.returncode == 1 and "has changed since" in again.stderr
        entries = [it["action"] for it in program.json("/api/audit")["entries"]]
        assert "applied a proposed limit" in entries
    with toban(tmp_path / "data", *given) as program:
        program.until("is on duty")
        last = program.json("/api/review/proposals")
        assert [(it["rule"], it["is_void"]) for it in last["proposals"]] == [(RULE, True)]
        assert [it["rule"] for it in last["applied"]] == [RULE, "jobs_pile_up"]
        assert "Limits that were applied:" in program.run("review").stdout
