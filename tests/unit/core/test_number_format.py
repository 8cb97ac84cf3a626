"""Numbers for people, alike on the server and in the browser."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.needs import need
from toban.core import number_format
from toban.core.number_format import Unit, counted, format_value

EXAMPLES = json.loads((Path(__file__).parents[2] / "data" / "number_formats.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("value", "unit", "language", "text"), EXAMPLES)
def test_a_value_has_its_unit(value, unit, language, text):
    """
    In four digits at most.
    """
    assert format_value(value, Unit(unit), language) == text


def test_what_is_no_number_is_said_so():
    """
    JSON has none of these.
    """
    assert [format_value(float(it), Unit.SECONDS) for it in ("nan", "inf", "-inf")] == ["–", "∞", "-∞"]


def test_a_time_is_a_date_and_what_is_none_is_missing():
    """
    In UTC; a certificate of the year 9999 has one, and a text that somebody multiplied has none.
    """
    assert format_value(1_796_085_782_000.0, Unit.TIMESTAMP) == "2026-12-01 00:43 UTC"
    assert format_value(1e300, Unit.TIMESTAMP) == "–"


def test_the_browser_writes_the_same():
    """
    The script itself, run by Node.
    """
    node = need("node", shutil.which("node"))
    script = Path(number_format.__file__).parents[1] / "web" / "static" / "format.js"
    program = f"""
        import {{ readFileSync }} from "node:fs";
        const source = readFileSync({json.dumps(str(script))}, "utf-8");
        const {{ formatValue }} = await import("data:text/javascript," + encodeURIComponent(source));
        const examples = {json.dumps(EXAMPLES)};
        console.log(JSON.stringify(examples.map(([value, unit, language]) => formatValue(value, unit, language))));
    """
    command = [node, "--input-type=module", "--eval", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [text for *_, text in EXAMPLES]


@pytest.mark.parametrize(("number", "text"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1200, "1,200 steps")])
def test_a_count_has_its_noun_in_the_plural_but_for_one(number: int, text: str):
    assert counted(number, "step") == text
