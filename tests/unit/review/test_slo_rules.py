"""The rules of service levels: promtool and toban's own evaluator read the same in them."""

import shutil
import subprocess
from datetime import timedelta
from fractions import Fraction

import pytest
import yaml

from tests.needs import need
from toban.alerting import rule_unit_tests
from toban.alerting.prometheus_export import rule_file
from toban.core.errors import SettingsError
from toban.review.burn_rate import burn_windows, events_for_one_failure
from toban.review.slo_rules import alert_name
from toban.settings import build_settings, load_rules, service_level_rules, service_levels

LOOKS = {"target": "99.5", "good": 'up{job="vendure"} == 1'}
EVENTS = {"target": "99", "total": "requests_total", "bad": 'requests_total{status=~"5.."}'}
ORDERS = {"target": "99", "good": "vendure_orders_created_total", "bad": "vendure_orders_failed_total"}
DURATIONS = {"target": "95", "histogram": 'vendure_graphql_duration_seconds{operation!="x"}', "below": "1"}
LEVELS = {"looks": LOOKS, "events": EVENTS, "orders": ORDERS, "durations": DURATIONS}


def settings_of(**levels):
    return build_settings({"slo": levels}, {}, "toban.yaml")


def written(folder, **levels):
    """Write the rules of service levels as `toban export prometheus` does."""
    groups = service_level_rules(settings_of(**levels))
    (folder / "rules.yaml").write_text(yaml.safe_dump(rule_file(groups)))


def failures(folder, tests):
    """Run unit tests by both programs; return what toban's says, after promtool's has said the same."""
    path = folder / "rules.test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}))
    promtool = need("promtool", shutil.which("promtool"))
    done = subprocess.run([promtool, "test", "rules", path.name], cwd=folder, capture_output=True, text=True)
    own = [str(it) for it in rule_unit_tests.run(path)]
    assert (done.returncode == 0) == (own == []), done.stdout + done.stderr + "\n".join(own)
    return own


def counters(total, bad):
    return [
        {"series": 'requests_total{status="200"}', "values": total},
        {"series": 'requests_total{status="500"}', "values": bad},
    ]


def present(name, at, count):
    """Return an assertion on how many alerts of a name fire."""
    return {
        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
        "eval_time": at,
        "exp_samples": [{"labels": "{}", "value": count}],
    }


def run_expressions(folder, series, expectations, interval="1m"):
    return failures(folder, [{"interval": interval, "input_series": series, "promql_expr_test": expectations}])


def test_promtool_accepts_the_rules_of_every_kind(tmp_path):
    written(tmp_path, **LEVELS)
    promtool = need("promtool", shutil.which("promtool"))
    done = subprocess.run([promtool, "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = {rule.name for group in load_rules(settings_of(**LEVELS)) for rule in group.alerts}
    assert {f"{name}_budget_{how}" for name in LEVELS for how in ("fast", "slow")} <= names


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (30, {"1h": ("5m", 0.02, 14.4), "6h": ("30m", 0.05, 6), "24h": ("2h", 0.1, 3), "72h": ("6h", 0.1, 1)}),
        (
            28,
            {"1h": ("5m", 0.02, 13.44), "6h": ("30m", 0.05, 5.6), "24h": ("2h", 0.1, 2.8), "72h": ("6h", 0.1, 0.9333)},
        ),
        (7, {"1h": ("5m", 0.08, 13.44), "6h": ("30m", 0.125, 3.5), "24h": ("2h", 0.2, 1.4), "72h": ("6h", 0.42, 0.98)}),
    ],
)
def test_windows_and_factors_are_those_of_the_workbook(period, expected):
    """
    For 28 and 7 days, those of Sloth.
    """
    found = {
        f"{it.long // timedelta(hours=1)}h": (
            f"{it.short // timedelta(minutes=1)}m" if it.short < timedelta(hours=1) else f"{it.short.seconds // 3600}h",
            float(it.share),
            pytest.approx(float(it.factor), abs=1e-4),
        )
        for it in burn_windows(timedelta(days=period))
    }
    assert found == expected


@pytest.mark.parametrize(
    ("target", "events"),
    [(99.9, [70, 167, 334, 1000]), (99.5, [14, 34, 67, 200]), (99, [7, 17, 34, 100]), (95, [2, 4, 7, 20])],
)
def test_one_failure_among_few_events_exceeds_the_factor(target, events):
    assert [events_for_one_failure(target, it) for it in burn_windows(timedelta(days=30))] == events
    window = burn_windows(timedelta(days=30))[0]
    least = events_for_one_failure(target, window)
    budget = Fraction(str(100 - target)).limit_denominator(1000) / 100
    assert Fraction(1, least) <= window.factor * budget < Fraction(1, least - 1)


