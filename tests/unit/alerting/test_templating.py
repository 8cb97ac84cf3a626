"""Templates render the texts of Prometheus' templates."""

import contextlib
import shutil
import subprocess

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.needs import need
from toban.alerting.templating.template import External, QueryRequired, Template
from toban.alerting.templating.values import TemplateError, TemplateSample, format_float

LABELS = {"instance": "10.0.0.1:9100", "host": "db.shop.example:5432", "job": "shop", "path": "/a/b"}
ANSWERS = {
    "sum by (job) (x)": [TemplateSample({"job": "shop"}, 1234567.0), TemplateSample({"job": "zoo"}, 2.0)],
    "nothing": [],
}

SAID = {
    "plain": "plain",
    "{{ $labels.instance }} of {{ .Labels.job }}": "10.0.0.1:9100 of shop",
    "{{ $labels.missing }}|": "|",
    "{{ $labels.__name__ }}|{{ .Labels._a }}|{{ $labels._1 }} {{ 1. }} {{ .5e1 }} {{ 1_0.5 }}": "|| 1 5 10.5",
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
    '{{ stripPort "a:b" }} {{ stripPort "[::1]:80" }} {{ stripPort "::1" }} {{ stripPort "a:" }}': "a ::1 ::1 a",
    '{{ stripPort "[a" }} {{ stripPort "a:1:2" }} {{ stripPort "[a]b:1" }}': "[a a:1:2 [a]b:1",
    '{{ stripDomain "9.9.9.999:80" }} {{ stripDomain "a.b:" }} {{ stripDomain "a.b:1:2" }} {{ stripDomain "::1" }}': (
        "9:80 a a ::1"
    ),
    '{{ stripDomain "[::1]:80" }} {{ stripDomain "[fe80::a.b]:80" }}': "[::1]:80 [fe80::a]:80",
    '{{ toUpper "straße ŉ ᾀ ﬀ é" }} {{ toLower "İSTANBUL ΣΑΣ" }}': "STRAßE ŉ ᾈ ﬀ É istanbul σασ",
    '{{ title "don\'t stop_me now-ok ßb 3rd、éa éa ǆ" }}': "Don'T Stop_me Now-Ok ßb 3rd、éa Éa ǅ",
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
    '{{ reReplaceAll "([a-z]+).*" "$1x" $labels.job }}|{{ reReplaceAll "o" "$$" "foo" }}': "|f$$",
    '{{ reReplaceAll "(?P<host>[^.]+)[.].*" "${host}" $labels.host }}': "db",
    '{{ reReplaceAll "(x)" "$2" "x" }}|{{ reReplaceAll "(f)(o)" "$2$1\\\\" "foo" }}': "|of\\o",
    '{{ printf "%[2]s is %[1]d, %[2]q" 5 "a" }} {{ printf "%*d|%-*d|%.*f" 5 42 4 7 1 2.25 }}': (
        'a is 5, "a"    42|7   |2.2'
    ),
    '{{ printf "%[3]d %d %[9]d" 1 2 }} {{ printf "%!" }} {{ printf "%" }}': (
        "%!d(BADINDEX) 1 %!d(BADINDEX) %!!(MISSING) %!(NOVERB)"
    ),
    '{{ printf "%.3d %+.1e %x %X %o %b %c %U" 7 1234.5 "hi" 255 8 5 65 65 }}': "007 +1.2e+03 6869 FF 10 101 A U+0041",
    '{{ printf "%#v %#v %#x %#q %T %T" "a\\n" 5 255 "b" 1.5 true }}': '"a\\n" 5 0xff `b` float64 bool',
    '{{ printf "%d %s" 1 2 3 }}{{ printf "%5t|%v" true nil }}': "1 %!s(int=2)%!(EXTRA int=3) true|<nil>",
    "{{ 0b11 }} {{ 0x1F }} {{ 0o17 }} {{ 017 }} {{ 1_000 }} {{ 'a' }} {{ 1e3 }} {{ 0x1p4 }} {{ .5 }} {{ '\\n' }}": (
        "3 31 15 15 1000 97 1000 16 0.5 10"
    ),
    '{{ if or true (query "x" | first | value) }}early{{ end }}': "early",
    '{{ if and false (query "x" | first | value) }}late{{ else }}early{{ end }}': "early",
    '{{ and 1 0 }} {{ or "" "b" }} {{ and 1 2 }} {{ or 0 "" }} {{ 5 | and 1 }} {{ 5 | or 0 }}': "0 b 2  5 5",
    "{{ $externalURL }}/d {{ .ExternalURL }} {{ $externalLabels.region }} {{ .ExternalLabels.region }}": (
        "http://toban.example/x/d http://toban.example/x tokyo tokyo"
    ),
    '{{ urlquery "a b&c" }} {{ html "<a>\'" }} {{ println 1 "a" }}': "a+b%26c &lt;a&gt;&#39; 1 a\n",
    '{{ parseDuration "0s" }} {{ parseDuration "1h0m" }}': "0 3600",
    'a {{ "}}" }} b {{/* not }} here */}}c {{- `}}` -}} d': "a }} b c}}d",
    '{{ `raw \\n` }}{{ "\\u3042\\t." }}': "raw \\nあ\t.",
    "{{ (query `sum by (job) (x)` | sortByLabel `job` | first).Labels.job }}": "shop",
}
VALUE = 1234567.5
EXTERNAL = External("http://toban.example/x", {"region": "tokyo"})


