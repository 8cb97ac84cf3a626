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
            [{logarithmic: true}, 3, 250], [{}, 0, 0]].map((given) => it.limits(...given))""",
    )
    assert found == [[0, 108], [98, 100.16], [0, 108], [0, 1], [1, 1000], [0, 1.08]]


def test_texts_are_filled_with_what_is_known(scripts):
    assert run(scripts, "dom.js", 'it.fill("{count} of {all}", {count: 3})') == "3 of {all}"