# What is bad of 1,000 events a minute, the alert, the length of its long window in minutes, and its limit.
ARMS = [
    pytest.param(153, "fast", 60, 144, id="1h at 14.4 times a budget of 1 %"),
    pytest.param(64, "fast", 360, 60, id="6h at 6", marks=pytest.mark.soak),
    pytest.param(32, "slow", 1440, 30, id="1d at 3", marks=pytest.mark.soak),
]


@pytest.mark.parametrize(("bad", "how", "long", "limit"), ARMS)
def test_an_arm_fires_just_above_its_factor_once_its_long_window_is_full_of_it(tmp_path, bad, how, long, limit):
    """
    Good events come first: the share of the long window is over the limit after `limit / bad` of its length.
    """
    written(tmp_path, events=EVENTS)
    before = 3 * 1440 + 10 if how == "slow" else long + 10  # its other arm reads three days
    due = round(long * limit / bad)
    series = counters(
        f"0+1000x{before} {1000 * before + 1000 - bad}+{1000 - bad}x{long}", f"0+0x{before} {bad}+{bad}x{long}"
    )
    name = f"events_budget_{how}"
    expectations = [present(name, f"{before + due - 4}m", 0), present(name, f"{before + due + 4}m", 1)]
    assert run_expressions(tmp_path, series, expectations) == []


@pytest.mark.parametrize(("bad", "how"), [(135, "fast"), (28, "slow")])
def test_an_arm_does_not_fire_just_below_its_factor(tmp_path, bad, how):
    """
    13.5 % are below 14.4 times the budget of 1 %, and for 90 minutes below what the longer arm allows; so are 2.8 %.
    """
    written(tmp_path, events=EVENTS)
    series = counters(f"0+1000x100 {100000 + 1000 - bad}+{1000 - bad}x90", f"0+0x100 {bad}+{bad}x90")
    expectations = [present(f"events_budget_{how}", f"{100 + it}m", 0) for it in range(0, 90, 15)]
    assert run_expressions(tmp_path, series, expectations) == []


def test_an_alert_ends_soon_after_recovery(tmp_path):
    """
    By its short window: the long one is over its limit for most of an hour longer.
    """
    written(tmp_path, events=EVENTS)
    series = counters("0+100x120 12000+50x30 13500+100x60", "0+0x120 0+50x30 1500+0x60")
    expectations = [present("events_budget_fast", "148m", 1), present("events_budget_fast", "158m", 0)]
    assert run_expressions(tmp_path, series, expectations) == []


@pytest.mark.parametrize(("failed", "firing"), [(1, 0), (2, 0), (4, 1)])
def test_a_few_bad_events_are_no_alert(tmp_path, failed, firing):
    """
    Of ten orders in an hour one failed: ten times the budget, and no page; three or more are one.
    """
    written(tmp_path, events={**EVENTS, "min_bad": "3"})
    few = counters(
        f"0x60 {' '.join(map(str, range(1, 11)))} 10x20",
        f"0x60 {' '.join(str(min(it, failed)) for it in range(1, 11))} {failed}x20",
    )
    assert run_expressions(tmp_path, few, [present("events_budget_fast", "66m", firing)]) == []


