"""Maintenance tasks and reports in toban.yaml."""

import pytest

from toban.core.errors import SettingsError
from toban.core.message_catalogue import LANGUAGES
from toban.maintenance.settings import all_tasks
from toban.maintenance.task import TASKS, Mode
from toban.reports.settings import SCHEDULES
from toban.settings import build_settings
from toban.web.pages.i18n import texts


def settings(**sections):
    return build_settings(sections, {}, "toban.yaml")


@pytest.mark.parametrize("kind", TASKS.names())
def test_each_kind_runs_with_its_defaults_and_is_described_in_each_language(kind: str):
    task = next(it for it in all_tasks({}) if it.kind == kind)
    assert (task.name, task.kind) == (kind, kind)
    assert all(texts(language)[f"task-kind-{kind}"] for language in LANGUAGES)


def test_a_name_that_is_a_kind_needs_no_kind_and_another_one_does():
    found = settings(
        maintenance={"postgres_vacuum": {"mode": "off"}, "night": {"kind": "postgres_vacuum", "cron": "0 2 * * *"}}
    ).maintenance
    assert (found["postgres_vacuum"].mode, found["night"].cron, found["night"].name) == (Mode.OFF, "0 2 * * *", "night")
    with pytest.raises(SettingsError, match=r"maintenance.weekly: `kind` is missing: write `kind: .*postgres_vacuum"):
        settings(maintenance={"weekly": {"cron": "@weekly"}})


def test_a_kind_that_is_configured_does_not_run_with_its_defaults_too():
    found = settings(maintenance={"night": {"kind": "postgres_vacuum"}}).maintenance
    assert [it.name for it in all_tasks(found) if it.kind == "postgres_vacuum"] == ["night"]


def test_a_kind_may_be_named_without_settings():
    assert settings(maintenance={"postgres_vacuum": None}).maintenance["postgres_vacuum"].mode is Mode.AUTO


@pytest.mark.parametrize(
    ("maintenance", "message"),
    [
        (
            {"postgres_vacum": {}, "postgres_vacuum": {"mode": "off"}},
            "maintenance.postgres_vacum: unknown maintenance task 'postgres_vacum': did you mean postgres_vacuum?",
        ),
        ({"postgres_vacuum": {"crom": "0 3 * * *"}}, "unknown setting 'crom': did you mean 'cron'?"),
        ({"postgres_vacuum": {"cron": "61 3 * * *"}}, "invalid cron schedule '61 3 * * *'"),
        ({"postgres_vacuum": {"mode": "on"}}, "maintenance.postgres_vacuum.mode"),
        ({"postgres_vacuum": {"dead_share": 2}}, "maintenance.postgres_vacuum.dead_share"),
    ],
)
def test_a_mistake_is_named_with_its_place(maintenance: dict[str, object], message: str):
    with pytest.raises(SettingsError, match=message.replace("?", r"\?").replace("*", r"\*")):
        settings(maintenance=maintenance)


def test_a_report_is_sent_when_its_period_is_over_unless_a_schedule_is_set():
    reports = {
        period.value: {"period": period.value, "folder": "/tmp/reports"}  # nothing is written
        for period in SCHEDULES
    }
    found = settings(reports={**reports, "late": {**reports["day"], "cron": "0 22 * * *"}}).reports
    assert {it.period: it.cron for name, it in found.items() if name != "late"} == SCHEDULES
    assert found["late"].cron == "0 22 * * *"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"reports": {"monthly": {"to": ["mail"]}}}, "reports.monthly.to: unknown channel 'mail': configured are none"),
        ({"reports": {"monthly": {}}}, "reports.monthly: set `to` or `folder`: it goes nowhere"),
        (
            {
                "reports": {"night": {"folder": "/tmp"}},  # nothing is written
                "maintenance": {"night": {"kind": "postgres_vacuum"}},
            },
            "reports.night: a maintenance task has that name",
        ),
    ],
)
def test_a_report_that_can_not_be_sent_is_refused(sections: dict[str, object], message: str):
    with pytest.raises(SettingsError, match=message):
        settings(**sections)