@pytest.mark.parametrize("template", SAID)
def test_a_template_renders_its_text(template):
    """
    What is written down beside it.
    """
    assert Template(template).render(LABELS, VALUE, ANSWERS, EXTERNAL) == SAID[template]


def test_promtool_renders_the_same_texts(tmp_path):
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
    test["tests"] = [
        {
            "interval": "1m",
            "input_series": given,
            "alert_rule_test": expected,
            "external_url": EXTERNAL.url,
            "external_labels": dict(EXTERNAL.labels),
        }
    ]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    promtool = need("promtool", shutil.which("promtool"))
    done = subprocess.run([promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ $labels.x ", "unclosed action"),
        ("{{ nonsense $value }}", "function 'nonsense' is not supported; supported are and, "),
        ("{{ $other }}", "undefined variable $other"),
        ("{{ labels.job }} {{ x }}", "unknown function 'labels': write $labels"),
        ("{{ value | humanize }}", "unknown function 'value': write $value"),
        ("{{ $labels.foo-bar }}", "unexpected '-bar' in action: write index $labels \"foo-bar\""),
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
def test_an_invalid_template_is_rejected(template, said):
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
        ('{{ humanize "many" }}', "is not a number"),
        ("{{ $labels.job.name }}", "can't evaluate field name"),
        ('{{ match "(" $labels.job }}', "invalid regular expression"),
        ('{{ printf "%9999d" 1 }}', "wider than"),
    ],
)
def test_an_error_of_rendering_is_reported(template, said):
    """
    And is no surprise.
    """
    with pytest.raises(TemplateError, match=said):
        Template(template).render(LABELS, VALUE, ANSWERS)


def test_a_template_returns_the_queries_that_it_needs():
    """
    Rendering waits for nothing.
    """
    with pytest.raises(QueryRequired) as wanted:
        Template('{{ query "up" | first | value }}').render(LABELS, VALUE)
    assert wanted.value.query == "up"


def test_links_have_tobans_address():
    """
    Promtool's tests know no address for these.
    """
    text = "{{ externalURL }} {{ pathPrefix }} {{ graphLink `up == 1` }} {{ tableLink `a` }}"

    assert Template(text).render(LABELS, VALUE, ANSWERS, EXTERNAL) == (
        "http://toban.example/x /x /graph?g0.expr=up+%3D%3D+1&g0.tab=0 /graph?g0.expr=a&g0.tab=1"
    )


@pytest.mark.parametrize("part", ["{{ ", '{{ "', "{{/* ", "{{ ` ", " 1", ".", '"a" ', "-}} "])
def test_parsing_a_template_takes_linear_time(part):
    """
    Reading again what was read before would take minutes for a text that a rule file may hold.
    """
    with contextlib.suppress(TemplateError):
        Template("{{ " + part * 50_000)


def test_a_text_that_grows_exponentially_is_rejected():
    """
    A hundred characters could ask for gigabytes.
    """
    text = "{{ $x := `a` }}" + "{{ $x = print $x $x }}" * 60

    with pytest.raises(TemplateError, match="longer than"):
        Template(text).render(LABELS, VALUE)


PIECES = [
    *[
        "{{ ",
        " }}",
        "{{- ",
        " -}}",
        "if ",
        "else",
        "end",
        "range ",
        "with ",
        "$labels.job ",
        "$value ",
        "| ",
        "( ",
        ") ",
    ],
    *[
        "reReplaceAll ",
        '"(x)" ',
        '"$2" ',
        '"${a" ',
        '"%[2]*d" ',
        "printf ",
        "index ",
        "$labels ",
        "humanize ",
        "1e308 ",
    ],
    *[
        "humanizeTimestamp ",
        "humanizeDuration ",
        "title ",
        "len ",
        "slice ",
        "-1 ",
        "99999999999999999999 ",
        "nil ",
        "'x' ",
    ],
    *[
        "and ",
        "or ",
        "eq ",
        "lt ",
        "query ",
        '"up" ',
        "first ",
        "value ",
        "sortByLabel ",
        "stripPort ",
        "parseDuration ",
    ],
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.floats())
@settings(max_examples=500)
def test_an_error_of_a_template_affects_its_own_text_alone(text, value):
    """
    What `rules check` took may fail when the alert fires, and is no surprise then either.
    """
    with contextlib.suppress(TemplateError, QueryRequired):
        Template(text).render(LABELS, value, ANSWERS)


@given(st.text(alphabet='{}$-.|()"`\\ abifendrgquyl0123:=,/*', max_size=60))
@settings(max_examples=300)
def test_garbage_is_refused_or_rendered(text):
    """
    Nothing else ever comes out of it.
    """
    with contextlib.suppress(TemplateError, QueryRequired):
        Template(text).render(LABELS, 1.0, ANSWERS)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_formatted_shortest_and_exact(value):
    """
    As few digits as tell it apart.
    """
    assert float(format_float(value)) == value
