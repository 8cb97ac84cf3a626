"""The review of thresholds on the command line."""

import pytest
from click.testing import CliRunner

from tests.review_fixtures import INCIDENT, MISSED, NOW, applied_limit, judged, proposal
from toban.cli.commands import review
from toban.cli.review_text import proposals_text
from toban.core.errors import TobanError
from toban.review.follow_up import FiringFigures, FollowUp, Verdict
from toban.review.proposal_run import ProposalRun
from toban.review.proposals import Refusal
from toban.web.api.review_models import AppliedLimitModel, ProposalModel, ProposalsResponse

LINES = "alerting:\n  overrides:\n    disk_usage_high:\n      limit: 0.92"


def response(obstacle="", *, is_void=False, ended=NOW, error=""):
    """Return what the API returns."""
    refusal = Refusal("slow", "no limit saves enough", (judged(0.95, missed=(MISSED,)),))
    run = ProposalRun(NOW, "ann", 44, 44, ended, (proposal(),), (refusal,), 12, (MISSED,), error=error)
    then, since = FiringFigures(56, 14.0, 9, 3, 0.25), FiringFigures(5, 1.25, 0, 0, None)
    follow_up = FollowUp(0, NOW, Verdict.MISSES, 28.0, then, since, (INCIDENT,))
    found = ProposalsResponse.of(
        run,
        [ProposalModel.of(proposal(), LINES, obstacle, is_void=is_void)],
        [AppliedLimitModel.of(applied_limit("other"), follow_up), AppliedLimitModel.of(applied_limit("young"))],
    )
    return found.model_dump(mode="json")


def test_each_proposal_has_its_evidence_by_name():
    text = proposals_text(response())
    for line in [
        "disk_usage_high: of 50 firings in 90 days 40 would not have been (80 pages); kept 1 of 1 true incidents,"
        " 3 min later, at worst 3 min later (quantile 99.0%)",
        "    saved: 2025-12-29 00:00Z instance=web-1, 2 pages",
        "    disk_usage_high 0.95: saves 40 (80 pages), misses #8 Nobody can pay (2025-12-27 00:00Z)",
        "    slow 0.95: saves 40 (80 pages), misses #8 Nobody can pay (2025-12-27 00:00Z)",
        "12 true incidents in 90 days, 1 in which nothing fired:",
        "  other 0.9 → 0.92, 2026-01-01 00:00Z by ann: promised 13.3 firings a month less, 1 incidents kept",
        "    it MISSED incidents that the limit before would have found (28 days)",
        "    before: 14.0 firings a week, 9 useless, 3 pages, acted on 25%",
        "    after: 1.2 firings a week, 0 useless, 0 pages, acted on –",
        "    missed: #7 The disk is full (2025-12-23 00:00Z)",
        "    compared at the next review",
    ]:
        assert line in text.splitlines(), text


def test_before_the_first_review_it_says_how_to_begin():
    empty = ProposalsResponse.of(None, [], []).model_dump(mode="json")
    assert "`toban review --propose`" in proposals_text(empty)


def test_a_proposal_is_applied_by_the_running_toban(monkeypatch):
    posted = []

    def post(path, data, **body):
        posted.append((path, body))
        return {"difference": "+      limit: 0.92", "applied": {}}

    monkeypatch.setattr(review, "post", post)
    result = CliRunner().invoke(review.command, ["--apply", "disk_usage_high"])
    assert result.output == "+      limit: 0.92\nThe configuration is reloaded.\n"
    assert posted == [("/api/review/apply", {"rule": "disk_usage_high"})]


@pytest.mark.parametrize(("is_void", "shown"), [(False, True), (True, False)])
def test_where_it_can_not_be_written_the_lines_are_shown_to_be_copied(monkeypatch, is_void, shown):
    def post(path, data, **body):
        raise TobanError("toban.yaml can't be written here: copy the lines into it")

    monkeypatch.setattr(review, "post", post)
    monkeypatch.setattr(review, "get", lambda path, data: response(is_void=is_void))
    result = CliRunner().invoke(review.command, ["--apply", "disk_usage_high"])
    assert isinstance(result.exception, TobanError) and "copy the lines" in str(result.exception)
    assert (LINES in str(result.exception)) is shown


@pytest.mark.parametrize(
    ("later", "message"),
    [({"started": "2025-01-01"}, "was reloaded meanwhile"), ({"error": "disk full"}, "disk full")],
)
def test_a_review_that_did_not_end_is_no_result(monkeypatch, later, message):
    monkeypatch.setattr(review, "post", lambda path, data: response(ended=None))
    monkeypatch.setattr(review, "get", lambda path, data: {**response(), **later})
    monkeypatch.setattr(review, "POLL_SECONDS", 0)
    result = CliRunner().invoke(review.command, ["--propose"])
    assert isinstance(result.exception, TobanError) and message in str(result.exception)
