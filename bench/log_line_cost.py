"""
What redaction and the metrics of `logs.metrics` cost a log line: `python bench/log_line_cost.py`.

The lines are those of bench/logs.py, which hold nothing secret. CPU time of one thread, the best of some runs.
"""

import time
from collections.abc import Callable, Sequence
from itertools import islice

from logs import corpus

from toban.core.metric_registry import MetricRegistry
from toban.logs.custom_metric_settings import MAX_METRICS, LineMetricSettings
from toban.logs.custom_metrics import LineMetrics
from toban.logs.line_redaction import LineRedactor
from toban.logs.line_store import LinePosition, StoredLine

LINES, RUNS = 20_000, 3
QUERIES = {
    "of another service": '{{service="other-{}"}} |= "x"',
    "with a word each": '{{service="vendure-api"}} |= "payment {} failed"',
    "with words in any case": "service:vendure-api payment{}",
    "with an expression each": '{{service="vendure-api"}} |~ "payment {} (failed|declined)"',
    "of all lines of a service": '{{service="vendure-api"}}',
}


def cost(work: Callable[[], object], count: int) -> float:
    """Return microseconds of CPU time for each of so many lines."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times) / count * 1e6


def redaction(name: str, lines: Sequence[StoredLine]) -> None:
    redactor = LineRedactor()
    found = cost(lambda: [redactor.redacted(it.line) for it in lines], len(lines))
    print(f"{name:45} {found:6.1f} µs a line")


def metrics(name: str, query: str, lines: Sequence[StoredLine]) -> None:
    settings = [LineMetricSettings(name=f"m{it}_total", query=query.format(it)) for it in range(MAX_METRICS)]
    counting = LineMetrics(settings, MetricRegistry(), MetricRegistry())
    found = cost(lambda: counting.count(lines), len(lines))
    print(f"{f'{MAX_METRICS} metrics {name}':45} {found:6.1f} µs a line")


def main() -> None:
    lines = [StoredLine(LinePosition(0, number), it) for number, it in enumerate(corpus(LINES * 4))]
    plain = list(islice((it for it in lines if not it.line.trace), LINES))
    redaction("redaction, nothing secret", plain)
    redaction("redaction, nothing secret, a stack trace", [it for it in lines if it.line.trace])
    for name, query in QUERIES.items():
        metrics(name, query, plain)


if __name__ == "__main__":
    main()