def test_blind_time_is_no_data_and_neither_good_nor_bad(tmp_path):
    """
    Where less than half of a window was observed, it has no share: with what is left of it nobody is called.
    """
    written(tmp_path, looks=LOOKS)
    # The shop is seen for an hour, then nothing is, for longer than a sample counts; then it is down.
    series = [{"series": 'up{job="vendure"}', "values": "1x120 _x60 0x60"}]
    hour = 'count(slo:sli_error:ratio_rate1h{sloth_slo="looks"}) or vector(0)'

    def sample(at, value):
        return {"expr": hour, "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}

    expectations = [
        sample("120m", 1),
        sample("170m", 0),
        sample("200m", 0),
        present("looks_budget_fast", "200m", 0),
        sample("215m", 1),
        present("looks_budget_fast", "215m", 1),
    ]
    assert run_expressions(tmp_path, series, expectations) == []


def test_a_single_failed_look_calls_nobody(tmp_path):
    written(tmp_path, looks={**LOOKS, "target": "99.9"})
    series = [{"series": 'up{job="vendure"}', "values": "1x120 0 1x20"}]
    one = "slo:sli_error:ratio_rate1h > bool 14.4 * 0.001"
    labels = '{sloth_id="shop-looks", sloth_service="shop", sloth_slo="looks", sloth_window="1h"}'
    expectations = [
        {"expr": one, "eval_time": "122m", "exp_samples": [{"labels": labels, "value": 1}]},
        present("looks_budget_fast", "122m", 0),
    ]
    assert run_expressions(tmp_path, series, expectations) == []


def test_the_share_of_a_period_counts_events(tmp_path):
    """
    A night with two requests, one of which fails, weighs less than a day with a thousand good ones a minute.
    """
    written(tmp_path, events={**EVENTS, "period": "7d"})
    series = counters("0+0x60 1+0x60 1+1000x240", "0+0x60 1+0x60 1+0x240")
    labels = '{sloth_id="shop-events", sloth_service="shop", sloth_slo="events"}'
    expectations = [
        {
            "expr": "slo:period_error_budget_remaining:ratio > bool 0.99",
            "eval_time": "360m",
            "exp_samples": [{"labels": labels, "value": 1}],
        },
        {
            "expr": "slo:time_period:days",
            "eval_time": "360m",
            "exp_samples": [{"labels": f"slo:time_period:days{labels}", "value": 7}],
        },
    ]
    assert run_expressions(tmp_path, series, expectations) == []


def test_durations_above_the_bound_are_bad_as_exporters_write_it(tmp_path):
    """
    `le="1"` and `le="1.0"`.
    """
    written(tmp_path, durations=DURATIONS)
    name = "vendure_graphql_duration_seconds"
    series = [
        {"series": f'{name}_bucket{{operation="a",le="1"}}', "values": "0+10x90"},
        {"series": f'{name}_count{{operation="a"}}', "values": "0+40x90"},
        {"series": f'{name}_bucket{{operation="b",le="1.0"}}', "values": "0+40x90"},
        {"series": f'{name}_count{{operation="b"}}', "values": "0+40x90"},
        {"series": f'{name}_count{{operation="x"}}', "values": "0+4000x90"},
    ]
    labels = '{sloth_id="shop-durations", sloth_service="shop", sloth_slo="durations", sloth_window="1h"}'
    share = {
        "expr": "slo:sli_error:ratio_rate1h",
        "eval_time": "90m",
        "exp_samples": [{"labels": f"slo:sli_error:ratio_rate1h{labels}", "value": 0.375}],
    }
    assert run_expressions(tmp_path, series, [share]) == []


def test_orders_that_never_failed_are_good(tmp_path):
    """
    The counter of failures is not there before the first one.
    """
    written(tmp_path, orders=ORDERS)
    labels = '{sloth_id="shop-orders", sloth_service="shop", sloth_slo="orders", sloth_window="1h"}'
    share = {
        "expr": "slo:sli_error:ratio_rate1h",
        "eval_time": "90m",
        "exp_samples": [{"labels": f"slo:sli_error:ratio_rate1h{labels}", "value": 0}],
    }
    series = [{"series": "vendure_orders_created_total", "values": "0+2x90"}]
    assert run_expressions(tmp_path, series, [share]) == []


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ({"target": "99"}, "write `good` alone"),
        ({"target": "99", "good": "up"}, "must be one comparison"),
        ({"target": "99", "good": "up =="}, "parse error"),
        ({"target": "99", "total": "rate(x[5m])", "bad": "y"}, "must be one metric"),
        ({"target": "99", "bad": "y"}, "write `good` alone"),
        ({**DURATIONS, "below": "1.5"}, "1.5 is no bucket's bound of vendure_graphql_duration_seconds"),
        ({**LOOKS, "target": "100"}, "must be less than 100"),
        ({**LOOKS, "period": "90d"}, "7d to 35d"),
        ({**LOOKS, "interval": "5m"}, "5s to 2m"),
    ],
)
def test_a_mistake_names_its_place_and_the_remedy(level, message):
    with pytest.raises(SettingsError) as raised:
        settings_of(mine=level)
    assert "slo.mine" in str(raised.value) and message in str(raised.value)


def test_alerts_have_names_that_rules_have(tmp_path):
    (level,) = service_levels(settings_of(**{"can-sell": LOOKS}))
    assert [alert_name(level, fast=it) for it in (True, False)] == ["can_sell_budget_fast", "can_sell_budget_slow"]


@pytest.mark.parametrize("name", ["Mine", "a b", "", "9", "a" * 41, 'a"} or up'])
def test_a_name_that_would_be_no_label_or_rule_is_refused(name):
    with pytest.raises(SettingsError, match="lower-case letters, digits and hyphens"):
        settings_of(**{name: LOOKS})
