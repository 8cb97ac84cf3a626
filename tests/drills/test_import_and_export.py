"""Export and import of samples between two tobans and a real Prometheus."""

import time

import pytest

from tests import servers
from tests.openmetrics_files import block_writer, write_openmetrics_file
from tests.program import eventually, toban
from tests.prometheus_requests import request_api

HOURS = 5


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    return write_openmetrics_file(tmp_path_factory.mktemp("archive"), HOURS)


QUESTIONS = [
    "seen_total",
    "sum by (shop) (rate(seen_total[5m]))",
    "histogram_quantile(0.3, rate(took_seconds_bucket[10m]))",
    "max_over_time(load[20m])",
    "count({__name__!=''})",
]


def results(url, end):
    window = {"start": str(end - HOURS * 3600), "end": str(end), "step": "60"}
    lines = [
        request_api(url, "query_range", {"query": query, **window})[1]["data"]["result"] for query in QUESTIONS[:-1]
    ]
    return [sorted(one, key=lambda it: sorted(it["metric"].items())) for one in lines]


def test_an_export_is_imported_by_toban_and_by_prometheus(archived, tmp_path):
    """
    Imported, exported, imported: the same answers, and those that a Prometheus gives which was fed the first file.
    """
    file, end = archived
    with servers.prometheus(prepare=block_writer(file)) as prometheus:
        expected = results(f"http://127.0.0.1:{prometheus.port}", end)
    assert all(expected)
    second = tmp_path / "second.txt"
    with toban(tmp_path / "one") as program:
        program.until("is on duty")
        done = program.run("import", str(file))
        assert (done.returncode, done.stdout.splitlines()[-1][-17:]) == (0, "samples imported."), done
        assert results(program.url, end) == expected
        chosen = [f"--match={name}" for name in ("seen_total", "load", '{__name__=~"took_seconds.*"}')]
        assert program.run("export", "openmetrics", str(second), *chosen).returncode == 0
        assert program.run("export", "openmetrics", "--match=load").stdout.startswith("# TYPE load gauge\nload 0 ")
        named = tmp_path / "named.txt"
        named.write_text(f'# TYPE "注文.数" gauge\n{{"注文.数","http.status"="200"}} 7 {end:.3f}\n# EOF\n')
        assert program.run("import", str(named)).returncode == 0
        chosen = ["--match", '{"注文.数"}']
        assert program.run("export", "openmetrics", "--utf8", *chosen).stdout == named.read_text()
        assert '___{http_status="200"} 7 ' in program.run("export", "openmetrics", *chosen).stdout
    with toban(tmp_path / "two") as program:
        program.until("is on duty")
        assert program.run("import", str(second)).returncode == 0
        assert results(program.url, end) == expected
    block_writer(second)(tmp_path)


def test_a_killed_import_can_be_repeated(archived, tmp_path):
    """
    What came twice counts once; and toban killed meanwhile has what it had taken in.
    """
    file, end = archived
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        assert program.run("import", str(file)).returncode == 0
        program.kill()
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        before = results(program.url, end)
        assert all(before)
        assert program.run("import", str(file)).returncode == 0
        assert results(program.url, end) == before


@pytest.mark.parametrize(
    ("text", "says", "code"),
    [
        ("load 1 {old}\nload 2 {now}\n# EOF\n", "1 samples imported, 1 rejected", 0),
        ("load 1 {now}\nload x {now}\n# EOF\n", "line 2: 'x' is not a number; 0 samples were imported before", 1),
        ("load 1 {now}\n", "does not end with # EOF: it is truncated, or not OpenMetrics; 1 samples were imported", 1),
    ],
)
def test_an_invalid_import_is_reported_with_its_line(text, says, code, tmp_path):
    """
    With the line, and with what was taken in before.
    """
    now = int(time.time())
    file = tmp_path / "numbers.txt"
    file.write_text(text.format(now=now, old=now - 91 * 86_400))
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        done = program.run("import", str(file))
        assert (says in done.stdout + done.stderr, done.returncode) == (True, code), done
        eventually(lambda: program.get("/-/healthy")[0] == 200)


def test_an_import_without_a_running_toban_is_an_error(tmp_path):
    """
    With what to do.
    """
    file = tmp_path / "numbers.txt"
    file.write_text("# EOF\n")
    with toban(tmp_path / "data") as program:
        program.until("is on duty")
        program.kill()
        done = program.run("export", "openmetrics")
        assert (done.returncode, "is `toban up` running there?" in done.stderr) == (1, True)
