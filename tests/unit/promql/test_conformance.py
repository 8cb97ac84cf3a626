"""toban's PromQL, questioned in Prometheus' own test language."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.promql_scripts import ScriptSource, Verdict, check_script, run_script

OURS = sorted((Path(__file__).parents[3] / "tests" / "promql").glob("*.test"))
REFERENCE = sorted((Path(__file__).parents[4] / "shared" / "data" / "promql").glob("*.test"))

EXPECTED_TO_DIFFER: dict[tuple[str, str], str] = {}
"""Evals of the reference that toban answers differently on purpose: script and query, and why."""


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "together"])
@pytest.mark.parametrize("script", OURS, ids=lambda script: script.stem)
def test_own_promql_scripts_pass(script: Path, shared: bool):
    """
    What the reference scripts don't reach is true too, whether series stand apart or in one group with holes.
    """
    check_script(script.read_text(), source=ScriptSource(shared=shared))


@pytest.mark.skipif(not REFERENCE, reason="the reference scripts are not part of the repository")
@pytest.mark.parametrize("shared", [False, True], ids=["apart", "together"])
@pytest.mark.parametrize("script", REFERENCE, ids=lambda script: script.stem)
def test_prometheus_promql_scripts_pass(script: Path, shared: bool, record_property):
    """
    Prometheus' own expectations are met; only what toban doesn't have is left out, and counted.
    """
    outcomes = list(run_script(script.read_text(), source=ScriptSource(shared=shared)))
    failed = [
        f"line {outcome.line}: {outcome.query}: {outcome.reason}"
        for outcome in outcomes
        if outcome.verdict is Verdict.FAILED and (script.name, outcome.query) not in EXPECTED_TO_DIFFER
    ]
    for verdict, count in Counter(outcome.verdict for outcome in outcomes).items():
        record_property(str(verdict), count)

    assert not failed, "\n".join(failed)
    assert any(outcome.verdict is Verdict.PASSED for outcome in outcomes)
    for outcome in outcomes:
        if outcome.verdict is Verdict.SKIPPED:
            assert re.search("native histograms|experimental|feature flags", outcome.reason)


def test_the_runner_detects_wrong_results():
    """
    The runner notices a wrong value, a missing series, a wrong order and a failure that didn't happen.
    """
    script = """
load 1m
  x{a="1"} 1
  x{a="2"} 2

eval instant at 0 x{a="1"}
  x{a="1"} 1.1

eval instant at 0 x
  x{a="1"} 1

eval instant at 0 sort(x)
  expect ordered
  x{a="2"} 2
  x{a="1"} 1

eval instant at 0 x
  expect fail
"""
    assert [outcome.verdict for outcome in run_script(script)] == [Verdict.FAILED] * 4
