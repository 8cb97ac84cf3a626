"""What scripts of pages compute, run by Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.needs import need
from toban.web import static_files

STATIC = Path(static_files.__file__).parent / "static"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts in a folder whose files Node takes for modules."""
    folder = tmp_path_factory.mktemp("scripts")
    for path in STATIC.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def run(scripts: Path, module: str, expression: str):
    """Return the value of an expression in which the module is `it`; its theme is a light one."""
    program = f"""
        globalThis.document = {{ documentElement: {{ dataset: {{}} }} }};
        globalThis.matchMedia = () => ({{ matches: false }});
        const it = await import({json.dumps((scripts / module).as_uri())});
        console.log(JSON.stringify({expression}));
    """
    command = [need("node", shutil.which("node")), "--input-type=module", "--eval", program]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_a_stack_has_a_gap_only_where_no_shown_series_has_a_value(scripts):
    """
    An outage is not bridged; a hidden series counts for nothing.
    """
    series = '[{"values": [1, null, null, 4]}, {"values": [10, 20, null, 40]}, {"values": [100, 100, 100, 100]}]'
    assert run(scripts, "chart.js", f"it.stacked({series}, [true, true, false])") == [
        [1, 0, None, 4],
        [11, 20, None, 44],
        [100, 100, None, 100],
    ]


def test_a_legend_summarizes_the_values_that_are_there(scripts):
    found = run(scripts, "chart.js", "[it.summary([null, 2, 6, null]), it.summary([null])]")
    assert found == [
        {"lowest": 2, "mean": 4, "highest": 6, "last": 6},
        {"lowest": None, "mean": None, "highest": None, "last": None},
    ]


def test_a_series_keeps_its_colour_beside_others(scripts):
    """
    On every panel; no two of a panel look alike as long as there are colours and dashes.
    """
    alone, many = run(
        scripts,
        "chart.js",
        '[it.seriesStyles(["orders"]), it.seriesStyles(["orders", ...Array.from({length: 23}, (_, i) => `s${i}`)])]',
    )
    assert many[0] == alone[0]
    assert len({json.dumps(style) for style in many}) == 24


def test_the_axis_of_values_begins_at_zero_unless_they_vary_little(scripts):
    """
    And a logarithmic one at powers of ten.
    """
    found = run(
        scripts,
        "chart.js",
        """[[{}, 10, 100], [{}, 99, 100], [{style: "stacked"}, 99, 100], [{min: 0, max: 1}, 0.9, 0.95],
            [{logarithmic: true}, 3, 250], [{}, 0, 0], [{}, 5, 5]].map((given) => it.limits(...given))""",
    )
    assert found == [[0, 108], [98, 100.16], [0, 108], [0, 1], [1, 1000], [0, 1.08], [0, 5.4]]


def test_texts_are_filled_with_what_is_known(scripts):
    assert run(scripts, "dom.js", 'it.fill("{count} of {all}", {count: 3})') == "3 of {all}"


WORDS = '{functions: ["rate"], aggregations: ["sum"], keywords: ["by", "on"], grouping: ["by", "on"]}'


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", ("name", "", "", "")),
        ("su", ("name", "su", "", "")),
        ("sum(rate(vend", ("name", "vend", "", "")),
        ("up{", ("label", "", "up", "")),
        ("up{jo", ("label", "jo", "up", "")),
        ('up{job="x",ins', ("label", "ins", "up", "job")),
        ('up{job="sh', ("value", "sh", "up", "job")),
        ('up{job=~"a\\"b', ("value", 'a\\"b', "up", "job")),
        ("up{job='", ("value", "", "up", "job")),
        ("up{job", ("label", "job", "up", "")),
        ('up{job="x"', (None, "", "up", "job")),
        ("sum by (", ("grouping", "", "", "")),
        ("sum(rate(orders_total[5m])) by (cha", ("grouping", "cha", "orders_total", "")),
        ("a_total * on (j", ("grouping", "j", "a_total", "")),
        ("rate(up[", ("duration", "", "up", "")),
        ("rate(up[5", ("duration", "5", "up", "")),
        ("up * 10", (None, "10", "up", "")),
        ("up # not", (None, None, None, None)),
        ('label_replace(up, "a', (None, "a", "up", "")),
    ],
)
def test_what_can_be_completed_follows_from_what_stands_before(scripts, written, expected):
    """
    In every place of an expression.
    """
    found = run(scripts, "completion.js", f"it.completionContext({json.dumps(written)}, {len(written)}, {WORDS})")
    assert tuple(found.get(key) for key in ("kind", "word", "metric", "label")) == expected


def test_a_word_is_replaced_as_a_whole_and_a_value_within_its_quotes(scripts):
    expression = f"""[["sum(rat(up))", 6], ['up{{job="shop"}}', 9]].map(([text, cursor]) => {{
        const found = it.completionContext(text, cursor, {WORDS});
        return text.slice(found.from, found.to);
    }})"""
    assert run(scripts, "completion.js", expression) == ["rat", "shop"]


def test_completions_that_begin_with_the_word_come_first(scripts):
    """
    Then those that hold all its parts, in any order.
    """
    candidates = '["api_orders_total", "orders_total", "orders_failed", "x"].map((text) => ({ text }))'
    found = run(scripts, "completion.js", f'it.matching({candidates}, "ord_tot").map((one) => one.text)')
    assert found == ["api_orders_total", "orders_total"]
    found = run(scripts, "completion.js", f'it.matching({candidates}, "ord").map((one) => one.text)')
    assert found == ["orders_total", "orders_failed", "api_orders_total"]


@pytest.mark.parametrize(
    ("choice", "hours", "seconds"),
    [
        ("", 1, 0),
        ("5s", 1, 5),
        ("15m", 1, 900),
        ("1h", 1, 3_600),
        ("soon", 1, 0),
        ("auto", 1, 30),
        ("auto", 24, 86),
        ("auto", 24 * 90, 3_600),
        ("auto", 0, 30),
    ],
)
def test_a_board_is_refreshed_as_chosen_or_as_often_as_its_range_shows(scripts, choice, hours, seconds):
    expression = f"it.refreshSeconds({json.dumps(choice)}, {hours * 3_600_000}, 1000)"
    assert run(scripts, "controls.js", expression) == seconds


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"from":"now-6h","to":"now"}', {"from": "now-6h", "to": "now"}),
        ('{"from": 1764547200000, "to": 1764550800000}', {"from": "1764547200000", "to": "1764550800000"}),
        ('{"from":"2026-12-01 10:00:00","to":"now","x":1}', {"from": "2026-12-01 10:00:00", "to": "now"}),
        ('{"from":"now-6h"}', None),
        ('{"from":"","to":"now"}', None),
        ('{"from":{},"to":"now"}', None),
        ("null", None),
        ("now-6h", None),
        ("", None),
        (json.dumps({"from": "x" * 61, "to": "now"}), None),
    ],
)
def test_a_range_is_pasted_as_it_is_copied_here_or_in_grafana(scripts, text, found):
    assert run(scripts, "controls.js", f"it.parseRange({json.dumps(text)})") == found
