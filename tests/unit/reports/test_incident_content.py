"""The report of an incident: as Markdown, as HTML and in both languages."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.incident_timeline import DAY, policy
from toban.core.impact import Impact
from toban.incidents.incident import ActionItem, EntryKind, IncidentState, TimelineEntry
from toban.incidents.lifecycle import opened
from toban.reports.incident_content import incident_content
from toban.reports.mail import as_page
from toban.reports.rendering import as_markdown, as_text

PEOPLE = {"people": {"ann": {"name": "Ann <A>", "channels": ["phone"]}}}
AT = DAY + timedelta(hours=2)


def reported(language: str = "en", **fields: object):
    incident = opened(7, "Payments | fail", "P1", AT, AT).incident
    done = {"text": "restarted machine 3d8 of shop: it is started, and its checks pass"}
    facts = {"runbook": "high_memory_usage", "run": 3, "event": "succeeded", **done}
    timeline = [
        TimelineEntry(7, AT, EntryKind.OPENED, facts={"alert": "payments_failed", "summary": "<b>Payments</b> fail"}),
        TimelineEntry(7, AT + timedelta(minutes=9), EntryKind.RUNBOOK, facts=facts),
    ]
    rules = replace(policy(PEOPLE), address="https://toban.example/")
    return incident_content(replace(incident, **fields), timeline, rules, language, AT + timedelta(days=1))


FULL = {
    "state": IncidentState.RESOLVED,
    "responded": AT + timedelta(minutes=4),
    "resolved": AT + timedelta(minutes=10),
    "summary": "The provider was down.\n\nWe waited.",
    "action_items": (ActionItem(1, "Add a second provider", "ann"), ActionItem(2, "Tell customers", "", AT)),
    "impact": Impact("JPY", 120_000.0, 80_000.0, 150_000.0, 0.0, 31.0, AT),
}


def test_the_report_has_figures_impact_timeline_what_helped_and_what_is_to_do():
    text = as_markdown(reported(**FULL))
    assert "| Time to acknowledge | 4m |" in text
    assert "| Time to resolve | 10m |" in text
    assert "The provider was down.\n\nWe waited." in text
    assert "31 orders are missing" in text
    assert "- [ ] Add a second provider (Ann \\<A\\>)\n- [x] Tell customers" in text
    assert text.count("restarted machine 3d8") == 2  # in the timeline, and as what helped
    assert "[Open in toban](https://toban.example/incidents/7)" in text


def test_texts_of_people_and_alerts_are_no_markup():
    assert "# Incident 7: Payments \\| fail" in as_markdown(reported())
    page = as_page(reported(**FULL | {"summary": "<script>alert(1)</script>"}))
    assert "<script" not in page
    assert "Ann &lt;A&gt;" in page


def test_the_html_is_one_file_with_the_boxes_of_what_is_to_do():
    page = as_page(reported(**FULL))
    assert page.startswith("<!DOCTYPE html>")
    assert "☐ Add a second provider" in page
    assert "☑ Tell customers" in page
    assert "src=" not in page


@pytest.mark.parametrize("language", ["en", "ja"])
def test_an_open_incident_says_what_is_not_known_yet(language):
    text = as_text(reported(language))
    assert ("still open" if language == "en" else "未解決") in text
    assert ("nothing to compare with" if language == "en" else "不明") in text


def test_what_a_runbook_did_is_in_the_language_of_the_report():
    assert "マシン 3d8 を再起動しました" in as_markdown(reported("ja", **FULL))
