"""Templates say what Prometheus' templates say."""

import contextlib
import shutil
import subprocess

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.needs import need
from toban.alerting.templating.template import Template, Wanted
from toban.alerting.templating.values import Found, TemplateError, float_written

LABELS = {"instance": "10.0.0.1:9100", "host": "db.shop.example:5432", "job": "shop", "path": "/a/b"}
ANSWERS = {"sum by (job) (x)": [Found({"job": "shop"}, 1234567.0), Found({"job": "zoo"}, 2.0)], "nothing": []}

SAID = {
    "plain": "plain",
    "{{ $labels.instance }} of {{ .Labels.job }}": "10.0.0.1:9100 of shop",
    "{{ $labels.missing }}|": "|",
    "{{ $value }}": "1.2345675e+06",
    "{{ .Value }}": "1.2345675e+06",
    "{{ $value | humanize }}": "1.235M",
    "{{ humanize 0.00123 }} {{ humanize 0.0 }} {{ humanize -1500.0 }} {{ humanize 999.99 }}": "1.23m 0 -1.5k 1000",
    "{{ $value | humanize1024 }} {{ humanize1024 0.5 }}": "1.177Mi 0.5",
    "{{ $value | humanizeDuration }}": "14d 6h 56m 7s",
    "{{ humanizeDuration 61.5 }} {{ humanizeDuration 3.25 }} {{ humanizeDuration 0.0125 }}": "1m 1s 3.25s 12.5ms",
    "{{ humanizeDuration -3700.0 }} {{ humanizeDuration 0.0 }}": "-1h 1m 40s 0s",
    "{{ humanizePercentage 0.0512345 }}": "5.123%",
    "{{ humanizeTimestamp 1435769455.123 }}": "2015-07-01 16:50:55.122 +0000 UTC",
    '{{ printf "%.2f of %s is %d%%" $value $labels.job 7 }}': "1234567.50 of shop is 7%",
    '{{ printf "%8.1f|%-6s|%06.2f|%+d|%x|%q|%v|%t" 2.25 "a" 3.14159 5 255 "b" 1e21 true }}': (
        '     2.2|a     |003.14|+5|ff|"b"|1e+21|true'
    ),
    '{{ printf "%d" $value }}': "%!d(float64=1.2345675e+06)",
    '{{ printf "%s" 5 }}{{ printf "%d" }}': "%!s(int=5)%!d(MISSING)",
    "{{ if gt $value 5.0 }}many{{ else }}few{{ end }}": "many",
    '{{ if eq $labels.job "a" "shop" }}x{{ else if true }}y{{ end }}': "x",
    "{{ if and $labels.job (not $labels.missing) }}both{{ end }}": "both",
    '{{ or $labels.missing "none" }} {{ len $labels.job }} {{ index $labels "path" }}': "none 4 /a/b",
    "a {{- 1 -}} b {{/* a word */}}c": "a1b c",
    "{{ $x := $labels.job }}{{ $x | toUpper }} {{ toLower $x }} {{ title $x }}": "SHOP shop Shop",
    "{{ with $labels.job }}{{ . }}!{{ end }}{{ with $labels.missing }}no{{ else }}none{{ end }}": "shop!none",
    "{{ $labels.instance | stripPort }} {{ stripPort $labels.host }}": "10.0.0.1 db.shop.example",
    "{{ $labels.instance | stripDomain }} {{ stripDomain $labels.host }}": "10.0.0.1:9100 db:5432",
    '{{ reReplaceAll "^(.*):(\\\\d+)$" "$2 of ${1}" $labels.instance }}': "9100 of 10.0.0.1",
    '{{ if match "^10\\\\." $labels.instance }}inside{{ end }}': "inside",
    '{{ query "sum by (job) (x)" | sortByLabel "job" | first | value }}': "1.234567e+06",
    '{{ range query "sum by (job) (x)" | sortByLabel "job" }}{{ .Labels.job }}={{ .Value }};{{ end }}': (
        "shop=1.234567e+06;zoo=2;"
    ),
    '{{ range $i, $it := query "sum by (job) (x)" | sortByLabel "job" }}{{ $i }}{{ $it.Labels.job }}{{ end }}': (
        "0shop1zoo"
    ),
    '{{ with query "sum by (job) (x)" | sortByLabel "job" }}{{ . | first | label "job" }}{{ end }}': "shop",
    '{{ range query "nothing" }}x{{ else }}silence{{ end }}': "silence",
    '{{ parseDuration "1h30m" }} {{ print 1 2 "a" 3 }}': "5400 1 2a3",
    '{{ `raw \\n` }}{{ "\\u3042\\t." }}': "raw \\nあ\t.",
    "{{ (query `sum by (job) (x)` | sortByLabel `job` | first).Labels.job }}": "shop",
}
VALUE = 1234567.5


@pytest.mark.parametrize("template", SAID)
def test_a_template_says(template):
    """
    What is written down beside it.
    """
    assert Template(template).render(LABELS, VALUE, ANSWERS) == SAID[template]


def test_prometheus_says_the_same(tmp_path):
    """
    Each text above, rendered by promtool for an alert with the same labels and value.
    """
    rules = [
        {"alert": f"a{n}", "expr": f"watched * {VALUE}", "annotations": {"it": text}} for n, text in enumerate(SAID)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    series = "watched{" + ",".join(f'{name}="{value}"' for name, value in LABELS.items()) + "}"
    expected = [
        {
            "alertname": f"a{n}",
            "eval_time": "1m",
            "exp_alerts": [{"exp_labels": LABELS, "exp_annotations": {"it": said}}],
        }
        for n, said in enumerate(SAID.values())
    ]
    given = [
        {"series": series, "values": "1 1 1"},
        {"series": 'x{job="shop",n="1"}', "values": "1234567 1234567 1234567"},
        {"series": 'x{job="zoo"}', "values": "2 2 2"},
    ]
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m"}
    test["tests"] = [{"interval": "1m", "input_series": given, "alert_rule_test": expected}]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    promtool = need("promtool", shutil.which("promtool"))
    done = subprocess.run([promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ $labels.x ", "unclosed action"),
        ("{{ nonsense $value }}", "function 'nonsense' is not supported: there are and, "),
        ("{{ $other }}", "undefined variable $other"),
        ("{{ if true }}", "{{if}} without {{end}}"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ humanize }}", "wrong number of args for humanize"),
        ("{{ $value | 5 }}", "non executable command"),
        ('{{ template "x" }}', "{{template}} is not supported"),
        ("{{ }}", "missing value for command"),
        ("{{ $value $value }}", "can't give argument to non-function $value"),
        ('{{ "\\y" }}', "unknown escape"),
        ("{{ " + "(" * 60 + "1" + ")" * 60 + " }}", "nested more than 50 deep"),
    ],
)
def test_what_is_no_template_is_refused(template, said):
    """
    When it is read, not when the alert fires.
    """
    with pytest.raises(TemplateError, match=said.replace("(", r"\(").replace("{", r"\{").replace("$", r"\$")):
        Template(template)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('{{ query "nothing" | first | value }}', "no elements"),
        ("{{ if gt $value 5 }}x{{ end }}", "incompatible types"),
        ('{{ humanize "many" }}', "is no number"),
        ("{{ $labels.job.name }}", "can't evaluate field name"),
        ('{{ match "(" $labels.job }}', "no regular expression"),
        ('{{ printf "%9999d" 1 }}', "wider than"),
    ],
)
def test_what_goes_wrong_while_rendering_is_said(template, said):
    """
    And is no surprise.
    """
    with pytest.raises(TemplateError, match=said):
        Template(template).render(LABELS, VALUE, ANSWERS)


def test_a_query_is_asked_for_by_whoever_renders():
    """
    Rendering waits for nothing.
    """
    with pytest.raises(Wanted) as wanted:
        Template('{{ query "up" | first | value }}').render(LABELS, VALUE)
    assert wanted.value.query == "up"


@given(st.text(alphabet='{}$-.|()"`\\ abifendrgquyl0123:=,/*', max_size=60))
@settings(max_examples=300)
def test_garbage_is_refused_or_rendered(text):
    """
    Nothing else ever comes out of it.
    """
    with contextlib.suppress(TemplateError, Wanted):
        Template(text).render(LABELS, 1.0, ANSWERS)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_written_so_that_it_reads_back(value):
    """
    As few digits as tell it apart.
    """
    assert float(float_written(value)) == value
